//! Single-key mode: the keys of variables such as `GEMINI_API_KEY`, where nothing rotates.

use super::{ReadFile, ReadKey, plain};
use crate::config::BUILT_IN_PROVIDERS;
use crate::config::settings::Settings;
use crate::pool::{KeyId, Strategy};
use crate::secrets::{Environment, SecretRef};

/// The keys of the variables that are set: the first is `default`, others `default_openai`.
pub(super) fn read(environment: &Environment, settings: &Settings) -> ReadFile {
    let mut keys: Vec<ReadKey> = Vec::new();
    for provider in BUILT_IN_PROVIDERS {
        let variable = variable(provider);
        let found = environment.lookup(&variable);
        if found.is_none_or(|found| found.value.expose().is_empty()) {
            continue;
        }
        let id = if keys.is_empty() { "default".to_owned() } else { format!("default_{provider}") };
        let secret = SecretRef::Variables(vec![variable]);
        let key = |id| plain::unlimited(id, provider, secret, settings);
        keys.extend(KeyId::parse(&id).map(key));
    }
    ReadFile::of(keys, Strategy::default())
}

/// The variable of a provider's single key.
pub(super) fn variable(provider: &str) -> String {
    format!("{}_API_KEY", provider.to_ascii_uppercase())
}

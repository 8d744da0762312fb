//! The eight example keys of `config/`, read as the daemon reads them.

use std::path::PathBuf;
use std::sync::Arc;

use keypool::config::{Flags, bootstrap};
use keypool::pool::{KeyId, KeySettings, PoolSettings};
use keypool::secrets::Process;

use super::provider::{Account, Dialect};

/// A key as an application uses it.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its id in the pool.
    pub(crate) id: KeyId,
    /// Its account at the provider.
    pub(crate) account: Account,
    /// What it is used for.
    pub(crate) model: String,
}

/// What the example configuration tells the pool.
pub(crate) fn example_settings() -> Arc<PoolSettings> {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let flags = Flags {
        config: Some(repository.join("config/keypool.toml")),
        keys: Some(repository.join("config/keys.json")),
        ..Flags::default()
    };
    let bootstrap = bootstrap(&flags, &Process::new([])).expect("config/keypool.toml is valid");
    bootstrap.load_keys().expect("config/keys.json is valid").pool
}

/// The keys of `settings`.
pub(crate) fn keys(settings: &PoolSettings) -> Vec<Key> {
    let key = |key: &Arc<KeySettings>| Key {
        id: key.id.clone(),
        account: Account {
            dialect: match &*key.provider {
                "openai" => Dialect::OpenAi,
                "anthropic" => Dialect::Anthropic,
                _ => Dialect::Gemini,
            },
            secret: format!("fake-secret-{}", key.id),
            rpm: key.limits.rpm.expect("every example key has a limit").get(),
        },
        model: key.models.first().map_or_else(|| "any".to_owned(), ToString::to_string),
    };
    settings.keys.iter().map(key).collect()
}

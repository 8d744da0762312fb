//! The sections `[providers.NAME]` of keypool.toml.

use std::collections::BTreeMap;

use super::problem::Problem;
use super::settings::{ProviderProbe, ProviderSettings};
use super::sources::Sources;
use super::value::Value;
use crate::provider::AuthHeader;

/// The providers that keypool knows without being told.
pub const BUILT_IN: [&str; 3] = ["gemini", "openai", "anthropic"];

/// The settings of every provider that has a section.
pub(super) fn read(from: &mut Sources<'_>) -> BTreeMap<String, ProviderSettings> {
    // Known even where nobody has such a section, so that a wrong name finds it.
    from.know_section("providers");
    let names = from.sections("providers");
    names.into_iter().map(|name| (name.clone(), provider(from, &name))).collect()
}

fn provider(from: &mut Sources<'_>, name: &str) -> ProviderSettings {
    let base_url = from.read_file(&["providers", name, "base_url"], Value::base_url);
    if base_url.is_some() {
        from.not_yet_in_file(&["providers", name, "base_url"], "calling the provider is");
    }
    let auth_header = auth_header(from, name);
    if auth_header.is_some() && BUILT_IN.contains(&name) {
        let message = "the header of this provider is built in, so this has no effect";
        from.complain_in_file(&["providers", name, "auth_header"], Problem::warning(message));
    }
    let probe = probe(from, name);
    if probe.is_some() {
        from.not_yet_in_file(&["providers", name, "probe"], "probing is");
    }
    ProviderSettings { base_url, auth_header, probe }
}

/// `auth_header = {name = "x-api-key", prefix = ""}`
fn auth_header(from: &mut Sources<'_>, provider: &str) -> Option<AuthHeader> {
    let path = ["providers", provider, "auth_header"];
    let prefix = from.read_file(&[&path[..], &["prefix"]].concat(), Value::header_prefix);
    let name = from.read_file(&[&path[..], &["name"]].concat(), Value::header_name);
    if name.is_none() && from.has(&path) && !from.has(&[&path[..], &["name"]].concat()) {
        let message = "expected {name = \"x-api-key\", prefix = \"\"}";
        from.complain_in_file(&path, Problem::error(message));
    }
    name.map(|name| AuthHeader { name: name.into(), prefix: prefix.unwrap_or_default().into() })
}

/// `probe = {path = "/v1/models", headers = {}, expect = 200}`
fn probe(from: &mut Sources<'_>, provider: &str) -> Option<ProviderProbe> {
    let path = ["providers", provider, "probe"];
    let inner = |name| [&path[..], &[name]].concat();
    let headers = from.read_map(&inner("headers"), |_, value| value.text().map(str::to_owned));
    let expect = from.read_file(&inner("expect"), |value| value.whole(100..=599));
    let target = from.read_file(&inner("path"), |value| {
        let target = value.text().ok().filter(|text| text.starts_with('/'));
        target.map(str::to_owned).ok_or_else(|| "expected a path such as \"/v1/models\"".to_owned())
    });
    if target.is_none() && from.has(&path) && !from.has(&inner("path")) {
        let message = "expected {path = \"/v1/models\"}";
        from.complain_in_file(&path, Problem::error(message));
    }
    let expect = expect.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    target.map(|path| ProviderProbe { path, headers, expect })
}

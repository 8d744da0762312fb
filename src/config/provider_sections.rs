//! The sections `[providers.NAME]` of keypool.toml.

use std::collections::BTreeMap;

use super::problem::Problem;
use super::settings::{ProviderProbe, ProviderSettings};
use super::sources::Sources;
use super::value::{Value, header_name};
use crate::health::{Endpoint, ProbeSettings};
use crate::provider::AuthHeader;

/// The providers that keypool knows without being told.
pub const BUILT_IN: [&str; 3] = ["gemini", "openai", "anthropic"];

/// The settings of every provider that has a section. Those that are probed must be so as `probes`
/// says.
pub(super) fn read(
    from: &mut Sources<'_>,
    probes: ProbeSettings,
) -> BTreeMap<String, ProviderSettings> {
    // Known even where nobody has such a section, so that a wrong name finds it.
    from.know_section("providers");
    let names = from.sections("providers");
    names.into_iter().map(|name| (name.clone(), provider(from, &name, probes))).collect()
}

fn provider(from: &mut Sources<'_>, name: &str, probes: ProbeSettings) -> ProviderSettings {
    let base_url = from.read_file(&["providers", name, "base_url"], Value::base_url);
    let mut auth_header = auth_header(from, name);
    if BUILT_IN.contains(&name) && auth_header.take().is_some() {
        let message = "the header of this provider is built in, so this has no effect";
        from.complain_in_file(&["providers", name, "auth_header"], Problem::warning(message));
    }
    let probe = probe(from, name);
    let settings = ProviderSettings { base_url, auth_header, probe };
    look_at_probe(from, name, probes, &settings);
    settings
}

/// What is wrong with the probe of a provider, or worth a word.
fn look_at_probe(
    from: &mut Sources<'_>,
    name: &str,
    probes: ProbeSettings,
    settings: &ProviderSettings,
) {
    let (base_url, probe) = (["providers", name, "base_url"], ["providers", name, "probe"]);
    let Some(request) = settings.probe_request(name) else {
        if settings.base_url.is_some() && !from.has(&probe) {
            let message = "has no effect without a probe such as {path = \"/v1/models\"}";
            from.complain_in_file(&base_url, Problem::warning(message));
        } else if settings.probe.is_some() && !from.has(&base_url) {
            let message = "has no effect without base_url, such as \"https://api.example.com\"";
            from.complain_in_file(&probe, Problem::warning(message));
        }
        return;
    };
    if probes.enabled
        && let Err(refused) = Endpoint::parse(&request.probe.url(), probes.allow_private)
    {
        let path = if settings.base_url.is_some() { base_url } else { probe };
        from.complain_in_file(&path, Problem::error(refused.to_string()));
    }
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
    let headers = from.read_map(&inner("headers"), |name, value| {
        let text =
            value.text().ok().filter(|text| text.bytes().all(|byte| (32..127).contains(&byte)));
        let text = text.filter(|_| header_name(name).is_some());
        text.map(str::to_owned).ok_or_else(|| "expected {\"x-version\" = \"1\"}".to_owned())
    });
    let expect = from.read_file(&inner("expect"), |value| value.whole(100..=599));
    let target = from.read_file(&inner("path"), |value| {
        let target = value.text().ok().filter(|text| text.starts_with('/') && !text.contains('#'));
        target.map(str::to_owned).ok_or_else(|| "expected a path such as \"/v1/models\"".to_owned())
    });
    if target.is_none() && from.has(&path) && !from.has(&inner("path")) {
        let message = "expected {path = \"/v1/models\"}";
        from.complain_in_file(&path, Problem::error(message));
    }
    let expect = expect.and_then(|status| u16::try_from(status).ok());
    target.map(|path| ProviderProbe { path, headers, expect })
}

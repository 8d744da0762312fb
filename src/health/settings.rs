//! What is probed and how.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::provider::{AuthHeader, FreeProbe, Provider};

/// `[probe]`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeSettings {
    /// Whether keys are probed.
    pub enabled: bool,
    /// How long a probe may take.
    pub timeout: Duration,
    /// Most probes at once.
    pub concurrency: usize,
    /// Whether private addresses, and `http` to them, may be probed.
    pub allow_private: bool,
}

/// What is probed and how: everything a reload may change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probing {
    /// `[probe]`
    pub settings: ProbeSettings,
    /// The time from one probe of a key to the next.
    pub every: Duration,
    /// The providers that have a section in the configuration; `None` for those without a probe.
    pub configured: BTreeMap<String, Option<ProbeRequest>>,
}

/// How the keys of one provider are probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeRequest {
    /// Whose answers these are.
    pub provider: Provider,
    /// What is asked.
    pub probe: FreeProbe,
    /// The header that carries the key.
    pub auth_header: AuthHeader,
}

impl ProbeRequest {
    /// The request that is built in for the provider called `name`.
    pub fn built_in(name: &str) -> Option<Self> {
        let provider = Provider::named(name);
        let probe = provider.free_probe()?;
        Some(Self { provider, probe, auth_header: provider.auth_header() })
    }
}

impl Default for Probing {
    /// Nothing is probed.
    fn default() -> Self {
        let settings = ProbeSettings {
            enabled: false,
            timeout: Duration::from_secs(5),
            concurrency: 8,
            allow_private: false,
        };
        Self { settings, every: Duration::from_mins(1), configured: BTreeMap::new() }
    }
}

impl Probing {
    /// How the keys of `provider` are probed, if they can be.
    pub fn request(&self, provider: &str) -> Option<ProbeRequest> {
        let configured = self.configured.get(provider).cloned();
        configured.unwrap_or_else(|| ProbeRequest::built_in(provider))
    }
}

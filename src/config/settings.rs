//! The settings of keypool.toml with their defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::health::{ProbeRequest, ProbeSettings, Probing};
use crate::pool::ResetZone;
use crate::provider::{AuthHeader, FreeProbe, Provider};
use crate::secrets::{RefreshRules, Secret, Store, StorePlaces};
use crate::server::{ConnectionLimits, RequiredHeader};
use crate::shared_quota::OnFailure;
use crate::telemetry::logging::LogFormat;

/// Every setting, valid, with defaults where nothing was set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Unix socket of the API.
    pub socket: PathBuf,
    /// The keys file.
    pub keys: PathBuf,
    /// `.env` files in the order of reading.
    pub env_files: Vec<PathBuf>,
    /// Where the state is kept, if it is.
    pub state_dir: Option<PathBuf>,
    /// Where metrics are served, if they are.
    pub metrics_addr: Option<SocketAddr>,
    /// A level, or levels by module: `info,keypool::pool=debug`.
    pub log: String,
    /// The form of the log.
    pub log_format: LogFormat,
    /// `[quota]`
    pub quota: QuotaSettings,
    /// `[cooldown]`
    pub cooldown: CooldownSettings,
    /// `[lease] ttl`: how long a lease may stay unreported.
    pub lease_ttl: Duration,
    /// `[wait] max`: the longest a select may wait.
    pub wait_max: Duration,
    /// `[probe]`
    pub probe: ProbeSettings,
    /// `[secrets]`
    pub secrets: SecretSettings,
    /// `[server]`
    pub server: ServerSettings,
    /// `[shared]`
    pub shared: SharedSettings,
    /// `[providers.NAME]`
    pub providers: BTreeMap<String, ProviderSettings>,
}

/// `[quota]`
#[derive(Clone, PartialEq, Debug)]
pub struct QuotaSettings {
    /// How much longer one request may take to the provider's counter than another.
    pub delay_guard: Duration,
    /// Tokens reserved if the request does not say.
    pub default_tokens: u64,
    /// Where a provider's day begins, by provider, where it is not the usual place.
    pub reset_zone: BTreeMap<String, ResetZone>,
    /// Whether pacing learns from unexpected refusals.
    pub adaptive: bool,
    /// This daemon's part of every limit, in (0, 1].
    pub share: f64,
}

/// `[cooldown]`
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CooldownSettings {
    /// The first cooldown after a refusal without a delay.
    pub first: Duration,
    /// The longest cooldown; not shorter than the first.
    pub max: Duration,
}

/// `[secrets]`
#[derive(Clone, PartialEq, Debug)]
pub struct SecretSettings {
    /// The store of keys that name none.
    pub store: Store,
    /// Where the stores have their secrets.
    pub places: StorePlaces,
    /// How those of remote stores are kept up to date.
    pub refresh: RefreshRules,
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The mode of the socket.
    pub mode: u32,
    /// The group of the socket, by name or number.
    pub group: Option<String>,
    /// The only users who may connect, if any are named.
    pub allow_uids: Vec<u32>,
    /// The only groups whose members may connect, if any are named.
    pub allow_gids: Vec<u32>,
    /// The group that may administer.
    pub admin_group: Option<String>,
    /// A header without which every request is refused.
    pub require_header: Option<RequiredHeader>,
    /// Most connections at once.
    pub connections: ConnectionLimits,
    /// How long requests may go on after the signal to stop.
    pub grace: Duration,
}

/// `[shared]`
#[derive(Clone, Debug)]
pub struct SharedSettings {
    /// Redis, with a password in it perhaps.
    pub redis_url: Option<Secret>,
    /// What holds while Redis is away.
    pub on_failure: OnFailure,
    /// The name of the pool in Redis: daemons with the same share their limits.
    pub pool: String,
    /// The longest that a select waits for Redis.
    pub timeout: Duration,
    /// How long what no select waits for may take.
    pub redis_timeout: Duration,
}

/// `[providers.NAME]`
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ProviderSettings {
    /// Where the provider is.
    pub base_url: Option<String>,
    /// The header that carries the key, for providers that are not built in.
    pub auth_header: Option<AuthHeader>,
    /// A request that costs nothing.
    pub probe: Option<ProviderProbe>,
}

/// A request that costs nothing and tells whether a key is good.
#[derive(Clone, PartialEq, Debug)]
pub struct ProviderProbe {
    /// The path after the base URL.
    pub path: String,
    /// Headers beside the one with the key.
    pub headers: BTreeMap<String, String>,
    /// The one status that a good key gets; any success if absent.
    pub expect: Option<u16>,
}

impl Settings {
    /// Where the day of `provider` begins.
    pub fn reset_zone(&self, provider: &str) -> ResetZone {
        let chosen = self.quota.reset_zone.get(provider).cloned();
        chosen.unwrap_or_else(|| Provider::named(provider).default_reset_zone())
    }
}

impl Settings {
    /// What is probed, with keys that are probed `every` so often.
    pub fn probing(&self, every: Duration) -> Probing {
        let configured = self.providers.iter();
        let configured =
            configured.map(|(name, settings)| (name.clone(), settings.probe_request(name)));
        Probing { settings: self.probe, every, configured: configured.collect() }
    }
}

impl ProviderSettings {
    /// How the keys of this provider, which is called `name`, are probed: what is built in, where
    /// nothing else was set.
    pub(super) fn probe_request(&self, name: &str) -> Option<ProbeRequest> {
        let provider = Provider::named(name);
        let mut probe = match (provider.free_probe(), &self.base_url, &self.probe) {
            (Some(probe), _, _) => probe,
            (None, Some(base_url), Some(probe)) => FreeProbe {
                base_url: base_url.clone().into(),
                path: probe.path.clone().into(),
                headers: Vec::new(),
                expect: None,
            },
            (None, None, _) | (None, _, None) => return None,
        };
        if let Some(base_url) = &self.base_url {
            probe.base_url = base_url.clone().into();
        }
        if let Some(set) = &self.probe {
            probe.path = set.path.clone().into();
            probe.expect = set.expect;
            // Those that are set come later, and so replace those that are built in.
            let headers = set.headers.iter();
            probe
                .headers
                .extend(headers.map(|(name, value)| (name.clone().into(), value.clone().into())));
        }
        let auth_header = self.auth_header.clone().unwrap_or_else(|| provider.auth_header());
        Some(ProbeRequest { provider, probe, auth_header })
    }
}

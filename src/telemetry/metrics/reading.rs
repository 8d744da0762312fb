//! What is read from the pool for one scrape: plain values, so that the pool is free again before
//! anything is written. The keys can be taken some at a time: each is sound in itself.

use std::sync::Arc;
use std::time::Duration;

use crate::background::let_go;
use crate::pool::{
    KeyId, KeySettings, KeyState, KeyView, LimitKind, LimitView, Now, Outcomes, Pool, ProbeVerdict,
    ProviderView, WallTime,
};

/// The pool at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    pub(super) now: Now,
    pub(super) keys: Vec<KeyReading>,
    pub(super) providers: Vec<ProviderView>,
    pub(super) waiting: usize,
    pub(super) warning_threshold: f64,
    pub(super) usable: bool,
}

/// A key at one moment.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct KeyReading {
    pub(super) id: KeyId,
    pub(super) provider: Arc<str>,
    pub(super) models: Vec<Arc<str>>,
    pub(super) group_key: KeyId,
    pub(super) rpm: Option<u64>,
    pub(super) state: KeyState,
    pub(super) quota: Vec<LimitView>,
    pub(super) in_flight: usize,
    pub(super) cooldowns: u64,
    pub(super) grants: u64,
    pub(super) tokens: u64,
    pub(super) reports: Outcomes,
    pub(super) unexpected_429: u64,
    pub(super) warnings: [u64; LimitKind::ALL.len()],
    pub(super) last_used: WallTime,
    pub(super) last_probe: Option<ProbeReading>,
}

/// The last probe of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ProbeReading {
    pub(super) accepted: bool,
    pub(super) took: Duration,
}

impl Reading {
    /// Reads all of `pool` as it is `now`.
    pub fn of(pool: &mut Pool, now: Now) -> Self {
        let mut reading = Self::begin(pool, now);
        reading.add(pool, &pool.settings().clone().keys, now);
        reading
    }

    /// Reads `pool` as it is `now`, but for the keys.
    pub fn begin(pool: &mut Pool, now: Now) -> Self {
        Self {
            now,
            keys: Vec::new(),
            providers: pool.providers(now),
            waiting: pool.waiting().0,
            warning_threshold: pool.warning_threshold(),
            usable: pool.usable().is_ok(),
        }
    }

    /// Reads those of `keys` that are still there.
    pub fn add(&mut self, pool: &mut Pool, keys: &[Arc<KeySettings>], now: Now) {
        for key in keys {
            self.keys.extend(pool.key(key.id.as_str(), now).map(KeyReading::of));
        }
    }

    /// Drops what was read.
    pub fn let_go(self) {
        let_go(self.keys);
    }
}

impl KeyReading {
    fn of(view: KeyView<'_>) -> Self {
        let (settings, record) = (view.settings, view.record);
        let probe = view.last_probe.map(|probe| ProbeReading {
            accepted: probe.verdict == ProbeVerdict::Accepted,
            took: probe.took,
        });
        Self {
            id: settings.id.clone(),
            provider: settings.provider.clone(),
            models: settings.models.clone(),
            group_key: view.group_key.clone(),
            rpm: settings.limits.rpm.map(Into::into),
            state: view.state,
            quota: view.quota,
            in_flight: view.in_flight,
            cooldowns: view.cooldowns,
            grants: record.total.grants,
            tokens: record.total.tokens,
            reports: record.reports,
            unexpected_429: record.unexpected_429,
            warnings: LimitKind::ALL.map(|limit| record.warnings(limit)),
            last_used: record.last_used.unwrap_or_default(),
            last_probe: probe,
        }
    }
}

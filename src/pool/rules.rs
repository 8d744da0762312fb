//! The part of the settings that holds for every key.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cooldown::Backoff;
use super::request::{MOST_TOKENS, SelectRequest};
use super::settings::{KeyId, KeySettings, PoolSettings, Strategy};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rules {
    pub(super) strategy: Strategy,
    pub(super) fallback_order: Vec<KeyId>,
    pub(super) warning_threshold: f64,
    pub(super) guard: Duration,
    pub(super) default_tokens: u64,
    pub(super) backoff: Backoff,
    pub(super) lease_ttl: Duration,
    pub(super) adaptive: bool,
}

impl Rules {
    pub(super) fn of(settings: &PoolSettings) -> Self {
        Self {
            strategy: settings.strategy,
            fallback_order: settings.fallback_order.clone(),
            warning_threshold: settings.warning_threshold,
            guard: settings.delay_guard,
            default_tokens: settings.default_tokens,
            backoff: Backoff { first: settings.cooldown_first, max: settings.cooldown_max },
            lease_ttl: settings.lease_ttl,
            adaptive: settings.adaptive,
        }
    }

    /// The settings that these are of, with `keys`.
    pub(super) fn settings(&self, keys: impl Iterator<Item = Arc<KeySettings>>) -> PoolSettings {
        PoolSettings {
            keys: keys.collect(),
            fallback_order: self.fallback_order.clone(),
            strategy: self.strategy,
            warning_threshold: self.warning_threshold,
            delay_guard: self.guard,
            default_tokens: self.default_tokens,
            cooldown_first: self.backoff.first,
            cooldown_max: self.backoff.max,
            lease_ttl: self.lease_ttl,
            adaptive: self.adaptive,
        }
    }

    /// The tokens to reserve for a request.
    pub(super) fn tokens(&self, request: &SelectRequest) -> u64 {
        request.tokens.unwrap_or(self.default_tokens).min(MOST_TOKENS)
    }

    /// Sorts the seats of a tier: by the fallback order where that is the strategy, else as
    /// configured.
    pub(super) fn seat_order(&self) -> impl Fn(&KeyId) -> usize + use<> {
        let listed: HashMap<KeyId, usize> = match self.strategy {
            Strategy::FallbackOrder => {
                self.fallback_order.iter().cloned().enumerate().map(|(n, id)| (id, n)).collect()
            }
            Strategy::RoundRobin
            | Strategy::LeastUtilized
            | Strategy::Weighted
            | Strategy::Random => HashMap::new(),
        };
        move |id| listed.get(id).copied().unwrap_or(usize::MAX)
    }
}

//! Looking at the pool: the state of every key, its quota, its record.

use std::sync::Arc;

use super::core::Pool;
use super::group::{Leases, WaitsFor};
use super::key::{Key, KeyIdx, Unusable};
use super::lease::{LeaseGone, LeaseId};
use super::outcome::LimitKind;
use super::pace::Pace;
use super::probe::LastProbe;
use super::record::{Outcomes, Record};
use super::refusal::NoUse;
use super::settings::{KeyId, KeySettings, Strategy};
use super::stock::ProviderHealth;
use super::time::{Instant, Now, WallTime};

/// The state of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// It can be used.
    Ready,
    /// It can be used as soon as its quota can pay.
    Exhausted {
        /// When that is.
        until: WallTime,
        /// What it waits for.
        waits_for: Option<WaitsFor>,
    },
    /// Its group is cooling.
    Cooling {
        /// The end.
        until: WallTime,
        /// Why.
        reason: &'static str,
    },
    /// The provider does not accept it; and what it said.
    Dead(Arc<str>),
    /// It has no secret; and what was looked up.
    MissingSecret(Arc<str>),
    /// It is switched off.
    Inactive,
}

impl KeyState {
    /// Every name that [`KeyState::name`] gives.
    pub const NAMES: [&'static str; 6] =
        ["ready", "exhausted", "cooling", "dead", "missing_secret", "inactive"];

    /// The name used in JSON and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Exhausted { .. } => "exhausted",
            Self::Cooling { .. } => "cooling",
            Self::Dead(_) => "dead",
            Self::MissingSecret(_) => "missing_secret",
            Self::Inactive => "inactive",
        }
    }

    /// When it ends, where that is known.
    pub fn until(&self) -> Option<WallTime> {
        match self {
            Self::Exhausted { until, .. } | Self::Cooling { until, .. } => Some(*until),
            Self::Ready | Self::Dead(_) | Self::MissingSecret(_) | Self::Inactive => None,
        }
    }
}

/// A key as it is now.
#[derive(Clone, Debug)]
pub struct KeyView<'a> {
    /// What is configured.
    pub settings: &'a KeySettings,
    /// Its state.
    pub state: KeyState,
    /// Whether its group tries one request at a time.
    pub half_open: bool,
    /// How many strikes count against its group.
    pub backoff_level: u32,
    /// The pace its group has learnt, where that is not the configured one.
    pub pace: Option<Pace>,
    /// Its group's limits.
    pub quota: Vec<LimitView>,
    /// Its group's open leases.
    pub in_flight: usize,
    /// What came of its uses.
    pub record: &'a Record,
    /// The first key of its group: itself, if it shares its limits with nobody.
    pub group_key: &'a KeyId,
    /// How many cooldowns of its group have begun.
    pub cooldowns: u64,
    /// What its last probe said.
    pub last_probe: Option<&'a LastProbe>,
}

/// A provider as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProviderView {
    /// Its name.
    pub name: Arc<str>,
    /// If its breaker is open: until when, or since when it is being tried again.
    pub down_until: Option<WallTime>,
    /// Failures of its keys after which another key was granted.
    pub rotations: Outcomes,
}

/// A limit as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitView {
    /// Which.
    pub kind: LimitKind,
    /// How much there is.
    pub limit: u64,
    /// How much there is by the provider's own word, where it has named it.
    pub provider_limit: Option<u64>,
    /// How much of it is used.
    pub used: u64,
    /// When the next unit comes back; absent if nothing is used, or if nobody knows.
    pub resets_at: Option<WallTime>,
}

impl LimitView {
    /// How much is left.
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

impl Pool {
    /// Every key, in the order of the configuration.
    pub fn keys(&mut self, now: Now) -> Vec<KeyView<'_>> {
        self.advance(now);
        let keys: Vec<KeyIdx> = self.configured();
        for &key in &keys {
            self.stock.roll_record(key, now);
        }
        let states: Vec<KeyState> = keys.iter().map(|&key| self.state(key, now)).collect();
        keys.into_iter().zip(states).map(|(key, state)| self.view(key, state, now)).collect()
    }

    /// The key called `id`.
    pub fn key(&mut self, id: &str, now: Now) -> Option<KeyView<'_>> {
        self.advance(now);
        let idx = *self.stock.by_id.get(id)?;
        self.stock.roll_record(idx, now);
        let state = self.state(idx, now);
        Some(self.view(idx, state, now))
    }

    /// Every provider that has a key, and whether it works.
    pub fn providers(&self, now: Now) -> Vec<ProviderView> {
        let view = |provider: &ProviderHealth| ProviderView {
            name: provider.name.clone(),
            down_until: provider.breaker.open_until().map(|until| now.wall_at(until)),
            rotations: provider.rotations,
        };
        let with_key = self.stock.providers.iter().filter(|provider| provider.groups > 0);
        with_key.map(view).collect()
    }

    /// The key that was granted last.
    pub fn last_key(&self) -> Option<&KeyId> {
        self.last_key.map(|key| &self.stock[key].settings.id)
    }

    /// The used share of a limit that is worth a warning.
    pub fn warning_threshold(&self) -> f64 {
        self.rules.warning_threshold
    }

    /// How one of several equal keys is chosen.
    pub fn strategy(&self) -> Strategy {
        self.rules.strategy
    }

    /// Whether there is a usable key, whatever its quota; why not, for each key.
    pub fn usable(&self) -> Result<(), Vec<(KeyId, NoUse)>> {
        if self.stock.keys.iter().any(Key::is_usable) {
            return Ok(());
        }
        let mut why = Vec::new();
        for key in self.configured() {
            let key = &self.stock[key];
            let unusable = key.unusable().map(NoUse::Unusable);
            why.extend(unusable.map(|unusable| (key.settings.id.clone(), unusable)));
        }
        Err(why)
    }

    /// The provider that the key of an open lease belongs to.
    pub fn provider_of(&self, lease: LeaseId) -> Result<Arc<str>, LeaseGone> {
        let (_, lease) = self.leases.find(lease)?;
        Ok(self.stock[lease.key].settings.provider.clone())
    }

    /// Requests a minute that the usable keys can serve together, those of `model` or of all;
    /// `None` if a key has no limit.
    pub fn capacity(&self, model: Option<&str>) -> Option<u64> {
        let mut total = 0_u64;
        for group in self.stock.groups.iter() {
            let serves = |key: &KeyIdx| {
                let key = &self.stock[*key];
                let models = &key.settings.models;
                let fits = model.is_none_or(|model| {
                    models.is_empty() || models.iter().any(|offered| **offered == *model)
                });
                key.is_usable() && fits
            };
            if group.members.iter().any(serves) {
                total = total.saturating_add(group.limits().rpm?.get());
            }
        }
        Some(total)
    }

    fn configured(&self) -> Vec<KeyIdx> {
        let mut keys: Vec<KeyIdx> = self.stock.by_id.values().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// The state of a key.
    pub(super) fn state(&mut self, key: KeyIdx, now: Now) -> KeyState {
        match self.stock[key].unusable() {
            Some(Unusable::Inactive | Unusable::Excluded) => return KeyState::Inactive,
            Some(Unusable::MissingSecret(reason)) => return KeyState::MissingSecret(reason),
            Some(Unusable::Dead(detail)) => return KeyState::Dead(detail),
            None => {}
        }
        let group = self.stock.group_of(key, now);
        if let Some(until) = group.cooldown.until(now.at) {
            let reason = group.cooldown.reason().name();
            return KeyState::Cooling { until: now.wall_at(until), reason };
        }
        let (free_at, waits_for) = group.free_at(0, Leases::Expire, now);
        if free_at > now.at {
            return KeyState::Exhausted { until: now.wall_at(free_at), waits_for };
        }
        KeyState::Ready
    }

    fn view(&self, key: KeyIdx, state: KeyState, now: Now) -> KeyView<'_> {
        let holder = &self.stock[key];
        let group = &self.stock[holder.group];
        KeyView {
            settings: &holder.settings,
            state,
            half_open: group.cooldown.is_half_open(now.at),
            backoff_level: group.cooldown.level(),
            pace: group.learnt_pace(),
            quota: group.limit_views(now),
            in_flight: group.in_flight(),
            group_key: group
                .members
                .first()
                .map_or(&holder.settings.id, |&first| &self.stock[first].settings.id),
            cooldowns: group.cooldown.begun(),
            record: &holder.record,
            last_probe: holder.probe.last.as_ref(),
        }
    }
}

impl super::group::Group {
    fn limit_views(&self, now: Now) -> Vec<LimitView> {
        let wall = |at: Instant| now.wall_at(at);
        let windows =
            [(LimitKind::Rpm, self.quota.requests()), (LimitKind::Tpm, self.quota.tokens())];
        let windows = windows.into_iter().filter_map(|(kind, window)| Some((kind, window?)));
        let minute = windows.map(|(kind, window)| LimitView {
            kind,
            limit: window.limit(),
            provider_limit: self.learnt_limit(kind),
            used: window.used(now.at),
            resets_at: window.resets_at(now.at).map(wall),
        });
        let day = self.quota.day();
        let day = day.limit().map(|limit| LimitView {
            kind: LimitKind::Rpd,
            limit,
            provider_limit: self.learnt_limit(LimitKind::Rpd),
            used: day.used(),
            resets_at: Some(day.ends()),
        });
        let flight = self.limits().max_concurrent.map(|limit| LimitView {
            kind: LimitKind::Concurrency,
            limit: limit.get(),
            provider_limit: self.learnt_limit(LimitKind::Concurrency),
            used: self.in_flight() as u64,
            resets_at: None,
        });
        minute.chain(day).chain(flight).collect()
    }
}

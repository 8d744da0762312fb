//! From a reading of the pool to the families that are made of it: gauges, and the counters that
//! the pool keeps itself. They need no mirror, and a key that has gone has no series.

use std::collections::BTreeMap;

use super::ages::SecretAges;
use super::capacity::Capacities;
use super::catalogue as of;
use super::reading::{KeyReading, Reading};
use super::text::Text;
use crate::background::unhurried;
use crate::pool::{KeyState, LimitKind, LimitView, Outcome, WallTime};

/// What is not of the pool but is read for a scrape all the same.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Surroundings {
    /// Whether the daemon serves and is not about to stop.
    pub serving: bool,
    /// How often the state could not be written.
    pub state_write_errors: u64,
    /// How limits are shared with other daemons, if they are.
    pub shared: Option<SharedQuota>,
}

/// How limits are shared with other daemons.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SharedQuota {
    /// Whether they are at the moment.
    pub up: bool,
    /// How many quota groups this daemon holds.
    pub owned_groups: usize,
    /// The part of every limit that is this daemon's when it is cut off.
    pub part: f64,
    /// What it leaves to others that may be.
    pub withheld: f64,
    /// Questions to Redis, by what came of them.
    pub calls: BTreeMap<&'static str, u64>,
}

/// The outcomes after which another key is tried.
const ROTATING: [Outcome; 5] = [
    Outcome::RateLimited(crate::pool::RateLimit::UNKNOWN),
    Outcome::AuthFailed,
    Outcome::ModelRefused,
    Outcome::ServerError,
    Outcome::Timeout,
];

fn write_shared(shared: &SharedQuota, text: &mut Text) {
    text.family(&of::SHARED_UP).add(&[], u8::from(shared.up));
    text.family(&of::SHARED_OWNED_GROUPS).add(&[], shared.owned_groups as u64);
    text.family(&of::SHARED_PART).add(&[], shared.part);
    text.family(&of::SHARED_WITHHELD).add(&[], shared.withheld);
    let mut calls = text.family(&of::SHARED_CALLS);
    for result in ["ok", "timeout", "error"] {
        calls.add(&[result], shared.calls.get(result).copied().unwrap_or(0));
    }
}

impl Reading {
    /// Writes every family that is made of this.
    pub(super) fn write(&self, around: &Surroundings, ages: &SecretAges, text: &mut Text) {
        self.write_daemon(around, text);
        self.write_providers(text);
        self.write_capacities(text);
        self.write_keys(text);
        self.write_uses(text);
        self.write_quota(text);
        self.write_probes(text);
        self.write_secrets(ages, text);
    }

    fn write_daemon(&self, around: &Surroundings, text: &mut Text) {
        text.family(&of::WAITERS).add(&[], self.waiting);
        text.family(&of::READY).add(&[], u8::from(self.usable && around.serving));
        text.family(&of::STATE_WRITE_ERRORS).add(&[], around.state_write_errors);
        text.family(&of::QUOTA_WARNING_THRESHOLD).add(&[], self.warning_threshold);
        if let Some(shared) = &around.shared {
            write_shared(shared, text);
        }
    }

    fn write_providers(&self, text: &mut Text) {
        let mut breakers = text.family(&of::BREAKER_OPEN);
        for provider in &self.providers {
            breakers.add(&[&provider.name], u8::from(provider.down_until.is_some()));
        }
        let mut rotations = text.family(&of::ROTATIONS);
        for provider in &self.providers {
            let rotating =
                |(name, _): &(&str, u64)| ROTATING.iter().any(|outcome| outcome.name() == *name);
            for (reason, count) in provider.rotations.iter().filter(rotating) {
                rotations.add(&[&provider.name, reason], count);
            }
        }
    }

    fn write_capacities(&self, text: &mut Text) {
        let Capacities { providers, models } = Capacities::of(&self.keys);
        let mut samples = text.family(&of::CAPACITY);
        for (provider, capacity) in &providers {
            samples.add_known(&[provider], capacity.configured);
        }
        let mut samples = text.family(&of::CAPACITY_READY);
        for (provider, capacity) in &providers {
            samples.add_known(&[provider], capacity.ready);
        }
        let mut samples = text.family(&of::MODEL_CAPACITY);
        for ((provider, model), capacity) in &models {
            samples.add_known(&[provider, model], capacity.configured);
        }
        let mut samples = text.family(&of::MODEL_CAPACITY_READY);
        for ((provider, model), capacity) in &models {
            samples.add_known(&[provider, model], capacity.ready);
        }
    }

    fn write_keys(&self, text: &mut Text) {
        let mut infos = text.family(&of::KEY_INFO);
        for key in &self.keys {
            let (id, group) = (key.id.as_str(), key.group_key.as_str());
            if key.models.is_empty() {
                infos.add(&[id, &key.provider, "*", group], 1);
            }
            for model in &key.models {
                infos.add(&[id, &key.provider, model, group], 1);
            }
        }
        let mut states = text.family(&of::KEY_STATE);
        for key in &self.keys {
            for state in KeyState::NAMES {
                let present = u8::from(key.state.name() == state);
                states.add(&[key.id.as_str(), &key.provider, state], present);
            }
        }
        self.each(&of::KEY_IN_FLIGHT, text, |key| key.in_flight);
        self.each(&of::KEY_COOLDOWN, text, |key| match key.state {
            KeyState::Cooling { until, .. } => until.since(self.now.wall).as_secs_f64(),
            KeyState::Ready
            | KeyState::Exhausted { .. }
            | KeyState::Dead(_)
            | KeyState::MissingSecret(_)
            | KeyState::Inactive => 0.0,
        });
        self.each(&of::KEY_LAST_USED, text, |key| unix_seconds(key.last_used));
    }

    fn write_uses(&self, text: &mut Text) {
        self.each(&of::KEY_GRANTS, text, |key| key.grants);
        self.each(&of::KEY_TOKENS, text, |key| key.tokens);
        self.each(&of::UNEXPECTED_429, text, |key| key.unexpected_429);
        self.each(&of::KEY_COOLDOWNS, text, |key| key.cooldowns);
        let mut reports = text.family(&of::KEY_REPORTS);
        for key in &self.keys {
            for (outcome, count) in key.reports.iter() {
                reports.add(&[key.id.as_str(), &key.provider, outcome], count);
            }
        }
    }

    fn write_quota(&self, text: &mut Text) {
        self.each_limit(&of::QUOTA_LIMIT, text, |limit| Some(limit.limit));
        self.each_limit(&of::QUOTA_REMAINING, text, |limit| Some(limit.remaining()));
        self.each_limit(&of::QUOTA_USED, text, |limit| Some(share(limit.used, limit.limit)));
        self.each_limit(&of::QUOTA_RESETS, text, |limit| {
            let at = limit.resets_at.filter(|_| limit.kind == LimitKind::Rpd);
            at.map(unix_seconds)
        });
        let mut warnings = text.family(&of::QUOTA_WARNINGS);
        for key in &self.keys {
            for limit in &key.quota {
                let count = key.warnings[limit.kind as usize];
                warnings.add(&[key.id.as_str(), limit.kind.name()], count);
            }
        }
    }

    fn write_probes(&self, text: &mut Text) {
        let probed = || self.keys.iter().filter_map(|key| Some((key, key.last_probe?)));
        let mut successes = text.family(&of::PROBE_SUCCESS);
        for (key, probe) in probed() {
            successes.add(&[key.id.as_str(), &key.provider], u8::from(probe.accepted));
        }
        let mut durations = text.family(&of::PROBE_DURATION);
        for (key, probe) in probed() {
            durations.add(&[key.id.as_str(), &key.provider], probe.took.as_secs_f64());
        }
    }

    fn write_secrets(&self, ages: &SecretAges, text: &mut Text) {
        let read: Vec<_> = unhurried(&self.keys)
            .filter_map(|key| Some((key.id.as_str(), ages.of(&key.id)?)))
            .collect();
        let mut samples = text.family(&of::SECRET_AGE);
        for (id, last) in &read {
            samples.add(&[id], self.now.at.since(last.at).as_secs_f64());
        }
        let mut samples = text.family(&of::SECRET_MAX_STALE);
        for (id, last) in &read {
            samples.add_known(&[id], last.max_stale.map(|span| span.as_secs_f64()));
        }
    }

    /// One sample for each key.
    fn each<T: std::fmt::Display>(
        &self,
        family: &of::Family,
        text: &mut Text,
        number: impl Fn(&KeyReading) -> T,
    ) {
        let mut samples = text.family(family);
        for key in &self.keys {
            samples.add(&[key.id.as_str(), &key.provider], number(key));
        }
    }

    /// One sample for each limit of each key, where there is a number.
    fn each_limit<T: std::fmt::Display>(
        &self,
        family: &of::Family,
        text: &mut Text,
        number: impl Fn(&LimitView) -> Option<T>,
    ) {
        let mut samples = text.family(family);
        for key in &self.keys {
            for limit in &key.quota {
                let values = [key.id.as_str(), &key.provider, limit.kind.name()];
                samples.add_known(&values, number(limit));
            }
        }
    }
}

/// Seconds since the Unix epoch, exact to the millisecond.
pub(super) fn unix_seconds(at: WallTime) -> f64 {
    at.since(WallTime::default()).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

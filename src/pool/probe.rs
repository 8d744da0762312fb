//! Probes: which keys are due to be asked about at their provider, and what it said of them.
//!
//! Keys with one credential at one provider are probed once for all. A key is probed once in an
//! interval, and one whose use has succeeded within the interval is not. A death that a caller has
//! reported is probed at once, because the key may be good all the same; but only once in an
//! interval, so that no caller can make the pool ask without end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::core::Pool;
use super::key::KeyIdx;
use super::lease::{LeaseSeq, OpenLease};
use super::outcome::Outcome;
use super::report::Report;
use super::settings::KeyId;
use super::snapshot::What;
use super::time::{Instant, Now, WallTime};

/// What a probe says about a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProbeVerdict {
    /// The provider accepts the key.
    Accepted,
    /// The provider does not accept the key; and what it said, in machine-readable words.
    Rejected(Arc<str>),
    /// The answer says nothing about the key; and what it said.
    Unknown(Arc<str>),
    /// There was no answer; and why.
    NotReached(Arc<str>),
}

impl ProbeVerdict {
    /// Every name that [`ProbeVerdict::name`] gives.
    pub const NAMES: [&'static str; 4] = ["accepted", "rejected", "unknown", "not_reached"];

    /// The name used in JSON and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected(_) => "rejected",
            Self::Unknown(_) => "unknown",
            Self::NotReached(_) => "not_reached",
        }
    }

    /// The same with what was said put in other words.
    #[must_use]
    pub fn reworded(self, words: impl FnOnce(&str) -> Arc<str>) -> Self {
        match self {
            Self::Accepted => Self::Accepted,
            Self::Rejected(said) => Self::Rejected(words(&said)),
            Self::Unknown(said) => Self::Unknown(words(&said)),
            Self::NotReached(why) => Self::NotReached(words(&why)),
        }
    }

    /// What the provider said, or what went wrong.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Accepted => None,
            Self::Rejected(detail) | Self::Unknown(detail) | Self::NotReached(detail) => {
                Some(detail)
            }
        }
    }
}

/// The last probe of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastProbe {
    /// When it ended.
    pub at: WallTime,
    /// What it says.
    pub verdict: ProbeVerdict,
    /// How long it took.
    pub took: Duration,
}

/// A credential that is to be probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeTarget {
    /// A key that has it.
    pub key_id: KeyId,
    /// The provider to ask.
    pub provider: Arc<str>,
    credential: Arc<str>,
}

/// What to probe now, and when to look again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeRound {
    /// What is due, the longest overdue first.
    pub due: Vec<ProbeTarget>,
    /// When something else will be due, unless [`Pool::probes_moved`] says earlier.
    pub next: Instant,
}

/// What probes have to do with a key.
#[derive(Clone, Debug, Default)]
pub(super) struct ProbeState {
    pub(super) last: Option<LastProbe>,
    due: Option<Instant>,
    /// When the last probe was handed out.
    started: Option<Instant>,
    /// Whether that probe has not come back.
    running: bool,
    /// A caller has reported the key dead since the last probe was handed out.
    doubted: bool,
    /// When such a doubt was last probed.
    confirmed: Option<Instant>,
    /// When a use of the key last succeeded.
    vouched: Option<Instant>,
    /// The first lease that was granted after the probe that brought the key back.
    revived_before: Option<LeaseSeq>,
}

impl ProbeState {
    /// A use of the key has succeeded.
    pub(super) fn vouch(&mut self, now: Instant) {
        self.vouched = Some(now);
    }

    /// A caller has reported the key dead.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }
}

impl Pool {
    /// What is due to be probed, of keys whose provider is among those `asked`. Each must come
    /// back with [`Pool::probed`] or [`Pool::probe_again`].
    pub fn probe_round(
        &mut self,
        every: Duration,
        asked: impl Fn(&str) -> bool,
        now: Now,
    ) -> ProbeRound {
        self.probes_moved = false;
        let mut next = Instant::NEVER;
        let mut due: Vec<(Instant, ProbeTarget)> = Vec::new();
        for (target, keys) in self.probe_targets(asked) {
            let at = self.probe_due(&keys, every, now);
            let running = keys.iter().any(|&key| self.stock[key].probe.running);
            if at > now.at {
                next = next.min(at);
            } else if !running {
                next = next.min(self.begin_probe(&keys, every, now));
                due.push((at, target));
            }
        }
        due.sort_by_key(|(at, _)| *at);
        // Rounds look at every key: few of them, however many keys there are.
        let next = next.max(now.at.plus(every / 100));
        ProbeRound { due: due.into_iter().map(|(_, target)| target).collect(), next }
    }

    /// Hands out the probe of `key` although it is not due; none if there is no such key.
    pub fn probe_now(&mut self, key: &KeyId, every: Duration, now: Now) -> Option<ProbeTarget> {
        let idx = *self.stock.by_id.get(key)?;
        let provider = self.stock[idx].settings.provider.clone();
        let credential = self.stock[idx].settings.credential.clone();
        let mut keys = self.stock.with_credential_of(idx);
        keys.retain(|&key| self.stock[key].settings.provider == provider);
        self.begin_probe(&keys, every, now);
        Some(ProbeTarget { key_id: key.clone(), provider, credential })
    }

    /// Whether something may be due to be probed earlier than the last round has said.
    pub fn probes_moved(&self) -> bool {
        self.probes_moved
    }

    /// Takes note of what a probe said.
    pub fn probed(
        &mut self,
        target: &ProbeTarget,
        verdict: &ProbeVerdict,
        took: Duration,
        now: Now,
    ) {
        self.advance(now);
        let keys = self.end_probe(target);
        let Some(&first) = keys.first() else { return };
        for &key in &keys {
            let last = LastProbe { at: now.wall, verdict: verdict.clone(), took };
            let state = &mut self.stock[key].probe;
            state.last = Some(last);
            // One that took longer than the interval was left out of the rounds meanwhile.
            self.probes_moved |= state.due.is_some_and(|due| due <= now.at);
        }
        match verdict {
            // A key that was reported dead while the probe was on its way may have died since.
            ProbeVerdict::Accepted if keys.iter().any(|&key| self.stock[key].probe.doubted) => {
                self.probes_moved = true;
            }
            ProbeVerdict::Accepted => self.accept(first, now),
            ProbeVerdict::Rejected(detail) => {
                self.reject(first, detail, now);
                for &key in &keys {
                    self.stock[key].probe.doubted = false;
                }
            }
            ProbeVerdict::Unknown(_) | ProbeVerdict::NotReached(_) => {}
        }
        self.serve_line(now);
    }

    /// The provider accepts the credential of `key`.
    pub(super) fn accept(&mut self, key: KeyIdx, now: Now) {
        let next = self.leases.next();
        let mut dead = self.stock.with_credential_of(key);
        dead.retain(|&key| self.stock[key].dead.is_some());
        for &key in &dead {
            self.stock[key].probe.revived_before = Some(next);
        }
        if !dead.is_empty() {
            let id = self.stock[key].settings.id.clone();
            self.note(What::ProbeAccepted { key: id }, now);
            self.revive(key, "probe succeeded", now);
        }
    }

    /// The provider rejects the credential of `key`.
    pub(super) fn reject(&mut self, key: KeyIdx, detail: &Arc<str>, now: Now) {
        let id = self.stock[key].settings.id.clone();
        self.note(What::ProbeRejected { key: id, detail: detail.clone() }, now);
        let report = Report { detail: detail.clone(), ..Report::of(Outcome::AuthFailed) };
        self.condemn(key, &report, now);
    }

    /// What a probe said is not worth knowing any more: the secret it was about has been replaced.
    pub fn probe_again(&mut self, target: &ProbeTarget, now: Now) {
        for key in self.end_probe(target) {
            self.stock[key].probe.due = Some(now.at);
            self.probes_moved = true;
        }
    }

    /// A caller has reported the provider's refusal of the key.
    pub(super) fn rejected(&mut self, seq: LeaseSeq, lease: &OpenLease, report: &Report, now: Now) {
        // A lease that was granted before the provider accepted the key again is old news.
        if self.stock[lease.key].probe.revived_before.is_none_or(|revived| seq >= revived) {
            self.condemn(lease.key, report, now);
        }
    }

    /// Every credential that can be probed, with the keys that have it.
    fn probe_targets(&self, asked: impl Fn(&str) -> bool) -> Vec<(ProbeTarget, Vec<KeyIdx>)> {
        let mut targets: BTreeMap<(Arc<str>, Arc<str>), Vec<KeyIdx>> = BTreeMap::new();
        for &idx in self.stock.by_id.values() {
            let key = &self.stock[idx];
            let settings = &key.settings;
            if settings.active && key.missing_secret.is_none() && asked(&settings.provider) {
                let name = (settings.provider.clone(), settings.credential.clone());
                targets.entry(name).or_default().push(idx);
            }
        }
        let target = |((provider, credential), mut keys): ((Arc<str>, Arc<str>), Vec<KeyIdx>)| {
            keys.sort_unstable();
            let key_id = self.stock[keys[0]].settings.id.clone();
            (ProbeTarget { key_id, provider, credential }, keys)
        };
        targets.into_iter().map(target).collect()
    }

    /// When the credential of `keys` is due.
    fn probe_due(&mut self, keys: &[KeyIdx], every: Duration, now: Now) -> Instant {
        let states = || keys.iter().map(|&key| &self.stock[key].probe);
        let known = states().filter_map(|state| state.due).min();
        let started = states().filter_map(|state| state.started).max();
        let confirmed = states().filter_map(|state| state.confirmed).max();
        let vouched = states().filter_map(|state| state.vouched).max();
        let doubted = states().any(|state| state.doubted);
        let dead = keys.iter().any(|&key| self.stock[key].dead.is_some());

        if dead && doubted && confirmed.is_none_or(|at| at.plus(every) <= now.at) {
            return now.at;
        }
        // New keys are spread over the interval, which may have been shortened since.
        let due = known.unwrap_or_else(|| now.at.plus(self.part_of(every)));
        let due = due.min(now.at.plus(every + every / 5));
        for &key in keys {
            self.stock[key].probe.due = Some(due);
        }
        if dead {
            started.map_or(due, |at| due.min(at.plus(every)))
        } else {
            vouched.map_or(due, |at| due.max(at.plus(every)))
        }
    }

    /// Hands out the probe of `keys`, and says when the next one is due: within the interval for a
    /// dead key, and no earlier for one that is alive; either with some jitter, so that daemons
    /// that started together don't ask together for ever.
    fn begin_probe(&mut self, keys: &[KeyIdx], every: Duration, now: Now) -> Instant {
        let dead = keys.iter().any(|&key| self.stock[key].dead.is_some());
        let due = if dead {
            now.at.plus(every * 4 / 5 + self.part_of(every / 6))
        } else {
            now.at.plus(every + self.part_of(every / 5))
        };
        for &key in keys {
            let state = &mut self.stock[key].probe;
            if std::mem::take(&mut state.doubted) {
                state.confirmed = Some(now.at);
            }
            state.due = Some(due);
            state.started = Some(now.at);
            state.running = true;
        }
        due
    }

    /// The keys that wait for the probe of `target`, which has come back.
    fn end_probe(&mut self, target: &ProbeTarget) -> Vec<KeyIdx> {
        let mut keys: Vec<KeyIdx> = self.stock.by_id.values().copied().collect();
        keys.sort_unstable();
        keys.retain(|&key| {
            let settings = &self.stock[key].settings;
            let same =
                settings.provider == target.provider && settings.credential == target.credential;
            same && std::mem::take(&mut self.stock[key].probe.running)
        });
        keys
    }

    /// A random part of `span`.
    fn part_of(&mut self, span: Duration) -> Duration {
        let nanos = self.random.below(span.as_nanos().max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

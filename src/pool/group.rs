//! A quota group: keys that share limits, because their provider counts them together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::cooldown::Cooldown;
use super::foreign::ForeignLeases;
use super::in_flight::InFlight;
use super::key::KeyIdx;
use super::lease::{LeaseId, LeaseSeq};
use super::outcome::{LearnedLimit, LimitKind};
use super::pace::{Pace, Pacing};
use super::quota::{Quota, Reservation};
use super::settings::{KeyId, KeySettings, Limits};
use super::sharing::{Handover, Holding, Part};
use super::time::{Calendar, Instant, Now};

/// The place of a group in the pool's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(super) struct GroupIdx(pub(super) u32);

impl GroupIdx {
    /// The index of the `place`th group.
    pub(super) fn at(place: usize) -> Self {
        Self(u32::try_from(place).expect("fewer than 2^32 groups"))
    }
}

/// What makes two keys share limits.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) enum GroupId {
    /// A key without a quota group is its own.
    Key(KeyId),
    /// Keys of one quota group count together for the same models as written.
    Shared { provider: Arc<str>, name: Arc<str>, models: Vec<Arc<str>> },
}

impl GroupId {
    pub(super) fn of(key: &KeySettings) -> Self {
        match &key.quota_group {
            None => Self::Key(key.id.clone()),
            Some(name) => Self::Shared {
                provider: key.provider.clone(),
                name: name.clone(),
                models: key.models.clone(),
            },
        }
    }

    /// The name of the group among daemons.
    pub(super) fn name(&self) -> Arc<str> {
        match self {
            Self::Key(id) => format!("key:{id}").into(),
            Self::Shared { provider, name, models } => {
                format!("group:{provider}/{name}[{}]", models.join(",")).into()
            }
        }
    }
}

/// A limit, how much of it is used, and how much there is.
pub(super) type Use = (LimitKind, u64, u64);

/// What a group waits for before it can pay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitsFor {
    /// The refill of a limit, or a lease to end where the limit is the concurrency.
    Limit(LimitKind),
    /// The end of a cooldown.
    Cooldown,
    /// The trial of a half-open group.
    Trial,
    /// Another daemon to hand it over.
    OtherDaemon,
    /// The end of a failure of the provider.
    Provider,
    /// The time after which a key may be tried again for a model it was refused for.
    Model,
}

/// When leases that are open now are thought to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leases {
    /// When they expire: certain.
    Expire,
    /// At any moment, by a report: possible.
    MayEnd,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) members: Vec<KeyIdx>,
    /// Keys that were in it when they left the configuration: if one comes back in another group,
    /// its uses are here.
    pub(super) gone: BTreeSet<KeyId>,
    pub(super) quota: Quota,
    pub(super) cooldown: Cooldown,
    in_flight: InFlight,
    max_concurrent: Option<u64>,
    limits: Limits,
    warned: Warned,
    pacing: Pacing,
    /// Limits as the provider itself names them.
    learnt_limits: BTreeMap<LimitKind, u64>,
    /// Whether this daemon may grant from it.
    pub(super) holding: Holding,
    /// Leases that were granted elsewhere.
    pub(super) foreign: ForeignLeases,
    /// Whether it has uses that no other daemon knows of, from before limits were shared.
    pub(super) unshared: bool,
    /// When other daemons may be asked again whether they can do without it.
    #[serde(skip)]
    pub(super) wish_again: Instant,
    /// How much of its limits may be used.
    #[serde(skip)]
    part: Part,
    /// Whether that is too little for a single request.
    #[serde(skip)]
    shut: bool,
}

/// When the use of each limit last crossed the warning threshold.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Warned {
    rpm: Option<Instant>,
    tpm: Option<Instant>,
    rpd: Option<i32>,
}

impl Group {
    pub(super) fn new(id: GroupId, key: &KeySettings, guard: Duration, shared: bool) -> Self {
        Self {
            id,
            members: Vec::new(),
            gone: BTreeSet::new(),
            quota: Quota::new(&key.limits, &key.reset_zone, guard),
            cooldown: Cooldown::new(),
            in_flight: InFlight::default(),
            max_concurrent: key.limits.max_concurrent.map(Into::into),
            limits: key.limits,
            warned: Warned::default(),
            pacing: Pacing::default(),
            learnt_limits: BTreeMap::new(),
            holding: Holding::new(shared),
            foreign: ForeignLeases::default(),
            unshared: false,
            wish_again: Instant::ZERO,
            part: Part::ALL,
            shut: false,
        }
    }

    /// Whether it could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.quota.is_sound() && self.cooldown.is_sound() && self.pacing.is_sound()
    }

    /// Whether it holds the lease `seq`.
    pub(super) fn holds(&self, seq: LeaseSeq) -> bool {
        self.in_flight.expiry(seq).is_some()
    }

    /// Takes other limits; what was used stays used.
    pub(super) fn resize(&mut self, key: &KeySettings, guard: Duration) {
        self.limits = key.limits;
        self.part = self.part.under(&self.limits);
        self.quota.resize(&key.limits, self.pacing.learnt(), &key.reset_zone, guard);
        self.rescale();
    }

    /// Keeps to `part` of its limits. Says whether that is news.
    pub(super) fn scale(&mut self, part: Part) -> bool {
        let part = part.under(&self.limits);
        if part == self.part {
            return false;
        }
        self.part = part;
        self.rescale();
        true
    }

    /// Keeps to the part of its limits that it knows of.
    pub(super) fn rescale(&mut self) {
        let (in_force, pays) = self.limits.in_part(self.part);
        self.shut = !pays;
        self.max_concurrent = in_force.max_concurrent.map(Into::into);
        self.quota.scale(&in_force, self.pacing.learnt());
    }

    fn repace(&mut self) {
        let (in_force, _) = self.limits.in_part(self.part);
        self.quota.repace(&in_force, self.pacing.learnt());
    }

    /// Has memory bring what a grant and a report use of it, but for its parts.
    pub(super) fn fetch_own(&self) -> u64 {
        let first = self.members.first().map_or(0, |key| u64::from(key.0));
        first
            ^ self.max_concurrent.unwrap_or(0)
            ^ u64::from(self.limits.rpm.is_some())
            ^ self.in_flight.len() as u64
            ^ u64::from(self.warned.rpd.is_some())
            ^ u64::from(self.holding == Holding::Alone)
            ^ u64::from(self.foreign.is_empty())
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many leases are open.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The earliest time from `now` on at which the group can pay one request with `tokens`, and
    /// what it waits for until then.
    pub(super) fn free_at(
        &self,
        tokens: u64,
        leases: Leases,
        now: Now,
    ) -> (Instant, Option<WaitsFor>) {
        let (at, limit) = self.quota.free_at(tokens, now);
        let mut free = (at, limit.map(WaitsFor::Limit));
        if self.shut || (at == Instant::NEVER && self.part < Part::ALL) {
            free = (Holding::soon(now.at), Some(WaitsFor::OtherDaemon));
        }
        let mut bound = |at: Option<Instant>, reason| {
            if let Some(at) = at
                && at > free.0
            {
                free = (at, Some(reason));
            }
        };
        bound(self.cooldown.until(now.at), WaitsFor::Cooldown);
        if leases == Leases::Expire {
            let trial = self.cooldown.trial().and_then(|trial| self.in_flight.expiry(trial));
            bound(trial, WaitsFor::Trial);
            bound(self.slot_free_at(now.at), WaitsFor::Limit(LimitKind::Concurrency));
        }
        bound(self.holding.away_until(now.at), WaitsFor::OtherDaemon);
        free
    }

    /// When a place among the requests in flight is free, if none is.
    fn slot_free_at(&self, now: Instant) -> Option<Instant> {
        let most = self.max_concurrent?;
        if self.foreign.is_empty() {
            let over = (self.in_flight.len() as u64).checked_sub(most)?;
            let over = usize::try_from(over).unwrap_or(usize::MAX);
            return self.in_flight.iter().nth(over).map(|(_, expires)| expires);
        }
        let own = self.in_flight.iter().map(|(_, expires)| expires);
        let mut ends: Vec<Instant> = own.chain(self.foreign.ends(now)).collect();
        ends.sort_unstable();
        let over = (ends.len() as u64).checked_sub(most)?;
        ends.get(usize::try_from(over).unwrap_or(usize::MAX)).copied()
    }

    /// Whether no other daemon has a part in it.
    pub(super) fn is_alone(&self) -> bool {
        self.holding == Holding::Alone && self.foreign.is_empty()
    }

    /// Shares its limits with other daemons from `now` on, or no more. Nobody will tell then what
    /// others have used, so it counts as used up, and half of its day.
    pub(super) fn share(&mut self, shared: bool, now: Instant) {
        if self.holding == Holding::Alone {
            self.unshared = true;
        } else if !shared {
            self.scale(Part::ALL);
            self.quota.assume_used(now);
        }
        self.holding.share(shared);
    }

    /// The leases in flight, for the next holder. Where their number has no limit nobody asks.
    pub(super) fn in_flight_parcel(
        &self,
        name: impl Fn(LeaseSeq) -> LeaseId,
        handover: Handover,
    ) -> Vec<(String, u64)> {
        if self.max_concurrent.is_none() {
            return Vec::new();
        }
        let own = self.in_flight.iter();
        let own = own.map(|(seq, expires)| (name(seq).to_string(), handover.ahead(expires)));
        own.chain(self.foreign.pack(handover)).collect()
    }

    /// Counts the leases in flight of the last holder. Those that were granted here are known.
    pub(super) fn unpack_in_flight(
        &mut self,
        in_flight: &[(String, u64)],
        own: impl Fn(&str) -> bool,
        handover: Handover,
    ) {
        self.foreign.unpack(in_flight.iter().filter(|(name, _)| !own(name)), handover);
    }

    /// Takes the pace that the last holder has learnt.
    pub(super) fn take_pace(&mut self, pace: Option<Pace>, now: Instant) {
        self.pacing.take(pace, now);
        self.repace();
    }

    /// Charges one request with `tokens` to lease `seq`.
    pub(super) fn grant(
        &mut self,
        seq: LeaseSeq,
        tokens: u64,
        expires: Instant,
        now: Now,
    ) -> Reservation {
        self.in_flight.open(seq, expires);
        self.cooldown.granted(seq, now.at);
        self.quota.reserve(tokens, now)
    }

    /// The limits whose used share has reached `threshold`, each once per window.
    pub(super) fn crossed(&mut self, threshold: f64, now: Now) -> Vec<Use> {
        let reached = |used: u64, of: u64| {
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
            let share = used as f64 / of as f64;
            share >= threshold
        };
        let mut crossed = Vec::new();
        let windows = [
            (LimitKind::Rpm, self.quota.requests(), &mut self.warned.rpm),
            (LimitKind::Tpm, self.quota.tokens(), &mut self.warned.tpm),
        ];
        for (kind, window, warned) in windows {
            let Some(window) = window else { continue };
            let used = window.used(now.at);
            let again = warned.is_none_or(|last| last.plus(window.span()) <= now.at);
            if again && reached(used, window.limit()) {
                *warned = Some(now.at);
                crossed.push((kind, used, window.limit()));
            }
        }
        let day = self.quota.day();
        if let Some(limit) = day.limit()
            && self.warned.rpd != Some(day.number())
            && reached(day.used(), limit)
        {
            self.warned.rpd = Some(day.number());
            crossed.push((LimitKind::Rpd, day.used(), limit));
        }
        crossed
    }

    /// Ends the lease `seq`. Says whether somebody may have waited for that.
    pub(super) fn release(&mut self, seq: LeaseSeq) -> bool {
        let was_trial = self.cooldown.trial() == Some(seq);
        let was_full = self.max_concurrent.is_some_and(|most| self.in_flight.len() as u64 >= most);
        self.cooldown.ended(seq);
        self.in_flight.end(seq);
        was_trial || was_full
    }

    /// A refusal that the counters did not expect: the group goes slower.
    pub(super) fn slow_down(&mut self, now: Instant) {
        if let Some(burst) = self.limits.burst() {
            self.pacing.refused(burst, now);
            self.repace();
        }
    }

    /// A success: the group may go faster. Says whether it does.
    pub(super) fn speed_up(&mut self, now: Instant) -> bool {
        let faster = self.limits.burst().is_some_and(|burst| self.pacing.succeeded(burst, now));
        if faster {
            self.repace();
        }
        faster
    }

    /// The pace the group has learnt.
    pub(super) fn learnt_pace(&self) -> Option<Pace> {
        self.pacing.learnt()
    }

    /// Takes note of a limit that the provider names; the configured one, if that is higher and
    /// this is news.
    pub(super) fn learn(&mut self, learnt: LearnedLimit) -> Option<u64> {
        let configured = match learnt.kind {
            LimitKind::Rpm => self.limits.rpm,
            LimitKind::Tpm => self.limits.tpm,
            LimitKind::Rpd => self.limits.rpd,
            LimitKind::Concurrency => self.limits.max_concurrent,
        };
        let known = self.learnt_limits.insert(learnt.kind, learnt.value);
        let configured = configured.map_or(u64::MAX, std::num::NonZeroU64::get);
        (learnt.value < configured && known != Some(learnt.value)).then_some(configured)
    }

    /// The limit as the provider names it, where it has.
    pub(super) fn learnt_limit(&self, kind: LimitKind) -> Option<u64> {
        self.learnt_limits.get(&kind).copied()
    }

    /// Forgets every failure and what was learnt from it.
    pub(super) fn clear(&mut self) {
        self.cooldown.clear();
        self.pacing.clear();
        self.repace();
    }

    /// Adds the uses of `other`, whose keys have moved here.
    pub(super) fn absorb(&mut self, other: &mut Self, now: Now, calendar: &dyn Calendar) {
        self.quota.expire(now, calendar);
        other.quota.expire(now, calendar);
        self.quota.absorb(&other.quota);
    }

    /// Whether the group must be kept although no key is in it.
    pub(super) fn remembers(&self, now: Now) -> bool {
        !self.in_flight.is_empty()
            || self.holding.epoch().is_some()
            || self.quota.remembers(now)
            || self.cooldown.until(now.at).is_some()
    }
}

//! The breaker of a provider: closed, it lets requests through; open, nothing is sent to a provider
//! that is down; half-open, one trial at a time finds out whether that is over.
//!
//! It opens when several groups fail alike, because then no key is to blame.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::group::{GroupIdx, Leases};
use super::lease::LeaseSeq;
use super::outcome::Outcome;
use super::time::Instant;

/// The place of a provider in the pool's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(super) struct ProviderIdx(pub(super) u32);

impl ProviderIdx {
    /// The index of the `place`th provider.
    pub(super) fn at(place: usize) -> Self {
        Self(u32::try_from(place).expect("fewer than 2^32 providers"))
    }
}

/// How many groups must fail to blame the provider.
const SEVERAL: usize = 3;

/// How many failures blame a provider that has fewer groups than [`SEVERAL`].
const MANY: usize = 5;

/// Failures further apart than this have nothing to do with each other.
const SHORT_TIME: Duration = Duration::from_secs(10);

/// The first and the longest time the breaker is open before a trial; it doubles between.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(1);

/// Doublings past this change nothing.
const MOST_TIMES: u32 = 16;

/// The breaker of one provider.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Breaker {
    /// The failures since the last sign of life.
    failures: Vec<(Instant, GroupIdx)>,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Open {
    until: Instant,
    times: u32,
    /// The lease that is on trial, and when it expires.
    trial: Option<(LeaseSeq, Instant)>,
}

/// What a report did to a breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BreakerChange {
    Opened { until: Instant },
    Closed,
}

impl Breaker {
    /// Whether it could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.open.is_none_or(|open| open.times <= MOST_TIMES)
    }

    /// The earliest time from `now` on at which a request may be sent, if it is not now.
    pub(super) fn closed_at(&self, leases: Leases, now: Instant) -> Option<Instant> {
        let open = self.open?;
        let trial = open.trial.filter(|_| leases == Leases::Expire).map(|(_, expires)| expires);
        Some(open.until.max(trial.unwrap_or(Instant::ZERO))).filter(|at| *at > now)
    }

    /// Until when it is open, or since when it waits for a trial.
    pub(super) fn open_until(&self) -> Option<Instant> {
        self.open.map(|open| open.until)
    }

    /// A lease was granted: if the breaker is half-open, it is the trial.
    pub(super) fn granted(&mut self, lease: LeaseSeq, expires: Instant, now: Instant) {
        if let Some(open) = &mut self.open
            && open.until <= now
        {
            open.trial = Some((lease, expires));
        }
    }

    /// A lease ended without a word about the provider. Says whether it was the trial.
    pub(super) fn released(&mut self, lease: LeaseSeq) -> bool {
        match &mut self.open {
            Some(open) if open.trial.is_some_and(|(trial, _)| trial == lease) => {
                open.trial = None;
                true
            }
            _ => false,
        }
    }

    /// What came of a lease of `group`, one of `groups` of this provider.
    pub(super) fn reported(
        &mut self,
        lease: LeaseSeq,
        group: GroupIdx,
        groups: usize,
        outcome: Outcome,
        now: Instant,
    ) -> Option<BreakerChange> {
        let was_trial = self.released(lease);
        match outcome {
            Outcome::ServerError | Outcome::Timeout | Outcome::EgressRefused => {
                self.failed(was_trial, group, groups, now)
            }
            // Nobody knows what the provider would have said.
            Outcome::Cancelled => None,
            // It answered, so it lives, whatever it said.
            Outcome::Success
            | Outcome::RateLimited(_)
            | Outcome::AuthFailed
            | Outcome::ModelRefused
            | Outcome::ClientError => {
                self.failures.clear();
                self.open.take().map(|_| BreakerChange::Closed)
            }
        }
    }

    fn failed(
        &mut self,
        was_trial: bool,
        group: GroupIdx,
        groups: usize,
        now: Instant,
    ) -> Option<BreakerChange> {
        if let Some(open) = &mut self.open {
            // What was on its way when the breaker opened tells nothing new.
            if !was_trial {
                return None;
            }
            open.times = (open.times + 1).min(MOST_TIMES);
            open.until = now.plus(FIRST.saturating_mul(1 << open.times).min(LONGEST));
            return Some(BreakerChange::Opened { until: open.until });
        }
        self.failures.retain(|(at, _)| now.since(*at) < SHORT_TIME);
        self.failures.push((now, group));
        let mut failing: Vec<GroupIdx> = self.failures.iter().map(|(_, group)| *group).collect();
        failing.sort_unstable();
        failing.dedup();
        let several = failing.len() >= SEVERAL;
        let all = failing.len() >= groups && self.failures.len() >= MANY;
        if !several && !all {
            return None;
        }
        self.failures.clear();
        let until = now.plus(FIRST);
        self.open = Some(Open { until, times: 0, trial: None });
        Some(BreakerChange::Opened { until })
    }

    /// Groups have got other places in the pool's list.
    pub(super) fn regroup(&mut self, moved: impl Fn(GroupIdx) -> Option<GroupIdx>) {
        let failures = std::mem::take(&mut self.failures).into_iter();
        self.failures = failures.filter_map(|(at, group)| Some((at, moved(group)?))).collect();
    }
}

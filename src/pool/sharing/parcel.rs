//! What is handed over with a group: every use that still counts, with times relative to the
//! moment of the handover.
//!
//! It is read by daemons of other versions: fields may be added, and what is not known is passed
//! over. Times are rounded so that a use never seems older than it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pool::cooldown::CooldownParcel;
use crate::pool::group::Group;
use crate::pool::lease::{LeaseId, LeaseSeq};
use crate::pool::pace::Pace;
use crate::pool::sharing::{Part, Taken};
use crate::pool::time::{Calendar, Instant, Now};

/// What is handed over with a group.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Parcel {
    /// Requests: how many microseconds ago, and how many.
    pub requests: Vec<(u64, u64)>,
    /// Tokens: how many microseconds ago, and how many.
    pub tokens: Vec<(u64, u64)>,
    /// In how many microseconds the burst is full again.
    pub burst_full_in: u64,
    /// How many microseconds ago it was last used, if it was.
    pub last_use: Option<u64>,
    /// The requests of the provider's day.
    pub day: DayParcel,
    /// Requests in flight: the lease, and in how many microseconds it expires.
    pub in_flight: Vec<(String, u64)>,
    /// Its failures.
    pub cooldown: CooldownParcel,
    /// The pace it has learnt: most requests at once, and the spacing in microseconds.
    pub pace: Option<(u64, u64)>,
}

/// The requests of a provider's day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct DayParcel {
    /// Days since 1970-01-01 in the provider's zone.
    pub number: i32,
    /// How many.
    pub used: u64,
    /// How many of them count on the next day as well.
    pub late: u64,
}

impl Default for DayParcel {
    fn default() -> Self {
        Self { number: i32::MIN, used: 0, late: 0 }
    }
}

/// The moment of a handover on the clock of this pool.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Handover(pub(in crate::pool) Instant);

impl Handover {
    /// How long before the handover `at` was, in microseconds; never more than it was.
    pub(in crate::pool) fn ago(self, at: Instant) -> u64 {
        micros(self.0.since(at))
    }

    /// How long after the handover `at` is, in microseconds; never less than it is.
    pub(in crate::pool) fn ahead(self, at: Instant) -> u64 {
        micros(at.since(self.0)).saturating_add(u64::from(at > self.0))
    }

    /// The time `ago` microseconds before the handover.
    pub(in crate::pool) fn before(self, ago: u64) -> Instant {
        let ago = ago.saturating_mul(1000);
        Instant::from_nanos(self.0.as_nanos().saturating_sub(ago))
    }

    /// The time `ahead` microseconds after the handover.
    pub(in crate::pool) fn after(self, ahead: u64) -> Instant {
        self.0.plus(Duration::from_micros(ahead))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Group {
    /// What whoever holds the group next must know.
    pub(super) fn parcel(&self, name: impl Fn(LeaseSeq) -> LeaseId, now: Now) -> Parcel {
        let handover = Handover(now.at);
        let mut parcel = Parcel {
            in_flight: self.in_flight_parcel(name, handover),
            cooldown: self.cooldown.parcel(handover),
            pace: self.learnt_pace().map(|pace| (pace.burst, micros(pace.spacing))),
            ..Parcel::default()
        };
        self.quota.pack(&mut parcel, handover);
        parcel
    }

    /// Goes on where the last holder has ended.
    pub(super) fn take_over(
        &mut self,
        taken: &Taken,
        own: impl Fn(&str) -> bool,
        next: LeaseSeq,
        until: Instant,
        now: Now,
        calendar: &dyn Calendar,
    ) {
        let handover = Handover(taken.handed_over);
        self.holding.take(taken.epoch, until);
        // What is unknown may have been all of a limit, however much of it may be used now.
        self.scale(Part::ALL);
        self.quota.expire(now, calendar);
        let unshared = std::mem::take(&mut self.unshared).then(|| self.quota.clone());
        if let Some(parcel) = &taken.parcel {
            self.quota.unpack(parcel, handover);
            if let Some(unshared) = unshared {
                self.quota.absorb(&unshared);
            }
            self.unpack_in_flight(&parcel.in_flight, own, handover);
            self.cooldown.unpack(&parcel.cooldown, handover, next);
            let pace = parcel.pace.map(|(burst, spacing)| Pace {
                burst: burst.max(1),
                spacing: Duration::from_micros(spacing),
            });
            self.take_pace(pace, now.at);
        }
        if let Some(doubted) = taken.doubted_until {
            let rpm = self.limits().rpm.map(Into::into);
            self.quota.assume_used_until(doubted, rpm);
        }
        self.quota.expire(now, calendar);
    }
}

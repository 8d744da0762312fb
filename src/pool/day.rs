//! Requests of a calendar day in the provider's zone.
//!
//! Invariants: the day number never falls, whatever the wall clock does; a grant within the guard
//! before midnight counts on both days, because the provider may see it on either.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sharing::DayParcel;
use super::snapshot::FAR;
use super::time::{Calendar, Instant, Now, ResetZone, WallTime};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DayCount {
    limit: Option<u64>,
    zone: ResetZone,
    number: i32,
    ends: WallTime,
    used: u64,
    /// The part of `used` that was granted within the guard before the end.
    late: u64,
}

impl DayCount {
    pub(super) fn new(limit: Option<u64>, zone: ResetZone) -> Self {
        Self { limit, zone, number: i32::MIN, ends: WallTime::default(), used: 0, late: 0 }
    }

    /// Whether it could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.late <= self.used && self.used < FAR && self.limit.is_none_or(|limit| limit < FAR)
    }

    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub(super) fn number(&self) -> i32 {
        self.number
    }

    pub(super) fn ends(&self) -> WallTime {
        self.ends
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Takes another limit and zone; what was used stays used.
    pub(super) fn resize(&mut self, limit: Option<u64>, zone: &ResetZone) {
        self.limit = limit;
        if self.zone != *zone {
            self.zone = zone.clone();
            self.ends = WallTime::default();
        }
    }

    /// Begins a new day if the old one is over.
    pub(super) fn roll(&mut self, now: Now, calendar: &dyn Calendar) {
        if now.wall < self.ends {
            return;
        }
        let today = calendar.day(&self.zone, now.wall);
        self.ends = today.ends;
        if today.number > self.number {
            self.used = if today.number - 1 == self.number { self.late } else { 0 };
            self.late = 0;
            self.number = today.number;
        }
    }

    /// The earliest time from `now` on at which one more request is within the day's limit.
    pub(super) fn free_at(&self, now: Now) -> Instant {
        match self.limit {
            Some(limit) if self.used >= limit => now.instant_at(self.ends),
            _ => now.at,
        }
    }

    pub(super) fn count(&mut self, now: Now, guard: Duration) {
        self.used += 1;
        if now.wall.plus(guard) >= self.ends {
            self.late += 1;
        }
    }

    /// Treats half of the day as used, if less is known to be.
    pub(super) fn assume_half_used(&mut self) {
        if let Some(limit) = self.limit {
            self.used = self.used.max(limit.div_ceil(2));
        }
    }

    /// Treats `more` requests of the day as used that nobody has counted.
    pub(super) fn assume_more_used(&mut self, more: u64) {
        if let Some(limit) = self.limit {
            self.used = self.used.max(self.used.saturating_add(more).min(limit));
        }
    }

    /// What the next holder must know.
    pub(super) fn pack(&self) -> DayParcel {
        DayParcel { number: self.number, used: self.used, late: self.late }
    }

    /// Goes on with the requests of `parcel`. The number of the day never falls.
    pub(super) fn unpack(&mut self, parcel: &DayParcel) {
        if parcel.number >= self.number {
            self.number = parcel.number;
            self.used = parcel.used.min(FAR / 2);
            self.late = parcel.late.min(self.used);
        } else {
            let yesterday = parcel.number.checked_add(1) == Some(self.number);
            self.used = if yesterday { parcel.late.min(FAR / 2) } else { 0 };
            self.late = 0;
        }
    }

    /// Adds the requests of `other`, which turn out to count here.
    pub(super) fn absorb(&mut self, other: &Self) {
        if other.number >= self.number {
            self.used += other.used;
            self.late += other.late;
        }
    }
}

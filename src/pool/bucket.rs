//! The burst shaper: a token bucket kept as one timestamp (GCRA).
//!
//! It paces requests after a burst and is no hard bound: that is the [`Window`]'s part.
//!
//! [`Window`]: super::window::Window

use serde::{Deserialize, Serialize};

use super::pace::Pace;
use super::sharing::Handover;
use super::time::Instant;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Bucket {
    /// Nanoseconds from one refilled request to the next.
    interval: u64,
    /// Most requests at once: the burst capacity.
    capacity: u64,
    /// The theoretical arrival time: the bucket is full again at this time.
    full_at: Instant,
}

impl Bucket {
    /// A full bucket of `pace.burst` requests, refilled `per_minute` times a minute but for the
    /// spacing.
    pub(super) fn new(pace: Pace, per_minute: u64) -> Self {
        const MINUTE_NANOS: u64 = 60_000_000_000;
        let spacing = u64::try_from(pace.spacing.as_nanos()).unwrap_or(u64::MAX);
        let interval = MINUTE_NANOS.div_ceil(per_minute).saturating_add(spacing);
        Self { interval, capacity: pace.burst, full_at: Instant::ZERO }
    }

    /// A bucket of another size that has lent out as much as this one.
    pub(super) fn resized(self, pace: Pace, per_minute: u64) -> Self {
        Self { full_at: self.full_at, ..Self::new(pace, per_minute) }
    }

    /// Whether it could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.capacity > 0
    }

    /// The earliest time from `now` on at which one request can be taken.
    pub(super) fn free_at(&self, now: Instant) -> Instant {
        let burst = self.interval.saturating_mul(self.capacity - 1);
        Instant::from_nanos(self.full_at.as_nanos().saturating_sub(burst)).max(now)
    }

    /// How long after `handover` the bucket is full.
    pub(super) fn pack(&self, handover: Handover) -> u64 {
        handover.ahead(self.full_at)
    }

    /// Is full so long after `handover`.
    pub(super) fn unpack(&mut self, full_in: u64, handover: Handover) {
        self.full_at = handover.after(full_in);
    }

    /// Takes one request.
    pub(super) fn take(&mut self, now: Instant) {
        let from = self.full_at.max(now).as_nanos();
        self.full_at = Instant::from_nanos(from.saturating_add(self.interval));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bucket(burst: u64, per_minute: u64) -> Bucket {
        Bucket::new(Pace { burst, spacing: Duration::ZERO }, per_minute)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn lets_exactly_its_capacity_through_at_once_and_then_paces() {
        let mut bucket = bucket(5, 15);
        for _ in 0..5 {
            assert_eq!(bucket.free_at(at(1000)), at(1000));
            bucket.take(at(1000));
        }
        assert_eq!(bucket.free_at(at(1000)), at(5000));
    }

    #[test]
    fn is_full_again_after_idling() {
        let mut bucket = bucket(2, 60);
        bucket.take(at(0));
        bucket.take(at(0));
        assert_eq!(bucket.free_at(at(0)), at(1000));
        bucket.take(at(10_000));
        assert_eq!(bucket.free_at(at(10_000)), at(10_000));
    }

    #[test]
    fn survives_the_largest_rates() {
        let mut bucket = bucket(u64::MAX, u64::MAX);
        bucket.take(Instant::from_nanos(u64::MAX - 1));
        assert!(bucket.free_at(at(0)) <= Instant::from_nanos(1));
    }
}

//! Time as the pool sees it: a value handed in with every call.
//!
//! Windows, cooldowns and leases live on a monotonic time line ([`Instant`]); days live on the
//! wall clock ([`WallTime`]). [`Now`] is one reading of both. Time zones are a [`Calendar`]'s
//! business, so that the pool needs no time zone database.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on the monotonic time line, in nanoseconds since its origin (the boot of the machine).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the time line.
    pub const ZERO: Self = Self(0);
    /// A point that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self` plus `span`; [`Instant::NEVER`] past the end of the time line.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A point on the wall clock, in milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct WallTime(u64);

impl WallTime {
    /// A point that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// `millis` milliseconds later, or earlier if that is negative.
    #[must_use]
    pub const fn shifted(self, millis: i64) -> Self {
        Self(self.0.saturating_add_signed(millis))
    }

    /// `self` plus `span`, rounded up to a whole millisecond.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let millis = span.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Now {
    /// The monotonic clock.
    pub at: Instant,
    /// The wall clock.
    pub wall: WallTime,
}

impl Now {
    /// What the wall clock will show at `instant`, if nobody sets it meanwhile.
    pub fn wall_at(self, instant: Instant) -> WallTime {
        if instant == Instant::NEVER {
            return WallTime::NEVER;
        }
        if instant >= self.at {
            self.wall.plus(instant.since(self.at))
        } else {
            let ago = u64::try_from(self.at.since(instant).as_millis()).unwrap_or(u64::MAX);
            WallTime(self.wall.0.saturating_sub(ago))
        }
    }

    /// When the wall clock will show `wall`, if nobody sets it meanwhile; now if it already did.
    pub fn instant_at(self, wall: WallTime) -> Instant {
        if wall == WallTime::NEVER {
            return Instant::NEVER;
        }
        self.at.plus(wall.since(self.wall))
    }
}

/// The time zone in whose midnight a provider resets its day: an IANA name such as
/// `America/Los_Angeles`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ResetZone(Arc<str>);

impl ResetZone {
    /// The zone called `name`; that it exists is for the maker to know.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A calendar day in some zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Day {
    /// Days since 1970-01-01 in the zone.
    pub number: i32,
    /// The first instant of the next day.
    pub ends: WallTime,
}

/// Knows days and months in every time zone.
pub trait Calendar: fmt::Debug + Send + Sync {
    /// The day that contains `wall` in `zone`.
    fn day(&self, zone: &ResetZone, wall: WallTime) -> Day;
    /// The first instant of the month after the one that contains `wall` in `zone`.
    fn month_end(&self, zone: &ResetZone, wall: WallTime) -> WallTime;
}

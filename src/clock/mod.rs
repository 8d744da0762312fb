//! The only reader of time. Everything else is handed a [`Now`].
//!
//! [`Clock::System`] reads the machine's clocks; [`Clock::Manual`] moves only by hand, so that a
//! whole daemon with real sockets can run on a test's time. Whoever waits for a point in time
//! waits on the same clock that everybody else reads.

mod calendar;
mod manual;
mod rfc3339;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub use calendar::{JiffCalendar, reset_zone};
pub use manual::ManualClock;
pub use rfc3339::{parse_rfc3339, rfc3339};

use crate::pool::{Instant, Now, WallTime};

/// Where time comes from. Clones show the same time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clocks: `CLOCK_BOOTTIME`, which runs on through a suspend as the windows of
    /// a provider do, and the wall clock.
    System,
    /// The machine's clocks on the time line of an earlier boot: `offset` nanoseconds are added
    /// to `CLOCK_BOOTTIME`.
    Continued {
        /// Nanoseconds, which may be negative.
        offset: i64,
    },
    /// A clock that moves by hand.
    Manual(ManualClock),
}

impl Clock {
    /// One reading of both clocks.
    pub fn now(&self) -> Now {
        match self {
            Self::System => Now { at: boot_time(0), wall: wall_time() },
            Self::Continued { offset } => Now { at: boot_time(*offset), wall: wall_time() },
            Self::Manual(clock) => clock.now(),
        }
    }

    /// One reading of the time line alone, which costs half of both.
    pub fn instant(&self) -> Instant {
        match self {
            Self::System => boot_time(0),
            Self::Continued { offset } => boot_time(*offset),
            Self::Manual(clock) => clock.now().at,
        }
    }

    /// The same clock on the time line on which `then` was read in an earlier life. In the same
    /// boot of the machine that line goes on with the `offset` it had; in another one, the wall
    /// clock tells how much time has passed.
    #[must_use]
    pub fn continued(self, then: Now, offset_in_this_boot: Option<i64>) -> Self {
        if matches!(self, Self::Manual(_)) {
            return self;
        }
        let offset = offset_in_this_boot.unwrap_or_else(|| {
            let now = Self::System.now();
            let expected = then.at.plus(now.wall.since(then.wall));
            let offset = i128::from(expected.as_nanos()) - i128::from(now.at.as_nanos());
            i64::try_from(offset).unwrap_or(0)
        });
        Self::Continued { offset }
    }

    /// What is added to the machine's clock.
    pub fn offset(&self) -> i64 {
        match self {
            Self::Continued { offset } => *offset,
            Self::System | Self::Manual(_) => 0,
        }
    }

    /// Returns once the clock shows `at` or later, never earlier.
    pub async fn sleep_until(&self, at: Instant) {
        match self {
            Self::System | Self::Continued { .. } => loop {
                let left = at.since(self.instant());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
            },
            Self::Manual(clock) => clock.reached(at).await,
        }
    }

    /// Returns once `span` has passed.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.instant().plus(span)).await;
    }
}

/// Tokio's timers stand still while the machine is suspended; who sleeps looks at the clock again
/// after this long.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

fn boot_time(offset: i64) -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    let since_boot = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Instant::from_nanos(since_boot.saturating_add_signed(offset))
}

#[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
fn wall_time() -> WallTime {
    let now = std::time::SystemTime::now();
    // A clock before 1970 is a clock that nobody has set.
    let since_epoch = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    WallTime::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_clock_never_wakes_early() {
        let clock = Clock::System;
        let before = clock.now();
        clock.sleep(Duration::from_millis(20)).await;
        let after = clock.now();
        assert!(after.at.since(before.at) >= Duration::from_millis(20));
        assert!(after.wall >= before.wall);
    }

    #[tokio::test]
    async fn a_time_that_has_passed_is_not_waited_for() {
        Clock::System.sleep_until(Instant::ZERO).await;
        Clock::Manual(ManualClock::default()).sleep_until(Instant::ZERO).await;
    }

    #[test]
    fn the_wall_clock_has_been_set() {
        assert!(Clock::System.now().wall > WallTime::from_millis(1_700_000_000_000));
    }
}

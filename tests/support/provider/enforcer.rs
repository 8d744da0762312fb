//! One key's limit, as the kinds of providers enforce it.

use std::collections::VecDeque;
use std::time::Duration;

use keypool::pool::{Instant, Now};

const MINUTE: Duration = Duration::from_mins(1);
const MINUTE_MILLIS: u64 = 60_000;
const MINUTE_NANOS: u64 = 60_000_000_000;

/// How a provider counts requests a minute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Enforcement {
    /// From zero in every minute of the wall clock.
    FixedMinute,
    /// Over the last 60 seconds.
    SlidingWindow,
    /// By a bucket of `rpm` requests that fills up in a minute.
    TokenBucket,
    /// By a bucket that holds no more than comes in a second: 60 a minute are one a second.
    EverySecond,
}

impl Enforcement {
    /// Those that count by the minute, as they say.
    pub(crate) const BY_MINUTE: [Self; 3] =
        [Self::FixedMinute, Self::SlidingWindow, Self::TokenBucket];

    /// All of them.
    pub(crate) const ALL: [Self; 4] =
        [Self::FixedMinute, Self::SlidingWindow, Self::TokenBucket, Self::EverySecond];

    /// What people call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FixedMinute => "fixed minute",
            Self::SlidingWindow => "sliding window",
            Self::TokenBucket => "token bucket",
            Self::EverySecond => "every second",
        }
    }
}

/// The counter of one key. Refused requests are not counted.
#[derive(Clone, Debug)]
pub(crate) struct Enforcer {
    rpm: u64,
    counter: Counter,
}

#[derive(Clone, Debug)]
enum Counter {
    Minute {
        phase_millis: u64,
        minute: u64,
        used: u64,
    },
    Window {
        admitted: VecDeque<Instant>,
    },
    /// `credit` is in requests times [`MINUTE_NANOS`], so that refilling is exact.
    Bucket {
        capacity: u64,
        credit: u64,
        filled: Instant,
    },
}

impl Counter {
    fn bucket(capacity: u64) -> Self {
        Self::Bucket { capacity, credit: capacity * MINUTE_NANOS, filled: Instant::ZERO }
    }
}

impl Enforcer {
    /// A fresh counter. `phase` shifts the minutes of [`Enforcement::FixedMinute`] against the
    /// wall clock.
    pub(crate) fn new(enforcement: Enforcement, rpm: u64, phase: Duration) -> Self {
        let counter = match enforcement {
            Enforcement::FixedMinute => {
                let phase_millis = u64::try_from(phase.as_millis()).expect("a phase is short");
                Counter::Minute { phase_millis, minute: 0, used: 0 }
            }
            Enforcement::SlidingWindow => Counter::Window { admitted: VecDeque::new() },
            Enforcement::TokenBucket => Counter::bucket(rpm),
            Enforcement::EverySecond => Counter::bucket((rpm / 60).max(1)),
        };
        Self { rpm, counter }
    }

    /// Admits a request that arrives at `now`, or says when the next one would be admitted.
    pub(crate) fn admit(&mut self, now: Now) -> Result<(), Duration> {
        match &mut self.counter {
            Counter::Minute { phase_millis, minute, used } => {
                let shifted = now.wall.as_millis() + *phase_millis;
                if shifted / MINUTE_MILLIS != *minute {
                    (*minute, *used) = (shifted / MINUTE_MILLIS, 0);
                }
                if *used == self.rpm {
                    return Err(Duration::from_millis(MINUTE_MILLIS - shifted % MINUTE_MILLIS));
                }
                *used += 1;
            }
            Counter::Window { admitted } => {
                while admitted.front().is_some_and(|at| at.plus(MINUTE) <= now.at) {
                    admitted.pop_front();
                }
                if let Some(oldest) = admitted.front()
                    && u64::try_from(admitted.len()) == Ok(self.rpm)
                {
                    return Err(oldest.plus(MINUTE).since(now.at));
                }
                admitted.push_back(now.at);
            }
            Counter::Bucket { capacity, credit, filled } => {
                let idle = u64::try_from(now.at.since(*filled).as_nanos()).unwrap_or(u64::MAX);
                let refill = idle.saturating_mul(self.rpm);
                *credit = credit.saturating_add(refill).min(*capacity * MINUTE_NANOS);
                *filled = now.at;
                if *credit < MINUTE_NANOS {
                    let missing = MINUTE_NANOS - *credit;
                    return Err(Duration::from_nanos(missing.div_ceil(self.rpm)));
                }
                *credit -= MINUTE_NANOS;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keypool::pool::WallTime;

    /// Noon, `millis` milliseconds after the start of a minute.
    fn at(millis: u64) -> Now {
        let wall = WallTime::from_millis(43_200_000 + millis);
        Now { at: Instant::ZERO.plus(Duration::from_millis(1_000_000 + millis)), wall }
    }

    fn admits(enforcement: Enforcement, at_millis: &[u64]) -> Vec<Result<(), u128>> {
        let mut enforcer = Enforcer::new(enforcement, 2, Duration::ZERO);
        let admit = |&millis| enforcer.admit(at(millis)).map_err(|delay| delay.as_millis());
        at_millis.iter().map(admit).collect()
    }

    #[test]
    fn a_fixed_minute_starts_over_with_the_wall_clock() {
        assert_eq!(
            admits(Enforcement::FixedMinute, &[59_000, 59_001, 59_002, 60_000, 60_001, 60_002]),
            [Ok(()), Ok(()), Err(998), Ok(()), Ok(()), Err(59_998)]
        );
    }

    #[test]
    fn a_phase_shifts_the_minute() {
        let mut enforcer = Enforcer::new(Enforcement::FixedMinute, 1, Duration::from_secs(59));
        assert_eq!(enforcer.admit(at(0)), Ok(()));
        assert_eq!(enforcer.admit(at(999)), Err(Duration::from_millis(1)));
        assert_eq!(enforcer.admit(at(1_000)), Ok(()));
    }

    #[test]
    fn a_sliding_window_never_holds_more_than_its_limit() {
        assert_eq!(
            admits(Enforcement::SlidingWindow, &[0, 30_000, 30_001, 59_999, 60_000, 60_001]),
            [Ok(()), Ok(()), Err(29_999), Err(1), Ok(()), Err(29_999)]
        );
    }

    #[test]
    fn a_second_admits_what_comes_in_a_second() {
        let mut enforcer = Enforcer::new(Enforcement::EverySecond, 60, Duration::ZERO);
        let admits = [0, 1, 999, 1_000, 1_500].map(|millis| enforcer.admit(at(millis)).is_ok());
        assert_eq!(admits, [true, false, false, true, false]);
    }

    #[test]
    fn a_bucket_refills_all_the_time() {
        assert_eq!(
            admits(Enforcement::TokenBucket, &[0, 0, 0, 29_999, 30_000, 30_001]),
            [Ok(()), Ok(()), Err(30_000), Err(1), Ok(()), Err(29_999)]
        );
    }
}

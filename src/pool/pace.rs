//! Adaptive pacing: what a group learns from refusals that its counters did not expect.
//!
//! A provider may enforce a limit of a minute by the second or by ten seconds, without saying so.
//! Each unexpected refusal halves the burst; once that is one request, each spaces the grants out by
//! a step more. Clean time relaxes in the opposite order, one step at a time, but for an hour not
//! to what has failed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::snapshot::FAR;
use super::time::Instant;

/// How much each further refusal spaces the grants out.
const STEP: Duration = Duration::from_millis(50);

/// How long a group must go without a refusal to be relaxed by one step.
const CLEAN: Duration = Duration::from_mins(10);

/// How long what has failed is not tried again.
const REMEMBERED: Duration = Duration::from_hours(1);

/// The pace a group has learnt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pace {
    /// Most requests at once.
    pub burst: u64,
    /// How much longer than the limit says the time between two grants is.
    pub spacing: Duration,
}

/// What a group has learnt about its pace.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pacing {
    learnt: Option<Pace>,
    failed: Option<(Pace, Instant)>,
    /// Since when nothing was refused or relaxed.
    clean_since: Instant,
}

impl Pacing {
    /// Whether it could have come about.
    pub(super) fn is_sound(&self) -> bool {
        let failed = self.failed.map(|(pace, _)| pace);
        let sound =
            |pace: Pace| (1..FAR).contains(&pace.burst) && pace.spacing < Duration::from_hours(24);
        self.learnt.into_iter().chain(failed).all(sound)
    }

    /// The pace to keep, if it is another than the configured one.
    pub(super) fn learnt(&self) -> Option<Pace> {
        self.learnt
    }

    /// An unexpected refusal; `burst` is the configured one.
    pub(super) fn refused(&mut self, burst: u64, now: Instant) {
        let failed = self.learnt.unwrap_or(Pace { burst, spacing: Duration::ZERO });
        self.failed = Some((failed, now));
        self.clean_since = now;
        self.learnt = Some(if failed.burst > 1 {
            Pace { burst: failed.burst / 2, ..failed }
        } else {
            Pace { spacing: failed.spacing + STEP, ..failed }
        });
    }

    /// A success; says whether it relaxes the pace.
    pub(super) fn succeeded(&mut self, burst: u64, now: Instant) -> bool {
        let Some(pace) = self.learnt else { return false };
        if now.since(self.clean_since) < CLEAN {
            return false;
        }
        let relaxed = if pace.spacing.is_zero() {
            Pace { burst: pace.burst + 1, ..pace }
        } else {
            Pace { spacing: pace.spacing.saturating_sub(STEP), ..pace }
        };
        let failed = self.failed.filter(|(_, at)| now.since(*at) < REMEMBERED);
        if failed.is_some_and(|(failed, _)| relaxed.is_as_fast_as(failed)) {
            return false;
        }
        self.clean_since = now;
        self.learnt = (relaxed.burst < burst).then_some(relaxed);
        true
    }

    /// Goes on with what another daemon has learnt.
    pub(super) fn take(&mut self, learnt: Option<Pace>, now: Instant) {
        if learnt != self.learnt {
            *self = Self { learnt, failed: None, clean_since: now };
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Pace {
    fn is_as_fast_as(self, other: Self) -> bool {
        self.burst >= other.burst && self.spacing <= other.spacing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Instant {
        Instant::ZERO.plus(Duration::from_mins(minutes))
    }

    fn pace(burst: u64, millis: u64) -> Pace {
        Pace { burst, spacing: Duration::from_millis(millis) }
    }

    #[test]
    fn halves_the_burst_and_then_spaces_out() {
        let mut pacing = Pacing::default();
        let mut learn = || {
            pacing.refused(10, at(0));
            pacing.learnt().unwrap()
        };
        let steps: Vec<_> = (0..5).map(|_| learn()).collect();
        assert_eq!(steps, [pace(5, 0), pace(2, 0), pace(1, 0), pace(1, 50), pace(1, 100)]);
    }

    #[test]
    fn relaxes_after_clean_minutes_but_not_to_what_has_failed() {
        let mut pacing = Pacing::default();
        for _ in 0..5 {
            pacing.refused(10, at(0));
        }
        assert!(!pacing.succeeded(10, at(9)));
        assert!(!pacing.succeeded(10, at(10)), "a spacing of 50 ms has just failed");
        assert!(pacing.succeeded(10, at(60)));
        assert_eq!(pacing.learnt(), Some(pace(1, 50)));
        assert!(!pacing.succeeded(10, at(69)));
        assert!(pacing.succeeded(10, at(70)));
        assert!(pacing.succeeded(10, at(80)));
        assert_eq!(pacing.learnt(), Some(pace(2, 0)));
    }

    #[test]
    fn forgets_a_pace_that_is_the_configured_one_again() {
        let mut pacing = Pacing::default();
        pacing.refused(2, at(0));
        assert!(pacing.succeeded(2, at(60)));
        assert_eq!(pacing.learnt(), None);
    }
}

//! How long one secret of a remote store may serve, and when it is fetched next. Pure: time and
//! chance are handed in.
//!
//! | the store says | what follows |
//! | --- | --- |
//! | here it is | serve it; fetch again after the interval, 10 % earlier or later |
//! | there is none any more | ask again after 5 s; the same again: drop it |
//! | you may not have it | ask again after 60 s; the same again: drop it |
//! | nothing, or nothing that makes sense | serve what there is until `max_stale` after the last success; ask again after 1 s, 2 s, 4 s … 60 s, each time a random part of it |
//!
//! What was dropped, or never had, is asked for again and again, and serves as soon as it is there.

use std::time::Duration;

use super::super::remote::FailureClass;
use crate::pool::Instant;

/// How secrets of remote stores are kept up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefreshRules {
    /// How often each is fetched.
    pub every: Duration,
    /// How long one serves after it was last fetched, while the store is away.
    pub max_stale: Duration,
}

/// What is known of one secret: never the secret itself.
#[derive(Debug)]
pub(super) struct Freshness {
    /// The last success.
    fetched_at: Option<Instant>,
    /// Failures since the last success.
    failures: u32,
    /// Since when the store says that there is no secret for us.
    doubted_since: Option<Instant>,
    /// The store has said so twice.
    dropped: bool,
    /// When it is fetched next.
    due: Instant,
}

/// Between the store's word that a secret is gone and the question whether that is so.
const CONFIRM_GONE: Duration = Duration::from_secs(5);

/// The same for the word that we may not have it: rights are often changed in several steps.
const CONFIRM_DENIED: Duration = Duration::from_mins(1);

/// Nobody makes us fetch one secret more often than this.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

impl Freshness {
    /// A secret that has never been fetched, and is due at once.
    pub(super) const fn new() -> Self {
        Self {
            fetched_at: None,
            failures: 0,
            doubted_since: None,
            dropped: false,
            due: Instant::ZERO,
        }
    }

    /// When it is to be fetched next.
    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    /// When it was last fetched.
    pub(super) const fn fetched_at(&self) -> Option<Instant> {
        self.fetched_at
    }

    /// Whether it has not been fetched since the store last failed to give it.
    pub(super) const fn is_stale(&self) -> bool {
        self.failures > 0
    }

    /// Whether what was fetched may serve.
    pub(super) fn holds(&self, rules: RefreshRules, now: Instant) -> bool {
        self.fetched_at.is_some() && !self.dropped && now < self.expires(rules)
    }

    /// When it stops serving if nothing happens.
    pub(super) fn expires(&self, rules: RefreshRules) -> Instant {
        match self.fetched_at {
            Some(at) if self.is_stale() => at.plus(rules.max_stale),
            Some(_) | None => Instant::NEVER,
        }
    }

    /// It was fetched. `chance` is a random number from 0 to 1.
    pub(super) fn succeeded(&mut self, rules: RefreshRules, chance: f64, now: Instant) {
        let interval = rules.every.mul_f64(0.9 + 0.2 * chance).max(LEAST_INTERVAL);
        *self = Self { fetched_at: Some(now), due: now.plus(interval), ..Self::new() };
    }

    /// It was not fetched. `chance` is a random number from 0 to 1.
    pub(super) fn failed(&mut self, class: FailureClass, chance: f64, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.due = now.plus(backoff(self.failures, chance));
        match class {
            FailureClass::Gone => self.doubt(CONFIRM_GONE, now),
            FailureClass::Denied => self.doubt(CONFIRM_DENIED, now),
            FailureClass::Unusable | FailureClass::Unavailable => {}
            FailureClass::Unset => self.due = Instant::NEVER,
        }
    }

    fn doubt(&mut self, confirm_after: Duration, now: Instant) {
        let confirmed_at = self.doubted_since.unwrap_or(now).plus(confirm_after);
        self.doubted_since = self.doubted_since.or(Some(now));
        if self.doubted_since != Some(now) && now >= confirmed_at {
            self.dropped = true;
        } else if self.fetched_at.is_some() && !self.dropped {
            self.due = confirmed_at;
        }
    }

    /// Somebody has reason to think that there is another one.
    pub(super) fn hurry(&mut self, now: Instant) {
        let soon = self.fetched_at.map_or(now, |at| at.plus(LEAST_INTERVAL).max(now));
        self.due = self.due.min(soon);
    }
}

/// 1 s, 2 s, 4 s … 60 s after so many failures in a row, of which a random part is waited.
pub(super) fn backoff(failures: u32, chance: f64) -> Duration {
    const LEAST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_mins(1);
    let doubled = Duration::from_secs(1 << failures.saturating_sub(1).min(6));
    doubled.min(MOST).mul_f64(chance).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: RefreshRules =
        RefreshRules { every: Duration::from_mins(5), max_stale: Duration::from_hours(24) };

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos((1_000_000 + seconds) * 1_000_000_000)
    }

    /// A secret that was fetched at second 0.
    fn fetched() -> Freshness {
        let mut freshness = Freshness::new();
        freshness.succeeded(RULES, 0.5, at(0));
        freshness
    }

    #[test]
    fn it_is_fetched_again_after_the_interval_give_or_take_a_tenth() {
        for (chance, seconds) in [(0.0, 270), (0.5, 300), (1.0, 330)] {
            let mut freshness = Freshness::new();
            freshness.succeeded(RULES, chance, at(0));
            assert_eq!(freshness.due(), at(seconds));
            assert!(freshness.holds(RULES, at(10_000_000)), "it never fails by itself");
        }
    }

    #[test]
    fn while_the_store_is_away_it_serves_until_it_is_too_old() {
        let mut freshness = fetched();
        for second in [300, 86_399] {
            freshness.failed(FailureClass::Unavailable, 1.0, at(second));
        }
        assert_eq!(freshness.expires(RULES), at(86_400));
        assert!(freshness.holds(RULES, at(86_399)) && !freshness.holds(RULES, at(86_400)));
        freshness.succeeded(RULES, 0.5, at(90_000));
        assert!(freshness.holds(RULES, at(90_000)));
    }

    #[test]
    fn with_no_time_for_staleness_the_first_failure_ends_it() {
        let rules = RefreshRules { max_stale: Duration::ZERO, ..RULES };
        let mut freshness = fetched();
        assert!(freshness.holds(rules, at(300)));
        freshness.failed(FailureClass::Unavailable, 1.0, at(300));
        assert!(!freshness.holds(rules, at(300)));
    }

    #[test]
    fn what_is_gone_or_denied_is_dropped_once_that_is_confirmed() {
        for (class, seconds) in [(FailureClass::Gone, 5), (FailureClass::Denied, 60)] {
            let mut freshness = fetched();
            freshness.failed(class, 1.0, at(300));
            assert_eq!(freshness.due(), at(300 + seconds), "{class:?}");
            assert!(freshness.holds(RULES, at(300 + seconds)));
            freshness.failed(class, 1.0, at(300 + seconds));
            assert!(!freshness.holds(RULES, at(300 + seconds)));
        }
    }

    #[test]
    fn a_question_that_comes_early_confirms_nothing() {
        let mut freshness = fetched();
        freshness.failed(FailureClass::Denied, 1.0, at(300));
        freshness.failed(FailureClass::Denied, 1.0, at(310));
        assert!(freshness.holds(RULES, at(310)));
        assert_eq!(freshness.due(), at(360));
    }

    #[test]
    fn an_outage_in_between_confirms_nothing_either() {
        let mut freshness = fetched();
        freshness.failed(FailureClass::Gone, 1.0, at(300));
        freshness.failed(FailureClass::Unavailable, 1.0, at(305));
        assert!(freshness.holds(RULES, at(305)));
        freshness.failed(FailureClass::Gone, 1.0, at(307));
        assert!(!freshness.holds(RULES, at(307)));
    }

    #[test]
    fn what_comes_back_serves_at_once() {
        let mut freshness = fetched();
        freshness.failed(FailureClass::Gone, 1.0, at(300));
        freshness.failed(FailureClass::Gone, 1.0, at(305));
        freshness.succeeded(RULES, 0.5, at(310));
        assert!(freshness.holds(RULES, at(310)));
        freshness.failed(FailureClass::Gone, 1.0, at(400));
        assert!(freshness.holds(RULES, at(400)), "the doubt begins anew");
    }

    #[test]
    fn failures_are_waited_out_longer_and_longer() {
        let whole: Vec<u64> = (1..=9).map(|n| backoff(n, 1.0).as_secs()).collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(3, 0.5), Duration::from_secs(2));
        assert_eq!(backoff(u32::MAX, 0.0), Duration::from_millis(100));
    }

    #[test]
    fn a_store_that_nobody_can_ask_is_not_asked_again() {
        let mut freshness = Freshness::new();
        freshness.failed(FailureClass::Unset, 1.0, at(0));
        assert_eq!(freshness.due(), Instant::NEVER);
    }

    #[test]
    fn who_hurries_gets_it_at_once_but_not_more_than_once_a_second() {
        let mut freshness = fetched();
        freshness.hurry(at(100));
        assert_eq!(freshness.due(), at(100));
        freshness.succeeded(RULES, 0.5, at(100));
        freshness.hurry(at(100));
        assert_eq!(freshness.due(), at(101));
    }
}

//! A token and its life.

use std::time::Duration;

use super::super::super::Secret;
use super::reply::Lease;
use crate::pool::Instant;

/// The least and the most time until something that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// A token, and what is known of its life.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) secret: Secret,
    /// When we got it.
    pub(super) since: Instant,
    /// When it ends, if that is known and it does.
    pub(super) ends: Option<Instant>,
    /// Whether the vault prolongs it.
    pub(super) renewable: bool,
    /// When it wants something done.
    pub(super) due: Option<Instant>,
}

impl Token {
    /// A token of which nothing is known, which is to be found out at once.
    pub(super) fn unknown(secret: Secret, now: Instant) -> Self {
        Self { secret, since: now, ends: None, renewable: false, due: Some(now) }
    }

    /// The vault has told how long it lives from `now`. At two thirds of that it is due.
    pub(super) fn learn(&mut self, lease: Lease, now: Instant) {
        if lease.duration.is_zero() {
            (self.ends, self.renewable, self.due) = (None, false, None);
            return;
        }
        let ends = now.plus(lease.duration);
        // One that a renewal does not prolong has reached the end of all renewals.
        let prolonged = self.ends.is_none_or(|before| ends > before.plus(RETRY.0));
        self.ends = Some(ends);
        self.renewable = lease.renewable && prolonged;
        self.due = Some(now.plus(lease.duration * 2 / 3));
    }

    /// What is due is about to be tried, and is to be tried again in a while if it fails.
    pub(super) fn put_off(&mut self, now: Instant) {
        let left = self.ends.map_or(RETRY.1, |ends| ends.since(now) / 10);
        self.due = Some(now.plus(left.clamp(RETRY.0, RETRY.1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> Instant {
        Instant::ZERO.plus(Duration::from_secs(seconds))
    }

    fn lease(seconds: u64, renewable: bool) -> Lease {
        Lease { duration: Duration::from_secs(seconds), renewable }
    }

    fn token() -> Token {
        Token::unknown(Secret::new("fake-token"), Instant::ZERO)
    }

    #[test]
    fn a_token_is_due_at_two_thirds_of_its_life() {
        let mut token = token();
        assert_eq!(token.due, Some(Instant::ZERO), "its life is to be found out");
        token.learn(lease(90, true), after(1));
        assert_eq!((token.due, token.ends), (Some(after(61)), Some(after(91))));
        token.learn(lease(90, true), after(61));
        assert_eq!((token.due, token.renewable), (Some(after(121)), true));
    }

    #[test]
    fn a_token_without_an_end_is_never_due() {
        let mut token = token();
        token.learn(lease(0, true), after(1));
        assert_eq!((token.due, token.ends), (None, None));
    }

    #[test]
    fn a_token_that_a_renewal_did_not_prolong_is_not_renewed_again() {
        let mut token = token();
        token.learn(lease(90, true), after(0));
        token.learn(lease(30, true), after(60));
        assert!(!token.renewable);
        assert_eq!(token.due, Some(after(80)));
    }

    #[test]
    fn what_failed_is_tried_again_sooner_the_less_time_is_left() {
        let mut token = token();
        token.put_off(after(0));
        assert_eq!(token.due, Some(after(60)));
        token.learn(lease(90, true), after(0));
        token.put_off(after(60));
        assert_eq!(token.due, Some(after(63)));
        token.put_off(after(89));
        assert_eq!(token.due, Some(after(90)));
    }
}

//! A clock that moves by hand.

use std::time::Duration;

use tokio::sync::watch;

use crate::pool::{Instant, Now, WallTime};

/// A clock that moves by hand. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: watch::Sender<Now>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Now) -> Self {
        Self { now: watch::Sender::new(now) }
    }

    /// What it shows.
    pub fn now(&self) -> Now {
        *self.now.borrow()
    }

    /// Moves both clocks on by `span`, and wakes those whose time has come.
    pub fn advance(&self, span: Duration) {
        self.now.send_modify(|now| {
            *now = Now { at: now.at.plus(span), wall: now.wall.plus(span) };
        });
    }

    /// Moves both clocks on to `at`; does nothing if that has passed.
    pub fn advance_to(&self, at: Instant) {
        self.now.send_modify(|now| {
            let span = at.since(now.at);
            *now = Now { at: now.at.plus(span), wall: now.wall.plus(span) };
        });
    }

    /// Sets the wall clock alone, forth or back, as an administrator or NTP would.
    pub fn set_wall(&self, wall: WallTime) {
        self.now.send_modify(|now| now.wall = wall);
    }

    /// Returns once the clock shows `at` or later.
    pub(super) async fn reached(&self, at: Instant) {
        let mut now = self.now.subscribe();
        // It fails only when the clock is gone, and `self` holds it.
        let reached = now.wait_for(|now| now.at >= at).await;
        debug_assert!(reached.is_ok(), "the clock outlives those who wait for it");
    }
}

impl Default for ManualClock {
    /// A clock at the origin of the time line, at noon UTC on the first day of 2026: a time
    /// without a midnight nearby.
    fn default() -> Self {
        Self::at(Now { at: Instant::ZERO, wall: WallTime::from_millis(1_767_268_800_000) })
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn it_moves_both_clocks_and_only_by_hand() {
        let clock = ManualClock::default();
        let before = clock.now();
        assert_eq!(clock.now(), before);
        clock.clone().advance(Duration::from_mins(1));
        let after = clock.now();
        assert_eq!(after.at.since(before.at), Duration::from_mins(1));
        assert_eq!(after.wall.since(before.wall), Duration::from_mins(1));
    }

    #[test]
    fn the_wall_alone_can_be_stepped() {
        let clock = ManualClock::default();
        let at = clock.now().at;
        clock.set_wall(WallTime::from_millis(5));
        assert_eq!(clock.now(), Now { at, wall: WallTime::from_millis(5) });
    }

    #[test]
    fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let clock = ManualClock::default();
        let mut sleeper = pin!(clock.reached(Instant::ZERO.plus(Duration::from_secs(10))));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(sleeper.as_mut().poll(&mut context), Poll::Pending);
        clock.advance(Duration::from_secs(9));
        assert_eq!(sleeper.as_mut().poll(&mut context), Poll::Pending);
        clock.advance(Duration::from_secs(1));
        assert_eq!(sleeper.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[tokio::test]
    async fn a_sleeping_task_is_woken() {
        let clock = ManualClock::default();
        let sleeper = clock.reached(Instant::from_nanos(1));
        let mover = async {
            tokio::task::yield_now().await;
            clock.advance_to(Instant::from_nanos(1));
        };
        tokio::join!(sleeper, mover);
    }
}

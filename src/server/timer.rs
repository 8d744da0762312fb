//! hyper's timeouts on the daemon's clock, so that a test moves them by hand.
//!
//! hyper wants a new timer for every head it reads, and nearly none of them ever ends. So all
//! timers of a connection share an alarm that is set once and looked at again when it goes off:
//! whoever sets a later one finds it set.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use super::beside::Beside;
use crate::clock::Clock;
use crate::pool;

/// The timers of one connection.
#[derive(Clone, Debug)]
pub(super) struct ClockTimer {
    clock: Clock,
    /// One moment on both time lines.
    origin: (Instant, pool::Instant),
    alarm: Arc<Mutex<Alarm>>,
}

/// What goes off at the end of the first of some timers, or earlier.
#[derive(Default)]
struct Alarm {
    set: Option<(pool::Instant, Beside<Pin<Box<Going>>>)>,
}

/// A clock that goes until the alarm.
type Going = dyn Future<Output = ()> + Send + Sync;

impl ClockTimer {
    #[expect(clippy::disallowed_methods, reason = "hyper speaks in these instants")]
    pub(super) fn new(clock: Clock) -> Self {
        let origin = (Instant::now(), clock.instant());
        Self { clock, origin, alarm: Arc::default() }
    }
}

impl Timer for ClockTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let ends = self.origin.1.plus(deadline.saturating_duration_since(self.origin.0));
        Box::pin(Sleeping { ends, clock: self.clock.clone(), alarm: self.alarm.clone() })
    }

    fn now(&self) -> Instant {
        self.origin.0 + self.clock.instant().since(self.origin.1)
    }
}

struct Sleeping {
    ends: pool::Instant,
    clock: Clock,
    alarm: Arc<Mutex<Alarm>>,
}

impl Future for Sleeping {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            ready!(Pin::new(alarm.before(self.ends, &self.clock)).poll(context));
            alarm.set = None;
            if self.clock.instant() >= self.ends {
                return Poll::Ready(());
            }
        }
    }
}

impl Sleep for Sleeping {}

impl Alarm {
    /// What goes off at `ends`, or earlier.
    fn before(&mut self, ends: pool::Instant, clock: &Clock) -> &mut Beside<Pin<Box<Going>>> {
        let set = self.set.take_if(|(at, _)| *at > ends);
        drop(set);
        let (_, alarm) = self.set.get_or_insert_with(|| {
            let clock = clock.clone();
            (ends, Beside::new(Box::pin(async move { clock.sleep_until(ends).await })))
        });
        alarm
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Alarm").field(&self.set.as_ref().map(|(at, _)| at)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn a_timer_ends_in_its_time_whichever_was_set_before_it() {
        let clock = ManualClock::default();
        let timer = ClockTimer::new(Clock::Manual(clock.clone()));
        let mut context = Context::from_waker(std::task::Waker::noop());
        for (first, second) in [(30, 50), (50, 30), (30, 30)] {
            let begun = timer.now();
            let mut earlier = timer.sleep(Duration::from_secs(first));
            assert!(earlier.as_mut().poll(&mut context).is_pending());
            drop(earlier);
            let mut sleep = pin!(timer.sleep(Duration::from_secs(second)));
            while sleep.as_mut().poll(&mut context).is_pending() {
                clock.advance(Duration::from_secs(1));
            }
            assert_eq!(timer.now() - begun, Duration::from_secs(second));
        }
    }
}

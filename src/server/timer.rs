//! hyper's timeouts on the daemon's clock, so that a test moves them by hand.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::clock::Clock;

/// A timer for hyper.
#[derive(Clone, Debug)]
pub(super) struct ClockTimer {
    clock: Clock,
    /// One moment on both time lines.
    origin: (Instant, crate::pool::Instant),
}

impl ClockTimer {
    #[expect(clippy::disallowed_methods, reason = "hyper speaks in these instants")]
    pub(super) fn new(clock: Clock) -> Self {
        let origin = (Instant::now(), clock.now().at);
        Self { clock, origin }
    }
}

impl Timer for ClockTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        let clock = self.clock.clone();
        Box::pin(Sleeping(Box::pin(async move { clock.sleep(duration).await })))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        self.origin.0 + self.clock.now().at.since(self.origin.1)
    }
}

struct Sleeping(Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl Future for Sleeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl Sleep for Sleeping {}

//! A future that shares its task with a busy one, and costs nothing while it has nothing to say.
//!
//! Whoever waits for one of two things in a task looks at both whenever the task is woken. Here a
//! look is a look at a flag, unless it was this future that woke the task.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled when it has woken its task, and not when something else has.
#[derive(Debug)]
pub(super) struct Beside<F> {
    future: F,
    bell: Arc<Bell>,
    waker: Waker,
}

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F> Beside<F> {
    pub(super) fn new(future: F) -> Self {
        // The first look is one at the future.
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: Mutex::default() });
        Self { future, waker: bell.clone().into(), bell }
    }
}

impl<F: Future + Unpin> Future for Beside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.bell.calls(context.waker());
        if !self.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let this = &mut *self;
        Pin::new(&mut this.future).poll(&mut Context::from_waker(&this.waker))
    }
}

impl Bell {
    /// Calls the task that `waker` wakes from here on.
    fn calls(&self, waker: &Waker) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !task.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::sync::Notify;

    use super::*;

    #[test]
    fn it_is_looked_at_only_when_it_has_rung() {
        let notify = Notify::new();
        let (mut looks, notified) = (0, pin!(notify.notified()));
        let mut notified = notified;
        let future = std::future::poll_fn(|context| {
            looks += 1;
            notified.as_mut().poll(context)
        });
        let mut beside = Beside::new(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(Pin::new(&mut beside).poll(&mut context).is_pending());
        }
        notify.notify_one();
        assert!(Pin::new(&mut beside).poll(&mut context).is_ready());
        assert_eq!(looks, 2);
    }
}

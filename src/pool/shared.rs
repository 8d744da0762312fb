//! The pool behind a lock: synchronous calls from any thread, and futures for waiting requests.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};

use super::core::Pool;
use super::line::WaiterId;
use super::refusal::Refusal;
use super::select::Lease;
use super::settings::PoolSettings;
use super::snapshot::{Access, Fact, Snapshot};
use super::time::{Instant, Now, WallTime};
use super::transition::Transition;

/// A [`Pool`] that many threads share.
#[derive(Debug)]
pub struct SharedPool {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    latest: Now,
    /// When the pool has something to do next, as of the last call.
    due: Instant,
    /// Who wants to know that this is before the time that they know.
    alarm: Option<(Instant, Waker)>,
    /// Who wants to know that probes may be due earlier than thought.
    prober: Option<Waker>,
    /// Who wants to know that there are errands for other daemons.
    sharer: Option<Waker>,
    /// What the daemons of a fleet agree to add to the wall clock, in milliseconds.
    wall_offset: i64,
    waiters: HashMap<WaiterId, Waker>,
    served: HashMap<WaiterId, Result<Lease, Refusal>>,
}

impl SharedPool {
    /// Puts `pool` behind a lock.
    pub fn new(pool: Pool) -> Arc<Self> {
        let inner = Inner {
            pool,
            latest: Now::default(),
            due: Instant::NEVER,
            alarm: None,
            prober: None,
            sharer: None,
            wall_offset: 0,
            waiters: HashMap::new(),
            served: HashMap::new(),
        };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    /// Calls the pool, wakes whoever the call has served, and hands out what has changed.
    ///
    /// Threads may arrive in another order than they read their clocks in: the pool never sees
    /// time fall.
    pub fn call<T>(
        &self,
        now: Now,
        call: impl FnOnce(&mut Pool, Now) -> T,
    ) -> (T, Vec<Transition>) {
        self.lock().call(now, call)
    }

    /// The same for who calls again and again: others that wait for the pool have it first, before
    /// this one can have it again.
    pub fn call_in_turn<T>(
        &self,
        now: Now,
        call: impl FnOnce(&mut Pool, Now) -> T,
    ) -> (T, Vec<Transition>) {
        let mut inner = self.lock();
        let done = inner.call(now, call);
        MutexGuard::unlock_fair(inner);
        done
    }

    /// The configuration that was taken last.
    pub fn settings(&self) -> Arc<PoolSettings> {
        self.lock().pool.settings().clone()
    }

    /// The facts since the last call of this, in order.
    pub fn take_facts(&self) -> Vec<Fact> {
        self.lock().pool.take_facts()
    }

    /// Keeps facts from here on. The pool as it is now, and the facts until then that nobody has
    /// taken. There is one such snapshot at a time.
    pub fn begin_facts(&self) -> (Snapshot<'_>, Vec<Fact>) {
        let access: Access<'_> = Rc::new(|call| {
            let mut inner = self.lock();
            call(&mut inner.pool);
            MutexGuard::unlock_fair(inner);
        });
        let mut inner = self.lock();
        let facts = inner.pool.take_facts();
        inner.pool.keep_facts(true);
        (inner.pool.freeze(&access), facts)
    }

    /// The future answer to a request that waits in the line.
    pub fn wait_for(self: &Arc<Self>, waiter: WaiterId) -> Waiting {
        Waiting { pool: self.clone(), waiter: Some(waiter) }
    }

    /// Resolves as soon as the pool is due before `known`; says when.
    pub fn due_before(self: &Arc<Self>, known: Instant) -> impl Future<Output = Instant> + use<> {
        let pool = self.clone();
        std::future::poll_fn(move |context| {
            let mut inner = pool.lock();
            if inner.due < known {
                return Poll::Ready(inner.due);
            }
            inner.alarm = Some((known, context.waker().clone()));
            Poll::Pending
        })
    }

    /// Resolves as soon as probes may be due earlier than the last round has said.
    pub fn probes_moved(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        let pool = self.clone();
        std::future::poll_fn(move |context| {
            let mut inner = pool.lock();
            if inner.pool.probes_moved() {
                return Poll::Ready(());
            }
            inner.prober = Some(context.waker().clone());
            Poll::Pending
        })
    }

    /// Resolves as soon as there is something to do that other daemons have a part in.
    pub fn errands(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        let pool = self.clone();
        std::future::poll_fn(move |context| {
            let mut inner = pool.lock();
            if inner.pool.has_errands() {
                return Poll::Ready(());
            }
            inner.sharer = Some(context.waker().clone());
            Poll::Pending
        })
    }

    /// Lives by the wall clock that shows `theirs` while the machine's shows `ours`: daemons that
    /// share the limits of a day must agree when it ends.
    pub fn set_wall_clock(&self, ours: WallTime, theirs: WallTime) {
        let (ours, theirs) = (i128::from(ours.as_millis()), i128::from(theirs.as_millis()));
        self.lock().wall_offset = i64::try_from(theirs - ours).unwrap_or(0);
    }

    /// When the pool has something to do next.
    pub fn due(&self) -> Instant {
        self.lock().due
    }

    /// A call that panicked has left the pool in some state between two sound ones; going on with it
    /// is better than refusing every key from here on.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Inner {
    fn call<T>(
        &mut self,
        now: Now,
        call: impl FnOnce(&mut Pool, Now) -> T,
    ) -> (T, Vec<Transition>) {
        let now = Now { wall: now.wall.shifted(self.wall_offset), ..now };
        if now.at >= self.latest.at {
            self.latest = now;
        }
        let now = self.latest;
        let result = call(&mut self.pool, now);
        self.settle();
        (result, self.pool.take_transitions())
    }

    /// Wakes whoever the last call concerns.
    fn settle(&mut self) {
        for (waiter, result) in self.pool.take_served() {
            self.served.insert(waiter, result);
            if let Some(waker) = self.waiters.remove(&waiter) {
                waker.wake();
            }
        }
        if self.pool.probes_moved()
            && let Some(prober) = self.prober.take()
        {
            prober.wake();
        }
        if self.pool.has_errands()
            && let Some(sharer) = self.sharer.take()
        {
            sharer.wake();
        }
        let due = self.pool.next_due(self.latest);
        if let Some((_, alarm)) = self.alarm.take_if(|(known, _)| due < *known) {
            alarm.wake();
        }
        self.due = due;
    }
}

/// The future answer to a request that waits in the line. Dropping it leaves the line.
#[derive(Debug)]
pub struct Waiting {
    pool: Arc<SharedPool>,
    waiter: Option<WaiterId>,
}

impl Future for Waiting {
    type Output = Result<Lease, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waiter = self.waiter.expect("a future is not polled after it is ready");
        let served = {
            let mut inner = self.pool.lock();
            let served = inner.served.remove(&waiter);
            if served.is_none() {
                inner.waiters.insert(waiter, context.waker().clone());
            }
            served
        };
        match served {
            Some(result) => {
                self.waiter = None;
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter else { return };
        let mut inner = self.pool.lock();
        inner.waiters.remove(&waiter);
        let now = inner.latest;
        match inner.served.remove(&waiter) {
            Some(Ok(lease)) => inner.pool.give_back(&lease, now),
            Some(Err(_)) => {}
            None => inner.pool.cancel(waiter, now),
        }
        inner.settle();
    }
}

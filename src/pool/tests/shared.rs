//! The pool behind its lock, with real futures.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn waits(shared: &Arc<SharedPool>, now: Now) -> Waiting {
    let (selection, _) = shared.call(now, |pool, now| pool.select(any(), Some(seconds(61)), now));
    match selection.unwrap() {
        Selection::Waiting(waiter) => shared.wait_for(waiter),
        Selection::Granted(lease) => panic!("granted at once: {lease:?}"),
    }
}

#[test]
fn wakes_who_is_served_and_whoever_minds_the_clock() {
    let mut game = Game::of([key("a").rpm(1)]);
    game.take();
    let now = game.now;
    let shared = SharedPool::new(game.pool);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);

    let mut alarm = pin!(shared.due_before(Instant::NEVER));
    assert!(alarm.as_mut().poll(&mut context).is_pending());
    let mut waiting = pin!(waits(&shared, now));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert_eq!(bell.0.load(Ordering::SeqCst), 1, "the alarm: the pool is due earlier");

    let later = Now { at: now.at.plus(millis(60_500)), wall: now.wall.plus(millis(60_500)) };
    shared.call(later, Pool::advance);
    assert_eq!(bell.0.load(Ordering::SeqCst), 2, "the waiter");
    assert!(matches!(waiting.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
}

#[test]
fn a_dropped_wait_gives_its_place_or_its_lease_back() {
    let mut game = Game::of([key("a").concurrent(1)]);
    let lease = game.lease(any());
    let now = game.now;
    let shared = SharedPool::new(game.pool);
    drop(waits(&shared, now));
    let served = waits(&shared, now);
    let (reported, _) =
        shared.call(now, |pool, now| pool.report(lease.id, &Report::of(Outcome::Success), now));
    reported.unwrap();
    drop(served);
    let (again, _) = shared.call(now, |pool, now| pool.select(any(), None, now));
    assert!(matches!(again, Ok(Selection::Granted(_))), "{again:?}");
}

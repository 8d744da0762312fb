//! Redis goes away, in every way.

use std::time::Duration;

use keypool::shared_quota::OnFailure;
use rustix::process::Signal;

use crate::support::daemon::{Daemon, key};
use crate::support::trial::{STEP, Trial};

/// Nobody waits for a group.
const AT_ONCE: Duration = Duration::ZERO;

/// A fleet of two, each of which holds one of two keys.
async fn two(on_failure: OnFailure) -> Trial {
    let keys = [key("a", 1000), key("b", 1000), key("c", 1000), key("d", 1000)];
    let mut trial = Trial::of(2, &keys, on_failure);
    trial.join().await;
    for n in 0..2 {
        trial.ask(n, Duration::from_secs(5));
        trial.settle().await;
        trial.pass(STEP).await;
    }
    assert_eq!(trial.seen().admitted, 2);
    trial
}

async fn until(what: &str, trial: &mut Trial, holds: impl Fn(&Trial) -> bool) {
    for _ in 0..2000 {
        if holds(trial) {
            return;
        }
        trial.settle().await;
    }
    panic!("{what} never came about");
}

fn all_are(trial: &Trial, joined: bool) -> bool {
    trial.daemons.iter().flatten().all(|daemon| Daemon::is_joined(daemon) == joined)
}

/// How many of ten requests at daemon 0 are granted.
async fn granted_of_ten(trial: &mut Trial) -> u64 {
    let before = trial.seen().admitted;
    for _ in 0..10 {
        trial.ask(0, AT_ONCE);
    }
    trial.settle().await;
    trial.settle().await;
    trial.seen().admitted - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owned_groups_serve_on_while_redis_is_away_and_sharing_comes_back_by_itself() {
    let mut trial = two(OnFailure::Owned).await;
    trial.redis.kill();
    until("away", &mut trial, |trial| all_are(trial, false)).await;
    trial.pass(Duration::from_mins(2)).await;
    assert_eq!(granted_of_ten(&mut trial).await, 10);
    trial.redis.start_again();
    for _ in 0..100 {
        trial.pass(STEP).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(all_are(&trial, true));
    assert_eq!(granted_of_ten(&mut trial).await, 10);
    assert_eq!(trial.seen().over_a_limit, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_means_that_nothing_is_granted_once_the_leases_have_ended() {
    let mut trial = two(OnFailure::Closed).await;
    trial.redis.signal(Signal::STOP);
    assert_eq!(granted_of_ten(&mut trial).await, 10, "the lease goes on");
    trial.pass(Duration::from_secs(16)).await;
    assert_eq!(granted_of_ten(&mut trial).await, 0);
    trial.redis.signal(Signal::CONT);
    for _ in 0..100 {
        trial.pass(STEP).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(all_are(&trial, true));
    assert_eq!(granted_of_ten(&mut trial).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_means_that_every_group_serves() {
    let mut trial = two(OnFailure::Open).await;
    trial.kill(1).await;
    trial.redis.kill();
    until("away", &mut trial, |trial| all_are(trial, false)).await;
    for _ in 0..390 {
        trial.ask(0, AT_ONCE);
    }
    trial.settle().await;
    trial.settle().await;
    assert!(trial.seen().admitted >= 390);
}

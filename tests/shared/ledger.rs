//! What daemons do with the ledger, one thing at a time.

use std::num::NonZeroU64;
use std::time::Duration;

use keypool::pool::{
    Filter, KeyId, KeySettings, Lease, Limits, Outcome, Pool, Report, SelectRequest, Selection,
};
use keypool::shared_quota::OnFailure;

use crate::support::daemon::key;
use crate::support::trial::{STEP, Trial};

async fn until(trial: &mut Trial, what: &str, holds: impl Fn(&Trial) -> bool) {
    for _ in 0..1000 {
        if holds(trial) {
            return;
        }
        trial.settle().await;
    }
    panic!("{what} never came about");
}

fn state(trial: &Trial, n: usize, key: &str) -> &'static str {
    let daemon = trial.daemons[n].as_ref().unwrap();
    daemon.pool.call(daemon.clock.now(), |pool, now| pool.key(key, now).unwrap().state.name()).0
}

/// A lease from daemon `n`, which has groups to take.
async fn lease_at(trial: &Trial, n: usize) -> Lease {
    let daemon = trial.daemon(n);
    let wait = Some(Duration::from_secs(5));
    let select = |pool: &mut Pool, now| pool.select(SelectRequest::default(), wait, now);
    match daemon.pool.call(daemon.clock.now(), select).0.unwrap() {
        Selection::Granted(lease) => lease,
        Selection::Waiting(waiter) => daemon.pool.wait_for(waiter).await.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_daemon_has_used_another_cannot_use_again() {
    let mut trial = Trial::of(2, &[key("a", 10)], OnFailure::Closed);
    trial.join().await;
    for n in [0, 1, 0, 1] {
        for _ in 0..5 {
            trial.ask(n, Duration::from_secs(2));
        }
        trial.settle().await;
        trial.pass(STEP).await;
        trial.pass(STEP).await;
    }
    trial.pass(Duration::from_secs(3)).await;
    assert_eq!((trial.seen().admitted, trial.seen().over_a_limit), (10, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_key_is_dead_at_every_daemon_and_for_those_that_come_later() {
    let mut trial = Trial::of(2, &[key("a", 10), key("b", 10)], OnFailure::Closed);
    trial.join().await;
    let lease = lease_at(&trial, 0).await;
    let dead: KeyId = lease.key_id.clone();
    let daemon = trial.daemon(0);
    daemon.pool.call(daemon.clock.now(), |pool, now| {
        pool.report(lease.id, &Report::of(Outcome::AuthFailed), now).unwrap();
    });
    until(&mut trial, "the news", |trial| state(trial, 1, dead.as_str()) == "dead").await;
    trial.kill(1).await;
    trial.start(1);
    until(&mut trial, "the mark", |trial| state(trial, 1, dead.as_str()) == "dead").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_stops_leaves_everything_to_the_others() {
    let mut trial = Trial::of(2, &[key("a", 10)], OnFailure::Closed);
    trial.join().await;
    trial.ask(0, Duration::from_secs(2));
    until(&mut trial, "a grant", |trial| trial.seen().admitted == 1).await;
    trial.daemons[0].take().unwrap().stop().await;
    trial.ask(1, Duration::from_secs(2));
    until(&mut trial, "a grant", |trial| trial.seen().admitted == 2).await;
    assert_eq!(trial.redis.ask(&["HLEN", "keypool:{trial}:1:daemons"]), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_name_in_redis_ends_by_itself_and_none_holds_a_secret() {
    let mut trial = Trial::of(2, &[key("a", 10)], OnFailure::Closed);
    trial.join().await;
    trial.ask(0, Duration::from_secs(2));
    until(&mut trial, "a grant", |trial| trial.seen().admitted == 1).await;
    let names = trial.redis.ask(&["KEYS", "*"]);
    assert!(names.lines().count() >= 3, "{names}");
    for name in names.lines() {
        assert!(name.starts_with("keypool:{trial}:"), "{name}");
        let life: i64 = trial.redis.ask(&["PTTL", name]).parse().unwrap();
        assert!(life > 0, "{name} stays for ever");
    }
}

/// A daemon with keys of two priorities, of which it holds the worse one, and another that holds
/// the better one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_a_better_priority_comes_when_nobody_else_needs_it() {
    let priority = |id: &str, priority| KeySettings { priority: Some(priority), ..key(id, 60) };
    let mut trial = Trial::of(2, &[priority("better", 1), priority("worse", 2)], OnFailure::Closed);
    trial.join().await;
    let served = |trial: &Trial, n: usize| {
        let daemon = trial.daemons[n].as_ref().unwrap();
        let (pool, now) = (daemon.pool.clone(), daemon.clock.now());
        let asked = pool.call(now, |pool, now| pool.select(SelectRequest::default(), None, now)).0;
        match asked {
            Ok(Selection::Granted(lease)) => Some(lease.key_id.to_string()),
            Ok(Selection::Waiting(_)) | Err(_) => None,
        }
    };
    let mut taken = [Vec::new(), Vec::new()];
    for step in 0..400 {
        for (n, keys) in taken.iter_mut().enumerate() {
            // The first of them has nothing to do after a while.
            if n == 1 || step < 20 {
                keys.extend(served(&trial, n));
            }
        }
        trial.pass(STEP).await;
        if step > 20 && taken[1].last().is_some_and(|key| key == "better") {
            return;
        }
    }
    panic!("{taken:?}");
}

/// Two daemons with groups enough for everybody, of which only one serves the model `some`.
async fn with_one_key_for_a_model() -> Trial {
    let for_model =
        |id: &str, model: &str| KeySettings { models: vec![model.into()], ..key(id, 60) };
    let keys = [("a", "most"), ("b", "most"), ("c", "most"), ("d", "most"), ("e", "some")]
        .map(|(id, model)| for_model(id, model));
    let mut trial = Trial::of(2, &keys, OnFailure::Closed);
    trial.join().await;
    trial
}

fn for_some() -> SelectRequest {
    let filter = Filter { models: vec!["some".into()], ..Filter::default() };
    SelectRequest { filter, ..SelectRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_key_that_serves_a_model_goes_where_it_is_needed() {
    let mut trial = with_one_key_for_a_model().await;
    for _ in 0..40 {
        for n in 0..2 {
            trial.ask_for(n, for_some(), Duration::from_secs(10));
        }
        trial.settle().await;
        trial.pass(STEP).await;
    }
    let served = [0, 1].map(|n| trial.granted_by(n));
    assert!(served.iter().all(|&served| served > 20), "{served:?}");
    assert_eq!(trial.seen().over_a_limit, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_of_little_load_has_its_share_beside_one_that_takes_all_there_is() {
    let mut trial = with_one_key_for_a_model().await;
    let mut offered = 0;
    // Five minutes, the last of them for those who still wait.
    for step in 0..600 {
        for _ in 0..2 {
            trial.ask_for(0, for_some(), Duration::from_secs(10));
        }
        if (120..480).contains(&step) && step % 20 == 0 {
            trial.ask_for(1, for_some(), Duration::from_mins(1));
            offered += 1;
        }
        trial.settle().await;
        trial.pass(STEP).await;
    }
    let served = trial.granted_by(1);
    assert!(served * 4 >= offered * 3, "{served} of {offered}");
    let seen = trial.seen();
    assert_eq!(seen.over_a_limit, 0);
    assert!(seen.admitted >= 5 * 57, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_ends_makes_room_at_another_daemon() {
    let one = Limits { max_concurrent: NonZeroU64::new(1), ..key("a", 60).limits };
    let key = KeySettings { limits: one, ..key("a", 60) };
    let mut trial = Trial::of(2, &[key], OnFailure::Closed);
    trial.join().await;
    let lease = lease_at(&trial, 0).await;
    for _ in 0..10 {
        trial.pass(STEP).await;
    }
    trial.ask(1, Duration::from_mins(1));
    for _ in 0..10 {
        trial.pass(STEP).await;
    }
    assert_eq!(trial.granted_by(1), 0, "another request of the key is in flight");
    trial.daemon(0).asking().settle(&lease);
    for _ in 0..10 {
        trial.pass(STEP).await;
    }
    assert_eq!(trial.granted_by(1), 1, "it waits for the end of a lease");
}

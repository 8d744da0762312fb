//! What a daemon tells of its fleet.

use std::time::Duration;

use keypool::shared_quota::{Fleet, OnFailure, Trouble};

use crate::support::daemon::key;
use crate::support::trial::{STEP, Trial};

/// A fleet of two, in which daemon 0 holds one of six groups.
async fn two() -> Trial {
    let keys: Vec<_> = (0..6).map(|n| key(&format!("key_{n}"), 60)).collect();
    let mut trial = Trial::of(2, &keys, OnFailure::Closed);
    trial.join().await;
    trial.ask(0, Duration::from_secs(5));
    for _ in 0..200 {
        if trial.seen().admitted == 1 {
            return trial;
        }
        trial.settle().await;
    }
    panic!("nothing was granted");
}

async fn fleet(trial: &Trial) -> Fleet {
    trial.daemon(1).fleet().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_daemon_tells_who_holds_what() {
    let mut trial = two().await;
    // Until the next time that it says what it holds.
    while fleet(&trial).await.daemons.iter().all(|daemon| daemon.row.held == 0) {
        trial.pass(STEP).await;
    }
    let fleet = fleet(&trial).await;
    let held: Vec<_> = fleet.groups.iter().filter(|group| group.holder.is_some()).collect();
    let holder = fleet.daemons.iter().find(|daemon| Some(&daemon.id) == held[0].holder.as_ref());
    let holder = holder.unwrap();
    assert_eq!((fleet.daemons.len(), held.len()), (2, 1), "{fleet:?}");
    assert_eq!((holder.row.capacity, holder.row.used, holder.lapsed), (Some(60), 1, 0));
    assert!(holder.row.demand > 0 && holder.up > 0 && holder.left > 0, "{holder:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_has_gone_without_a_word_is_seen_to_lapse() {
    let mut trial = two().await;
    trial.kill(0).await;
    for _ in 0..24 {
        trial.pass(STEP).await;
    }
    let silent = |fleet: &Fleet| fleet.daemons.iter().map(|daemon| daemon.silent).max().unwrap();
    let late = fleet(&trial).await;
    assert!(late.daemons.len() == 2 && silent(&late) >= 12_000_000, "{late:?}");
    for _ in 0..12 {
        trial.pass(STEP).await;
    }
    let lapsed = fleet(&trial).await;
    let gone: Vec<_> = lapsed.daemons.iter().filter(|daemon| daemon.lapsed > 0).collect();
    assert_eq!(gone.len(), 1, "{lapsed:?}");
    assert_eq!(lapsed.groups[0].holder.as_ref(), Some(&gone[0].id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_told_while_redis_is_away_and_nobody_waits_for_it() {
    let mut trial = two().await;
    trial.redis.kill();
    let mut told = trial.daemon(1).fleet().await;
    for _ in 0..1000 {
        if told == Err(Trouble::NoConnection) {
            return;
        }
        trial.settle().await;
        told = trial.daemon(1).fleet().await;
    }
    panic!("{told:?}");
}

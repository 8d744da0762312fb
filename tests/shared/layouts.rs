//! Two versions of keypool in one fleet, which keep different things in Redis.

use std::time::Duration;

use keypool::pool::KeySettings;
use keypool::shared_quota::{LAYOUT, OnFailure, Trouble};

use crate::support::daemon::key;
use crate::support::home::Home;
use crate::support::trial::{STEP, Trial};

const NEXT: u32 = LAYOUT + 1;

/// Four, of which the first two are of this version and the others of the next one.
fn mixed(keys: &[KeySettings], on_failure: OnFailure) -> Trial {
    let mut trial = Trial::before(Home::Redis, 4, keys, on_failure);
    for n in [2, 3] {
        trial.speak(n, NEXT);
    }
    trial
}

fn keys() -> Vec<KeySettings> {
    (0..12).map(|n| key(&format!("key_{n}"), 30)).collect()
}

/// Starts daemons 0 and 1, which join.
async fn begin(trial: &mut Trial) {
    for n in [0, 1] {
        trial.start(n);
    }
    trial.join().await;
}

/// `steps` of more load than there is capacity, at all of them alike.
async fn load(trial: &mut Trial, steps: u32) {
    let all = |draw: u64| usize::try_from(draw).unwrap() % 4;
    trial.load(steps * STEP, 600.0, Duration::from_secs(2), all).await;
}

/// Waits until daemon `n` has said why it does not share.
async fn refused(trial: &mut Trial, n: usize) -> Trouble {
    for _ in 0..2000 {
        match trial.daemon(n).standing().away {
            Some((trouble @ Trouble::OtherLayout { .. }, _)) => return trouble,
            Some(_) | None => trial.settle().await,
        }
    }
    panic!("{:?}", trial.daemon(n).standing());
}

async fn shares(trial: &mut Trial, n: usize) {
    for _ in 0..2000 {
        if trial.daemon(n).is_joined() {
            return;
        }
        trial.pass(STEP).await;
    }
    panic!("{:?}", trial.daemon(n).standing());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_passes_no_limit_and_the_next_version_comes_when_the_last_one_has_gone() {
    for on_failure in OnFailure::ALL {
        let mut trial = mixed(&keys(), on_failure);
        begin(&mut trial).await;
        load(&mut trial, 20).await;
        for n in [2, 3] {
            trial.start(n);
            let trouble = refused(&mut trial, n).await;
            assert_eq!(trouble, Trouble::OtherLayout { theirs: LAYOUT, ours: NEXT });
            assert!(trouble.to_string().contains("daemons of another version"), "{trouble}");
        }
        load(&mut trial, 20).await;
        assert!(trial.daemon(2).standing().away.is_some(), "it waits");
        trial.daemons[0].take().unwrap().stop().await;
        load(&mut trial, 10).await;
        trial.daemons[1].take().unwrap().stop().await;
        for n in [2, 3] {
            shares(&mut trial, n).await;
        }
        let before = trial.seen().admitted;
        load(&mut trial, 200).await;
        let seen = trial.seen();
        assert_eq!(seen.over_a_limit, 0, "{on_failure:?}");
        assert!(seen.admitted > before + 100, "{on_failure:?}: {seen:?}, {before} before");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_back_passes_no_limit_either() {
    let mut trial = mixed(&keys(), OnFailure::Owned);
    begin(&mut trial).await;
    load(&mut trial, 20).await;
    // The first two are killed with what they hold, and come back when the others have it.
    for n in [0, 1] {
        trial.kill(n).await;
        trial.start(n + 2);
    }
    for n in [2, 3] {
        shares(&mut trial, n).await;
    }
    load(&mut trial, 40).await;
    for n in [0, 1] {
        trial.start(n);
        assert_eq!(
            refused(&mut trial, n).await,
            Trouble::OtherLayout { theirs: NEXT, ours: LAYOUT }
        );
    }
    load(&mut trial, 20).await;
    for n in [2, 3] {
        trial.daemons[n].take().unwrap().stop().await;
    }
    for n in [0, 1] {
        shares(&mut trial, n).await;
    }
    load(&mut trial, 40).await;
    assert_eq!(trial.seen().over_a_limit, 0);
}

//! Redis goes away, in every way, for all or for one.

use std::time::Duration;

use keypool::pool::Part;
use keypool::shared_quota::OnFailure;

use crate::support::daemon::{Daemon, key};
use crate::support::fault::{Effect, Fault};
use crate::support::home::Home;
use crate::support::trial::{STEP, Trial};

/// Nobody asks to wait for a group.
const AT_ONCE: Duration = Duration::ZERO;

/// The longest that a select waits for another daemon all the same.
const TIMEOUT: Duration = Duration::from_millis(50);

/// What Redis may take for anything else. It is the machine's time, so it is no part of any claim.
const REDIS_TIMEOUT: Duration = Duration::from_millis(500);

/// The requests a minute of each of the four keys.
const RPM: u64 = 60;
const CAPACITY: u64 = 4 * RPM;

/// As much of it as is granted on any machine.
const MOST: u64 = CAPACITY * 3 / 4;

/// A fleet of two, each of which holds some of four keys.
async fn two(home: Home, on_failure: OnFailure) -> Trial {
    let keys = ["a", "b", "c", "d"].map(|name| key(name, RPM));
    let mut trial = Trial::with(home, 2, &keys, on_failure, (TIMEOUT, REDIS_TIMEOUT));
    trial.join().await;
    let shares = on_failure == OnFailure::Share;
    for n in 0..1000 {
        trial.ask(n % 2, AT_ONCE);
        // It asks the other one while it still waits.
        trial.settle().await;
        trial.pass(STEP).await;
        let holds = |daemon: &Daemon| {
            let standing = daemon.standing();
            standing.held > 0 && (!shares || standing.part == Part::of(720_720 / 2))
        };
        if trial.daemons.iter().flatten().all(holds) {
            return trial;
        }
    }
    panic!("the two never shared");
}

fn are_in_touch(trial: &Trial) -> bool {
    trial.daemons.iter().flatten().all(|daemon| daemon.standing().away.is_none())
}

/// Whether any of them is.
fn is_in_touch(trial: &Trial) -> bool {
    trial.daemons.iter().flatten().any(|daemon| daemon.standing().away.is_none())
}

/// Waits for what needs no time but the machine's.
async fn until(what: &str, trial: &mut Trial, holds: impl Fn(&mut Trial) -> bool) {
    for _ in 0..3000 {
        if holds(trial) {
            return;
        }
        trial.settle().await;
    }
    panic!("{what} never came about");
}

/// `span` in which each daemon alone is asked for all that there is. Every request has its answer within the
/// timeout. Says how many the provider has admitted in the last minute.
async fn load(trial: &mut Trial, span: Duration, mut every_step: impl FnMut(&Trial)) -> u64 {
    const ROUND: Duration = Duration::from_secs(2);
    let mut admitted = Vec::new();
    for _ in 0..span.as_secs() / ROUND.as_secs() {
        every_step(trial);
        for n in 0..trial.daemons.len() {
            for _ in 0..CAPACITY * ROUND.as_secs() / 60 {
                trial.ask(n, AT_ONCE);
            }
        }
        trial.settle().await;
        trial.pass(TIMEOUT).await;
        until("an answer within the timeout", trial, |trial| trial.unanswered() == 0).await;
        trial.pass(ROUND.checked_sub(TIMEOUT).unwrap()).await;
        admitted.push(trial.seen().admitted);
    }
    let rounds = usize::try_from(60 / ROUND.as_secs()).unwrap();
    let last = admitted.len() - 1;
    admitted[last] - last.checked_sub(rounds).map_or(0, |first| admitted[first])
}

/// Five seconds, in which daemons come back by themselves.
async fn five_seconds(trial: &mut Trial) {
    for _ in 0..10 {
        trial.pass(STEP).await;
        // What a machine does in half a second.
        for _ in 0..12 {
            trial.settle().await;
        }
    }
}

/// Redis goes away and comes back: the policy does what it says, nobody waits, and sharing goes on.
async fn survive(home: Home, on_failure: OnFailure, fault: Fault) {
    let case = format!("{home:?} {} {fault:?}", on_failure.name());
    let mut trial = two(home, on_failure).await;
    fault.prepare(&trial.redis);
    load(&mut trial, Duration::from_secs(20), |_| {}).await;
    let ongoing = fault.strike(&mut trial.redis, &trial.servers);
    load(&mut trial, Duration::from_secs(36), |trial| ongoing.go_on(&trial.redis)).await;
    if fault.effect() == Effect::Away {
        // Redis may take half a second of the machine's time for an answer, in which minutes pass here.
        until("an end of the patience with Redis", &mut trial, |trial| !is_in_touch(trial)).await;
    }
    let in_the_last_minute =
        load(&mut trial, Duration::from_mins(2), |trial| ongoing.go_on(&trial.redis)).await;
    let granted = match (fault.effect(), on_failure) {
        (Effect::Slow, _) => 0..=CAPACITY,
        (Effect::Away, OnFailure::Closed) => 0..=0,
        (Effect::Away, OnFailure::Owned) => 1..=CAPACITY,
        (Effect::Away, OnFailure::Share | OnFailure::Open) | (Effect::Passing, _) => {
            MOST..=CAPACITY
        }
    };
    assert!(granted.contains(&in_the_last_minute), "{case}: {in_the_last_minute}");
    if fault.effect() != Effect::Slow {
        assert_eq!(are_in_touch(&trial), fault.effect() == Effect::Passing, "{case}");
    }
    ongoing.end(&mut trial.redis, &trial.servers);
    five_seconds(&mut trial).await;
    assert!(are_in_touch(&trial), "{case}");
    let in_the_last_minute = load(&mut trial, Duration::from_secs(130), |_| {}).await;
    assert!(in_the_last_minute >= MOST, "{case}: {in_the_last_minute}");
    if on_failure != OnFailure::Open {
        assert_eq!(trial.seen().over_a_limit, 0, "{case}");
    }
}

/// The same for all that can befall a Redis of this kind.
async fn survive_all(home: Home, on_failure: OnFailure) {
    for fault in Fault::of(home) {
        survive(home, on_failure, fault).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_owned_serves_on_whatever_befalls_redis() {
    survive_all(Home::Redis, OnFailure::Owned).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_every_limit_serve_on_whatever_befalls_redis() {
    survive_all(Home::Redis, OnFailure::Share).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_means_that_every_group_serves_whatever_befalls_redis() {
    survive_all(Home::Redis, OnFailure::Open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_means_that_nothing_is_granted_without_redis() {
    survive_all(Home::Redis, OnFailure::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_owned_serves_on_whatever_befalls_a_cluster() {
    survive_all(Home::Cluster, OnFailure::Owned).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_every_limit_serve_on_whatever_befalls_a_cluster() {
    survive_all(Home::Cluster, OnFailure::Share).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_means_that_every_group_serves_whatever_befalls_a_cluster() {
    survive_all(Home::Cluster, OnFailure::Open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_means_that_nothing_is_granted_without_a_cluster() {
    survive_all(Home::Cluster, OnFailure::Closed).await;
}

/// One daemon is cut off while the other is not, and comes back. Says what each was granted in the
/// last minute of it, and how much was over a limit.
async fn one_is_cut_off(on_failure: OnFailure) -> ([u64; 2], u64) {
    let mut trial = two(Home::Redis, on_failure).await;
    load(&mut trial, Duration::from_secs(20), |_| {}).await;
    trial.cut_off(0);
    load(&mut trial, Duration::from_secs(160), |_| {}).await;
    let before = [0, 1].map(|n| trial.granted_by(n));
    load(&mut trial, Duration::from_secs(62), |_| {}).await;
    let granted = [0, 1].map(|n| trial.granted_by(n) - before[n]);
    trial.join_the_network(0);
    five_seconds(&mut trial).await;
    assert!(are_in_touch(&trial));
    let in_the_last_minute = load(&mut trial, Duration::from_secs(130), |_| {}).await;
    assert!(in_the_last_minute >= MOST, "{in_the_last_minute}");
    (granted, trial.seen().over_a_limit)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_alone_is_cut_off_has_its_part_and_the_others_theirs() {
    let (granted, over) = one_is_cut_off(OnFailure::Share).await;
    assert_eq!(over, 0);
    for granted in granted {
        assert!((MOST / 2..=CAPACITY / 2 + CAPACITY / 30).contains(&granted), "{granted}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_alone_is_cut_off_refuses_where_that_means_closed() {
    let (granted, over) = one_is_cut_off(OnFailure::Closed).await;
    assert_eq!((granted[0], over), (0, 0));
    assert!(granted[1] >= MOST, "{granted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_alone_is_cut_off_goes_past_the_limits_of_what_it_owned_at_most() {
    let (granted, over) = one_is_cut_off(OnFailure::Owned).await;
    assert!(granted.iter().sum::<u64>() <= 2 * CAPACITY + 2 * CAPACITY / 30, "{granted:?}");
    // It was away for less than four minutes.
    assert!(granted[0] > 0 && over <= 4 * CAPACITY, "{granted:?} {over}");
}

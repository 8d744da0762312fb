//! Eight daemons and one Redis: no limit is passed, and nothing is wasted.

use std::time::Duration;

use keypool::pool::KeySettings;
use keypool::shared_quota::{Mode, OnFailure};

use crate::support::daemon::key;
use crate::support::home::{Home, in_a_process_that_trusts};
use crate::support::trial::{STEP, Trial};

const DAEMONS: usize = 8;
const MINUTE: Duration = Duration::from_mins(1);

/// Three keys of 15 requests a minute and five of 60.
fn eight_keys() -> Vec<KeySettings> {
    let small = (0..3).map(|n| key(&format!("flash_{n}"), 15));
    small.chain((0..5).map(|n| key(&format!("pro_{n}"), 60))).collect()
}

fn sixty_keys(rpm: u64) -> Vec<KeySettings> {
    (0..60).map(|n| key(&format!("key_{n}"), rpm)).collect()
}

fn capacity(keys: &[KeySettings]) -> f64 {
    let total: u64 = keys.iter().map(|key| key.limits.rpm.unwrap().get()).sum();
    u32::try_from(total).unwrap().into()
}

/// Load is the same for all.
fn even(draw: u64) -> usize {
    usize::try_from(draw).unwrap() % DAEMONS
}

/// One daemon has half of the load.
fn half_on_one(draw: u64) -> usize {
    if draw.is_multiple_of(2) { 0 } else { even(draw / 2) }
}

/// How many minutes are measured, after one to warm up. The clock of Valkey takes long to move.
const fn measured(home: Home) -> u32 {
    match home {
        Home::Valkey => 2,
        Home::Redis | Home::Cluster | Home::Tls => 8,
    }
}

/// What came of a time under load.
#[derive(Debug)]
struct Outcome {
    over_a_limit: u64,
    of_capacity: f64,
    calls_per_grant: f64,
    mode: Mode,
}

/// What comes of `load` times the capacity.
async fn measure(keys: &[KeySettings], load: f64, choose: impl Fn(u64) -> usize + Copy) -> Outcome {
    measure_at(Home::Redis, keys, load, choose).await
}

/// The same at the Redis of a kind.
#[expect(clippy::cast_precision_loss, reason = "these are small")]
async fn measure_at(
    home: Home,
    keys: &[KeySettings],
    load: f64,
    choose: impl Fn(u64) -> usize + Copy,
) -> Outcome {
    let mut trial = Trial::at(home, DAEMONS, keys, OnFailure::Closed);
    trial.join().await;
    let rate = load * capacity(keys);
    trial.load(MINUTE, rate, MINUTE / 2, choose).await;
    let (before, calls) = (trial.seen(), trial.calls());
    let minutes = measured(home);
    trial.load(minutes * MINUTE, rate, MINUTE / 2, choose).await;
    let seen = trial.seen();
    let granted = seen.admitted - before.admitted;
    Outcome {
        over_a_limit: seen.over_a_limit,
        of_capacity: granted as f64 / (f64::from(minutes) * capacity(keys)),
        calls_per_grant: (trial.calls() - calls) as f64 / granted as f64,
        mode: trial.daemons[0].as_ref().unwrap().standing().mode,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_are_owned_and_an_even_load_is_served() {
    for rpm in [60, 180] {
        let result = measure(&sixty_keys(rpm), 0.95, even).await;
        assert_eq!((result.over_a_limit, result.mode), (0, Mode::Ownership));
        assert!(result.of_capacity >= 0.94 && result.calls_per_grant <= 0.05, "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_go_where_half_of_the_load_is() {
    let result = measure(&sixty_keys(60), 0.95, half_on_one).await;
    assert_eq!(result.over_a_limit, 0);
    assert!(result.of_capacity >= 0.94 && result.calls_per_grant <= 0.05, "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_are_used_up_by_more_load_than_there_is_capacity() {
    for choose in [even, half_on_one] {
        let result = measure(&sixty_keys(60), 1.5, choose).await;
        assert_eq!(result.over_a_limit, 0);
        assert!(result.of_capacity >= 0.98 && result.calls_per_grant <= 0.05, "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_groups_go_from_daemon_to_daemon() {
    for choose in [even, half_on_one] {
        let result = measure(&eight_keys(), 0.95, choose).await;
        assert_eq!((result.over_a_limit, result.mode), (0, Mode::PerSelect));
        assert!(result.of_capacity >= 0.94, "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_groups_are_used_up_by_more_load_than_there_is_capacity() {
    for choose in [even, half_on_one] {
        let result = measure(&eight_keys(), 1.5, choose).await;
        assert_eq!(result.over_a_limit, 0);
        assert!(result.of_capacity >= 0.98, "{result:?}");
    }
}

/// What holds at one Redis holds at the Redis of any kind.
async fn holds_at(home: Home) {
    let most = 60.5 / (60.0 + home.guard().as_secs_f64());
    let many = measure_at(home, &sixty_keys(180), 0.95, even).await;
    assert_eq!((many.over_a_limit, many.mode), (0, Mode::Ownership), "{home:?}");
    assert!(many.of_capacity >= 0.94 * most && many.calls_per_grant <= 0.05, "{home:?}: {many:?}");
    let few = measure_at(home, &eight_keys(), 1.5, half_on_one).await;
    assert_eq!((few.over_a_limit, few.mode), (0, Mode::PerSelect), "{home:?}");
    assert!(few.of_capacity >= 0.98 * most, "{home:?}: {few:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_it_holds_at_valkey() {
    holds_at(Home::Valkey).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_it_holds_at_a_cluster_with_no_more_rights_than_the_readme_says() {
    holds_at(Home::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_it_holds_over_tls_with_no_more_rights_than_the_readme_says() {
    let name = "fleet::all_of_it_holds_over_tls_with_no_more_rights_than_the_readme_says";
    if in_a_process_that_trusts(name) {
        holds_at(Home::Tls).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_are_killed_and_started_again_pass_no_limit() {
    let keys = sixty_keys(60);
    let mut trial = Trial::of(DAEMONS, &keys, OnFailure::Closed);
    trial.join().await;
    for round in 0..40 {
        trial.load(6 * STEP, 0.95 * capacity(&keys), MINUTE / 2, even).await;
        let n = round % DAEMONS;
        trial.kill(n).await;
        if round % 5 == 0 {
            trial.redis.ask(&["SCRIPT", "FLUSH"]);
        }
        trial.load(2 * STEP, 0.95 * capacity(&keys), MINUTE / 2, even).await;
        trial.start(n);
    }
    let seen = trial.seen();
    assert_eq!(seen.over_a_limit, 0);
    assert!(seen.admitted * 10 > trial.offered * 7, "{seen:?} of {}", trial.offered);
}

//! Failures: whom they blame, cooldowns, and rotation.

use super::*;

#[test]
fn cools_every_key_of_the_group_for_the_delay_of_the_provider() {
    let mut game = Game::of([key("a").rpm(9).group("g"), key("b").rpm(9).group("g"), key("c")]);
    let lease = game.lease(SelectRequest { exclude: vec![id("c")], ..any() });
    game.report(&lease, limited_for(seconds(12)));
    assert_eq!(
        [game.state("a"), game.state("b"), game.state("c")],
        ["cooling", "cooling", "ready"]
    );
    let only = SelectRequest { exclude: vec![id("c")], ..any() };
    assert_eq!(game.told_to_wait(only.clone()), seconds(12));
    assert_eq!(game.waits_for(only), WaitsFor::Cooldown);
}

#[test]
fn doubles_the_cooldown_from_strike_to_strike_up_to_the_longest() {
    let mut game = Game::of([key("a")]);
    for expected in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
        let lease = game.lease(any());
        game.report(&lease, limited());
        assert_eq!(game.told_to_wait(any()), seconds(expected));
        game.pass(seconds(expected));
    }
}

#[test]
fn counts_a_wave_of_failures_as_one_strike() {
    let mut game = Game::of([key("a")]);
    let wave: Vec<Lease> = (0..20).map(|_| game.lease(any())).collect();
    for lease in &wave {
        game.report(lease, limited());
        game.pass(millis(50));
    }
    assert_eq!(game.told_to_wait(any()), seconds(29));
    game.pass(seconds(29));
    let trial = game.lease(any());
    game.report(&trial, limited());
    assert_eq!(game.told_to_wait(any()), seconds(60));
}

#[test]
fn does_not_count_the_late_rest_of_a_wave_after_the_cooldown() {
    let mut game = Game::of([key("a")]);
    let [early, late] = [game.lease(any()), game.lease(any())];
    game.report(&early, limited());
    game.pass(seconds(31));
    game.report(&late, limited());
    assert_eq!(game.state("a"), "ready");
}

#[test]
fn lets_one_trial_at_a_time_through_after_a_cooldown() {
    let mut game = Game::of([key("a")]);
    let lease = game.lease(any());
    game.report(&lease, limited());
    game.pass(seconds(30));
    let trial = game.lease(any());
    assert_eq!(game.waits_for(any()), WaitsFor::Trial);
    game.report(&trial, Outcome::ServerError);
    let trial = game.lease(any());
    assert_eq!(game.drain(&any()), 0, "only a success ends the trials");
    game.report(&trial, Outcome::Success);
    game.take_many(10);
    assert_eq!(game.changes(), ["cooling", "half_open", "recovered"]);
}

#[test]
fn a_trial_that_is_never_reported_makes_room_for_the_next() {
    let mut game = Game::of([key("a")]);
    let lease = game.lease(any());
    game.report(&lease, limited());
    game.pass(seconds(30));
    game.take();
    assert_eq!(game.told_to_wait(any()), seconds(600));
    game.pass(seconds(600));
    assert_eq!(game.drain(&any()), 1);
}

#[test]
fn a_success_halves_the_level() {
    let mut game = Game::of([key("a")]);
    for delay in [30, 60, 120, 240] {
        let lease = game.lease(any());
        game.report(&lease, limited());
        game.pass(seconds(delay));
    }
    let trial = game.lease(any());
    game.report(&trial, Outcome::Success);
    let lease = game.lease(any());
    game.report(&lease, limited());
    assert_eq!(game.told_to_wait(any()), seconds(120), "level four, halved, and one more");
}

#[test]
fn a_late_success_does_not_end_a_cooldown() {
    let mut game = Game::of([key("a")]);
    let [slow, limited_one] = [game.lease(any()), game.lease(any())];
    game.report(&limited_one, limited());
    game.report(&slow, Outcome::Success);
    assert_eq!(game.state("a"), "cooling");
    game.pass(seconds(30));
    game.take();
    assert_eq!(game.drain(&any()), 0, "still half-open");
}

#[test]
fn keeps_the_later_of_two_ends() {
    let mut game = Game::of([key("a")]);
    let [first, second] = [game.lease(any()), game.lease(any())];
    game.report(&first, limited_for(seconds(50)));
    game.report(&second, limited_for(seconds(10)));
    assert_eq!(game.told_to_wait(any()), seconds(50));
}

#[test]
fn cuts_the_delay_of_the_provider_to_the_longest_cooldown() {
    let mut game = Game::of([key("a")]);
    let lease = game.lease(any());
    game.report(&lease, limited_for(seconds(500_000)));
    assert_eq!(game.told_to_wait(any()), seconds(3600));
}

#[test]
fn cools_until_midnight_when_the_day_is_confirmed_to_be_spent() {
    let mut game = Game::of([key("a")]);
    let lease = game.lease(any());
    game.report(&lease, spent(Spent::Day));
    assert_eq!(game.told_to_wait(any()), seconds(30), "the first word is not believed");
    game.pass(seconds(30));
    let trial = game.lease(any());
    game.report(&trial, spent(Spent::Day));
    assert_eq!(game.told_to_wait(any()), seconds(12 * 3600 - 30));
}

#[test]
fn believes_the_first_word_when_its_own_count_of_the_day_agrees() {
    let mut game = Game::of([key("a").rpd(20)]);
    let lease = game.lease(any());
    game.take_many(18);
    game.report(&lease, spent(Spent::Day));
    assert_eq!(game.told_to_wait(any()), seconds(12 * 3600));
}

#[test]
fn parks_the_whole_account_when_its_money_is_gone() {
    let project = |name: &str, model: &str| key(name).group("p").model(model);
    let mut game = Game::of([project("a", "flash"), project("b", "pro"), key("c")]);
    let lease = game.lease(for_model("flash"));
    assert_eq!(lease.key_id, id("a"));
    game.report(&lease, spent(Spent::Account));
    assert_eq!(
        [game.state("a"), game.state("b"), game.state("c")],
        ["cooling", "cooling", "ready"]
    );
}

#[test]
fn parks_until_the_next_month_when_its_spending_limit_is_reached() {
    let mut game = Game::of([key("a")]);
    let lease = game.lease(any());
    game.report(&lease, spent(Spent::Month));
    assert_eq!(game.told_to_wait(any()), seconds(9 * 86_400 + 12 * 3600));
}

#[test]
fn a_rejected_key_is_dead_with_every_entry_of_its_credential() {
    let twin = |name: &str, model: &str| key(name).credential("same").model(model);
    let mut game = Game::of([twin("a", "flash"), twin("b", "pro"), key("c").model("x")]);
    let lease = game.lease(for_model("pro"));
    let reported = game.report(&lease, Outcome::AuthFailed);
    assert_eq!(reported.state, KeyState::Dead("auth_failed".into()));
    assert_eq!([game.state("a"), game.state("b"), game.state("c")], ["dead", "dead", "ready"]);
    assert_eq!(game.changes(), ["dead"]);
    game.pool.clear(&id("a"), game.now);
    assert_eq!([game.state("a"), game.state("b")], ["ready", "ready"]);
    assert_eq!(game.changes(), ["cleared", "revived", "revived"]);
}

#[test]
fn a_refused_model_takes_nothing_but_the_model_from_the_key() {
    let mut game = Game::of([key("a").model("flash").model("pro")]);
    let lease = game.lease(for_model("pro"));
    game.report(&lease, Outcome::ModelRefused);
    assert_eq!(game.waits_for(for_model("pro")), WaitsFor::Model);
    game.lease(for_model("flash"));
}

#[test]
fn blames_no_key_for_provider_or_caller() {
    let innocent = [
        Outcome::ServerError,
        Outcome::Timeout,
        Outcome::ClientError,
        Outcome::Cancelled,
        Outcome::EgressRefused,
    ];
    for outcome in innocent {
        let mut game = Game::of([key("a")]);
        let lease = game.lease(any());
        assert_eq!(game.report(&lease, outcome).state, KeyState::Ready, "{outcome:?}");
        assert_eq!(game.changes(), [""; 0]);
    }
}

#[test]
fn rotates_to_another_key_at_once() {
    let mut game = Game::of([key("a").priority(1), key("b").priority(2)]);
    let lease = game.lease(any());
    let next = game.rotate(&lease, limited()).unwrap();
    assert_eq!((next.key_id, next.attempt, next.attempts_left), (id("b"), 2, 0));
    assert_eq!(game.changes(), ["cooling", "rotated"]);
}

#[test]
fn tries_each_key_once_and_then_tells_the_first_recovery() {
    let mut game = Game::of((1..=8).map(|n| key(&format!("k{n}"))));
    let mut lease = game.lease(any());
    let mut tried = vec![lease.key_id.clone()];
    for delay in 0..7 {
        lease = game.rotate(&lease, limited_for(seconds(40 - delay))).unwrap();
        assert!(!tried.contains(&lease.key_id));
        tried.push(lease.key_id.clone());
    }
    let Err(NoRotation::Refused(Refusal::Exhausted { free_at, .. })) =
        game.rotate(&lease, limited_for(seconds(50)))
    else {
        panic!("no key is left")
    };
    assert_eq!(free_at.since(game.now.at), seconds(34));
    assert_eq!(game.told_to_wait(any()), seconds(34));
}

#[test]
fn follows_the_fallback_order_after_a_failure_and_ignores_tiers() {
    let mut game = Game::with(PoolSettings {
        keys: arcs([key("a").priority(1), key("b").priority(1), key("c").priority(3)]),
        fallback_order: vec![id("c")],
        ..PoolSettings::default()
    });
    let lease = game.lease(any());
    assert_eq!(lease.key_id, id("a"));
    let next = game.rotate(&lease, limited()).unwrap();
    assert_eq!(next.key_id, id("c"));
    let last = game.rotate(&next, limited()).unwrap();
    assert_eq!(last.key_id, id("b"), "keys not listed come after");
}

#[test]
fn does_not_rotate_when_another_key_could_not_help() {
    let mut game = Game::of([key("a"), key("b")]);
    let lease = game.lease(any());
    let answer = game.rotate(&lease, Outcome::ClientError);
    assert!(matches!(answer, Err(NoRotation::NotRetryable(_))), "{answer:?}");
    let again = game.rotate(&lease, limited());
    assert_eq!(again, Err(NoRotation::Gone(LeaseGone::AlreadyReported)));
}

#[test]
fn says_whether_another_key_could_help() {
    let mut game = Game::of([key("a"), key("b")]);
    let first = game.lease(any());
    assert!(game.report(&first, limited()).retry);
    let mut alone = Game::of([key("a")]);
    let lease = alone.lease(any());
    assert!(!alone.report(&lease, limited()).retry, "there is no other key");
}

#[test]
fn several_groups_that_fail_alike_open_the_breaker_and_no_key_is_blamed() {
    let mut game = Game::of((1..=8).map(|n| key(&format!("k{n}"))));
    let mut failed = Vec::new();
    for n in 1..=8 {
        let others = (1..=8).filter(|other| *other != n).map(|n| id(&format!("k{n}"))).collect();
        failed.push(game.lease(SelectRequest { exclude: others, ..any() }));
    }
    for lease in &failed {
        game.report(lease, Outcome::ServerError);
    }
    assert_eq!(game.changes(), ["provider_down"]);
    assert_eq!(game.waits_for(any()), WaitsFor::Provider);
    assert_eq!(game.told_to_wait(any()), seconds(5));
    for n in 1..=8 {
        assert_eq!(game.state(&format!("k{n}")), "ready");
    }
}

#[test]
fn single_trials_find_out_when_a_provider_is_back() {
    let mut game = Game::of((1..=4).map(|n| key(&format!("k{n}"))));
    let leases: Vec<Lease> = (0..4).map(|_| game.lease(any())).collect();
    for lease in &leases[..3] {
        game.report(lease, Outcome::ServerError);
    }
    game.pass(seconds(5));
    let trial = game.lease(any());
    assert_eq!(game.drain(&any()), 0, "one trial at a time");
    game.report(&trial, Outcome::Timeout);
    assert_eq!(game.told_to_wait(any()), seconds(10), "it failed: twice as long");
    game.pass(seconds(10));
    let trial = game.lease(any());
    game.report(&trial, Outcome::Cancelled);
    let trial = game.lease(any());
    game.report(&trial, Outcome::ClientError);
    game.take_many(10);
    assert_eq!(game.changes(), ["provider_down", "provider_down", "provider_up"]);
}

#[test]
fn a_failing_provider_leaves_the_others_alone() {
    let keys = |n: u32| key(&format!("g{n}"));
    let mut game = Game::of((1..=3).map(keys).chain([key("o").provider("openai")]));
    for lease in [0; 3].map(|_| game.lease(any())) {
        game.report(&lease, Outcome::ServerError);
    }
    assert_eq!(game.take_many(3), ["o", "o", "o"]);
}

#[test]
fn failures_of_one_group_among_many_open_nothing() {
    let mut game = Game::of((1..=4).map(|n| key(&format!("k{n}"))));
    let only_one = SelectRequest { exclude: vec![id("k2"), id("k3"), id("k4")], ..any() };
    for _ in 0..20 {
        let lease = game.lease(only_one.clone());
        game.report(&lease, Outcome::ServerError);
    }
    game.take_many(4);
}

#[test]
fn failures_far_apart_or_with_an_answer_between_open_nothing() {
    let mut game = Game::of((1..=4).map(|n| key(&format!("k{n}"))));
    for lease in (0..4).map(|_| game.lease(any())).collect::<Vec<_>>() {
        game.report(&lease, Outcome::ServerError);
        game.pass(seconds(10));
    }
    for n in 0..4 {
        let lease = game.lease(any());
        game.report(&lease, if n % 2 == 0 { Outcome::ServerError } else { limited() });
    }
    assert!(!game.changes().contains(&"provider_down"));
}

#[test]
fn a_single_key_that_fails_again_and_again_opens_the_breaker_too() {
    let mut game = Game::of([key("a")]);
    for _ in 0..5 {
        let lease = game.lease(any());
        game.report(&lease, Outcome::ServerError);
    }
    assert_eq!(game.waits_for(any()), WaitsFor::Provider);
}

#[test]
fn a_refusal_that_was_not_expected_halves_the_burst_of_the_group() {
    let mut game = Game::of([key("a").rpm(60)]);
    let lease = game.lease(any());
    game.report(&lease, limited_for(seconds(1)));
    game.pass(seconds(1));
    let trial = game.lease(any());
    game.report(&trial, Outcome::Success);
    let pace = game.pool.key("a", game.now).unwrap().pace.unwrap();
    assert_eq!((pace.burst, pace.spacing), (30, millis(0)));
    assert_eq!(game.drain(&any()), 29);
    assert_eq!(game.told_to_wait(any()), seconds(1));
}

#[test]
fn learns_nothing_where_pacing_is_switched_off() {
    let keys = arcs([key("a").rpm(60)]);
    let mut game = Game::with(PoolSettings { keys, adaptive: false, ..PoolSettings::default() });
    let lease = game.lease(any());
    game.report(&lease, limited());
    assert_eq!(game.pool.key("a", game.now).unwrap().pace, None);
}

#[test]
fn shows_the_limit_that_the_provider_names_and_tells_once_if_it_is_lower() {
    let mut game = Game::of([key("a").rpm(60)]);
    let limit = Some(LearnedLimit { kind: LimitKind::Rpm, value: 15 });
    for _ in 0..2 {
        let lease = game.lease(any());
        let outcome = RateLimit { retry_after: Some(seconds(1)), limit, ..RateLimit::default() };
        game.report(&lease, Outcome::RateLimited(outcome));
        game.pass(seconds(1));
    }
    assert_eq!(game.pool.key("a", game.now).unwrap().quota[0].provider_limit, Some(15));
    let told = game.changes().into_iter().filter(|name| *name == "limit_learnt").count();
    assert_eq!(told, 1);
}

#[test]
fn a_cooldown_that_ends_a_trial_is_over_before_the_lease_of_the_trial() {
    let mut game = Game::of([key("a").rpm(100)]);
    let (first, second) = (game.lease(any()), game.lease(any()));
    game.report(&first, limited_for(seconds(5)));
    game.pass(seconds(5));
    game.take();
    assert_eq!(game.told_to_wait(any()), seconds(600), "one trial at a time");
    game.report(&second, limited_for(seconds(10)));
    game.pass(seconds(10));
    game.take();
}

//! Limits: windows, burst, day, concurrency, tokens, quota groups.

use super::*;

#[test]
fn grants_the_limit_of_a_minute_and_not_one_more() {
    let mut game = Game::of([key("a").rpm(15)]);
    assert_eq!(game.drain(&any()), 15);
    assert_eq!(game.told_to_wait(any()), millis(60_500));
    game.pass(millis(60_499));
    assert_eq!(game.drain(&any()), 0);
    game.pass(millis(1));
    assert_eq!(game.drain(&any()), 15);
}

#[test]
fn serves_the_burst_and_then_paces() {
    let mut game = Game::of([key("a").rpm(60).burst(5)]);
    assert_eq!(game.drain(&any()), 5);
    assert_eq!(game.told_to_wait(any()), seconds(1));
    game.pass(seconds(1));
    assert_eq!(game.drain(&any()), 1);
}

#[test]
fn never_adds_the_burst_to_the_limit_of_the_minute() {
    let mut game = Game::of([key("a").rpm(15).burst(5)]);
    let granted: usize = (0..605)
        .map(|_| {
            game.pass(millis(100));
            game.drain(&any())
        })
        .sum();
    assert_eq!(granted, 15);
}

#[test]
fn grants_the_limit_of_a_day_until_midnight() {
    let mut game = Game::of([key("a").rpd(3)]);
    assert_eq!(game.drain(&any()), 3);
    assert_eq!(game.waits_for(any()), WaitsFor::Limit(LimitKind::Rpd));
    assert_eq!(game.told_to_wait(any()), seconds(12 * 3600));
    game.pass(seconds(12 * 3600));
    assert_eq!(game.drain(&any()), 3);
}

#[test]
fn counts_a_grant_within_the_guard_before_midnight_on_both_days() {
    let mut game = Game::of([key("a").rpd(3)]);
    game.take();
    game.pass(millis(12 * 3_600_000 - 400));
    game.take();
    game.pass(millis(400));
    assert_eq!(game.drain(&any()), 2);
}

#[test]
fn does_not_begin_a_day_again_when_the_wall_clock_is_set_back() {
    let mut game = Game::of([key("a").rpd(3)]);
    game.pass(seconds(12 * 3600));
    assert_eq!(game.drain(&any()), 3);
    game.now.wall = WallTime::from_millis(20_000 * DAY_MILLIS + 1);
    assert_eq!(game.drain(&any()), 0);
}

#[test]
fn limits_requests_in_flight_until_one_is_reported() {
    let mut game = Game::of([key("a").concurrent(2)]);
    let first = game.lease(any());
    game.take();
    assert_eq!(game.waits_for(any()), WaitsFor::Limit(LimitKind::Concurrency));
    assert_eq!(game.told_to_wait(any()), seconds(600), "when the first lease expires");
    game.report(&first, Outcome::Success);
    assert_eq!(game.drain(&any()), 1);
}

#[test]
fn ends_a_lease_that_is_never_reported() {
    let mut game = Game::of([key("a").concurrent(1)]);
    let lease = game.lease(any());
    game.pass(seconds(600));
    assert_eq!(game.drain(&any()), 1);
    assert_eq!(game.changes(), ["lease_expired"]);
    let late = game.pool.report(lease.id, &Report::of(Outcome::Success), game.now);
    assert_eq!(late, Err(LeaseGone::Expired));
}

#[test]
fn takes_no_second_report_of_a_lease() {
    let mut game = Game::of([key("a")]);
    let lease = game.lease(any());
    game.report(&lease, Outcome::Success);
    let again = game.pool.report(lease.id, &Report::of(Outcome::Success), game.now);
    assert_eq!(again, Err(LeaseGone::AlreadyReported));
}

#[test]
fn takes_no_report_of_a_lease_it_never_granted() {
    let mut game = Game::of([key("a")]);
    game.lease(any());
    let mut report = |name: &str| {
        let lease = LeaseId::parse(name).unwrap();
        game.pool.report(lease, &Report::of(Outcome::Success), game.now)
    };
    assert_eq!(report("00000007-1"), Err(LeaseGone::Unknown));
    assert_eq!(report("00000006-0"), Err(LeaseGone::Expired), "of an earlier life");
}

#[test]
fn reserves_tokens_and_gives_back_what_was_not_used() {
    let mut game = Game::of([key("a").tpm(1000)]);
    let lease = game.lease(of_tokens(800));
    assert_eq!(game.waits_for(of_tokens(300)), WaitsFor::Limit(LimitKind::Tpm));
    game.settle(&lease, 100);
    assert_eq!(game.drain(&of_tokens(300)), 3);
}

#[test]
fn charges_what_was_used_beyond_the_reservation() {
    let mut game = Game::of([key("a").tpm(1000)]);
    let lease = game.lease(of_tokens(100));
    game.pass(seconds(30));
    game.settle(&lease, 1500);
    assert_eq!(game.told_to_wait(of_tokens(1)), millis(60_500));
}

#[test]
fn refuses_everything_while_a_group_is_in_debt() {
    let mut game = Game::of([key("a").tpm(1000)]);
    let lease = game.lease(any());
    game.settle(&lease, 1000);
    assert_eq!(game.waits_for(any()), WaitsFor::Limit(LimitKind::Tpm));
}

#[test]
fn keeps_the_reservation_of_a_lease_that_is_never_reported() {
    let mut game = Game::with(PoolSettings {
        keys: arcs([key("a").tpm(1000)]),
        lease_ttl: seconds(10),
        ..PoolSettings::default()
    });
    game.lease(of_tokens(1000));
    game.pass(seconds(20));
    assert_eq!(game.told_to_wait(of_tokens(1)), millis(40_500));
}

#[test]
fn gives_the_tokens_of_a_refused_request_back() {
    for refused in [limited(), Outcome::ClientError, Outcome::ServerError] {
        let mut game = Game::of([key("a").tpm(1000), key("b").tpm(1)]);
        let lease = game.lease(of_tokens(1000));
        game.report(&lease, refused);
        game.pool.clear(&id("a"), game.now);
        assert_eq!(game.drain(&of_tokens(1000)), 1, "{refused:?}");
    }
}

#[test]
fn refuses_at_once_what_no_key_can_ever_pay() {
    let mut game = Game::of([key("a").tpm(1000), key("b").tpm(500)]);
    assert_eq!(game.ask(of_tokens(1001)), Err(Refusal::TooManyTokens { most: 1000 }));
}

#[test]
fn reserves_the_default_when_the_request_does_not_say() {
    let mut game = Game::with(PoolSettings {
        keys: arcs([key("a").tpm(1000)]),
        default_tokens: 400,
        ..PoolSettings::default()
    });
    assert_eq!(game.drain(&any()), 2);
}

#[test]
fn shares_the_limits_of_a_quota_group_per_model() {
    let shared = |name: &str, model: &str| key(name).rpm(10).group("project").model(model);
    let mut game = Game::of([shared("a", "flash"), shared("b", "flash"), shared("c", "pro")]);
    assert_eq!(game.drain(&for_model("flash")), 10);
    assert_eq!(game.drain(&for_model("pro")), 10);
}

#[test]
fn does_not_share_a_quota_group_across_providers() {
    let shared = |name: &str, provider: &str| key(name).rpm(10).group("g").provider(provider);
    let mut game = Game::of([shared("a", "gemini"), shared("b", "openai")]);
    assert_eq!(game.drain(&any()), 20);
}

#[test]
fn a_day_is_not_over_before_the_wall_clock_says_so() {
    let mut game = Game::of([key("a").rpd(2)]);
    for _ in 0..2 {
        let lease = game.lease(any());
        game.report(&lease, Outcome::Success);
    }
    game.pass(millis(61_000));
    assert_eq!(game.told_to_wait(any()), seconds(43_200 - 61));
    // The wall clock is set back by an hour.
    game.now.wall = game.now.wall.shifted(-3_600_000);
    game.pass(seconds(43_200 - 61));
    assert_eq!(game.told_to_wait(any()), seconds(3600));
    game.pass(seconds(3600));
    assert_eq!(game.drain(&any()), 2);
}

#[test]
fn warns_once_a_window_that_a_limit_is_nearly_used_up() {
    let mut game = Game::of([key("a").rpm(10)]);
    game.take_many(7);
    assert_eq!(game.changes(), [""; 0]);
    game.take();
    assert_eq!(game.changes(), ["quota_warning"]);
    game.take_many(2);
    assert_eq!(game.changes(), [""; 0]);
    game.pass(millis(60_500));
    game.take_many(10);
    assert_eq!(game.changes(), ["quota_warning"]);
}

#[test]
fn survives_the_largest_limits() {
    let most = u64::MAX;
    let mut game = Game::of([key("a").rpm(most).tpm(most).rpd(most).burst(most).concurrent(most)]);
    let lease = game.lease(of_tokens(u64::MAX));
    game.settle(&lease, u64::MAX);
    game.take();
}

//! Taking another configuration.

use super::*;

#[test]
fn keeps_the_counters_of_keys_that_stay() {
    let mut game = Game::of([key("a").rpm(5), key("b").rpm(5)]);
    assert_eq!(game.drain(&any()), 10);
    let changes = game.reload_keys([key("a").rpm(7), key("c").rpm(5)]);
    assert_eq!(
        (changes.added, changes.removed, changes.changed),
        (vec![id("c")], vec![id("b")], vec![id("a")])
    );
    assert_eq!(game.drain(&any()), 2 + 5);
}

#[test]
fn remembers_the_uses_of_a_key_that_comes_back() {
    let mut game = Game::of([key("a").rpm(5).rpd(8)]);
    assert_eq!(game.drain(&any()), 5);
    game.reload_keys([key("b").inactive()]);
    game.reload_keys([key("a").rpm(5).rpd(8)]);
    assert_eq!(game.drain(&any()), 0);
    game.pass(millis(60_500));
    assert_eq!(game.drain(&any()), 3);
}

#[test]
fn forgets_what_does_not_count_any_more() {
    let mut game = Game::of([key("a").rpm(5)]);
    game.drain(&any());
    game.pass(seconds(86_400));
    game.reload_keys([]);
    assert_eq!((game.pool.stock.groups.len(), game.pool.stock.keys.len()), (0, 0));
}

#[test]
fn takes_reports_of_keys_that_are_gone() {
    let mut game = Game::of([key("a"), key("b")]);
    let lease = game.lease(any());
    game.reload_keys([key("b")]);
    let reported = game.report(&lease, limited());
    assert_eq!((reported.key_id, reported.state), (id("a"), KeyState::Inactive));
}

#[test]
fn a_key_may_move_and_leave_while_a_lease_outlasts_all_else() {
    let mut game = Game::of([key("a").rpd(5)]);
    game.pass(seconds(43_200 - 180));
    let lease = game.lease(any());
    game.reload_keys([key("a").rpd(5).group("g")]);
    game.pass(seconds(300));
    game.reload_keys([key("b")]);
    let reported = game.report(&lease, Outcome::Success);
    assert_eq!((reported.key_id, reported.state), (id("a"), KeyState::Inactive));
}

#[test]
fn requests_in_flight_of_a_key_that_moves_count_in_its_new_group_until_they_end() {
    let mut game = Game::of([key("a").concurrent(2), key("b").concurrent(2).group("g")]);
    let for_a = SelectRequest { exclude: vec![id("b")], ..any() };
    let leases = [game.lease(for_a.clone()), game.lease(for_a)];
    let moved = |key: KeySettings| key.concurrent(2).group("g");
    game.reload_keys([moved(key("a")), moved(key("b"))]);
    assert!(game.ask(any()).is_err());
    game.report(&leases[0], Outcome::Success);
    let third = game.lease(any());
    assert!(game.ask(any()).is_err());
    // And back: each counts once.
    game.reload_keys([key("a").concurrent(2), moved(key("b"))]);
    game.report(&third, Outcome::Success);
    assert_eq!(game.drain(&any()), 1 + 2);
}

#[test]
fn a_limit_that_appears_starts_used_up_after_uses_it_did_not_count() {
    let mut game = Game::of([key("a")]);
    game.take_many(100);
    game.pass(seconds(10));
    game.reload_keys([key("a").rpm(5)]);
    assert_eq!(game.told_to_wait(any()), millis(50_500));
}

#[test]
fn a_key_that_moves_to_a_group_takes_its_uses_along() {
    let mut game = Game::of([key("a").rpm(10), key("b").rpm(10)]);
    game.take_many(8);
    game.reload_keys([key("a").rpm(10).group("g"), key("b").rpm(10).group("g")]);
    assert_eq!(game.drain(&any()), 2);
}

#[test]
fn keeps_cooldowns_and_dead_marks() {
    let mut game = Game::of([key("a"), key("b")]);
    let [first, second] = [game.lease(any()), game.lease(any())];
    game.report(&first, limited());
    game.report(&second, Outcome::AuthFailed);
    game.reload_keys([key("b").priority(1), key("a").priority(2)]);
    assert_eq!([game.state("a"), game.state("b")], ["cooling", "dead"]);
    game.pass(seconds(30));
    assert_eq!(game.changes(), ["cooling", "dead"]);
    game.take();
    assert_eq!(game.changes(), ["half_open"]);
}

#[test]
fn waiting_requests_are_served_by_the_new_keys() {
    let mut game = Game::of([key("a").rpm(1)]);
    game.take();
    let waiter = game.wait(any(), seconds(61)).unwrap();
    game.reload_keys([key("a").rpm(1), key("b").rpm(1)]);
    assert_eq!(game.served(), [(waiter, true)]);
}

#[test]
fn waiting_requests_whose_model_is_gone_are_told() {
    let mut game = Game::of([key("a").rpm(1).model("x")]);
    game.take();
    let waiter = game.wait(for_model("x"), seconds(61)).unwrap();
    game.reload_keys([key("a").rpm(1).model("y")]);
    let served = game.pool.take_served();
    assert_eq!(served, [(waiter, Err(Refusal::NoSuchModel { offered: vec!["y".into()] }))]);
}

#[test]
fn ten_thousand_reloads_leave_nothing_behind() {
    let mut game = Game::of([key("a").rpm(5)]);
    for n in 0..10_000 {
        game.reload_keys([key(&format!("k{n}")).rpm(5)]);
    }
    assert_eq!((game.pool.stock.groups.len(), game.pool.stock.keys.len()), (1, 1));
}

#[test]
fn waiting_requests_are_served_by_a_new_key_that_takes_the_place_of_the_old() {
    let mut game = Game::of([key("a").rpm(1)]);
    game.take();
    let waiter = game.wait(any(), seconds(61)).unwrap();
    let settings = PoolSettings { keys: arcs([key("b").rpm(1)]), ..game.settings.clone() };
    let secrets = BTreeMap::from([(id("b"), None)]);
    game.pool.reconfigure_with_secrets(settings, &secrets, game.now);
    assert_eq!(game.served(), [(waiter, true)]);
}

#[test]
fn a_key_whose_secret_has_changed_is_alive_with_every_key_of_the_same_secret() {
    let mut game = Game::of([key("a").credential("x"), key("b").credential("x"), key("c")]);
    for _ in 0..3 {
        let lease = game.lease(any());
        game.report(&lease, Outcome::AuthFailed);
        if game.state("c") == "dead" {
            break;
        }
    }
    assert_eq!([game.state("a"), game.state("b"), game.state("c")], ["dead"; 3]);
    game.changes();
    assert!(game.pool.secret_changed(&id("b"), game.now));
    assert_eq!([game.state("a"), game.state("b"), game.state("c")], ["ready", "ready", "dead"]);
    assert_eq!(game.changes(), ["secret_changed", "revived", "revived"]);
    assert!(!game.pool.secret_changed(&id("none"), game.now));
}

#[test]
fn a_key_that_comes_back_in_another_group_brings_its_uses_along() {
    let mut game = Game::of([key("a").rpm(3), key("b")]);
    game.drain(&SelectRequest { exclude: vec![id("b")], ..any() });
    game.reload_keys([key("b")]);
    game.reload_keys([key("a").rpm(3).group("g"), key("b").inactive()]);
    assert_eq!(game.drain(&any()), 0, "all three requests of its minute are used");
    game.pass(seconds(61));
    assert_eq!(game.drain(&any()), 3);
}

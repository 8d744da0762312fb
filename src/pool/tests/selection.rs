//! Which key serves which request.

use super::*;

fn names(range: std::ops::RangeInclusive<u32>) -> Vec<KeySettings> {
    range.map(|n| key(&format!("k{n}"))).collect()
}

fn by(strategy: Strategy, keys: Vec<KeySettings>) -> Game {
    Game::with(PoolSettings { keys: arcs(keys), strategy, ..PoolSettings::default() })
}

#[test]
fn round_robin_takes_one_after_another() {
    let mut game = by(Strategy::RoundRobin, names(1..=3));
    assert_eq!(game.take_many(7), ["k1", "k2", "k3", "k1", "k2", "k3", "k1"]);
}

#[test]
fn round_robin_goes_on_after_the_last_key_when_keys_come_and_go() {
    let mut game = by(Strategy::RoundRobin, names(1..=4));
    assert_eq!(game.take_many(2), ["k1", "k2"]);
    game.reload_keys([key("k0"), key("k2"), key("k3"), key("k4")]);
    assert_eq!(game.take_many(3), ["k3", "k4", "k0"]);
}

#[test]
fn round_robin_keeps_a_place_for_each_kind_of_request() {
    let mut keys = names(1..=4);
    for key in &mut keys[..2] {
        key.models.push("flash".into());
    }
    for key in &mut keys[2..] {
        key.models.push("pro".into());
    }
    let mut game = by(Strategy::RoundRobin, keys);
    let mut turn = |model| game.lease(for_model(model)).key_id.to_string();
    let order: Vec<String> = ["flash", "pro", "flash", "pro"].map(&mut turn).into();
    assert_eq!(order, ["k1", "k3", "k2", "k4"]);
}

#[test]
fn round_robin_passes_over_what_cannot_pay() {
    let mut game = by(Strategy::RoundRobin, vec![key("a").rpm(1), key("b"), key("c")]);
    assert_eq!(game.take_many(5), ["a", "b", "c", "b", "c"]);
}

#[test]
fn least_utilized_spreads_by_the_share_of_the_limit() {
    let mut game = by(Strategy::LeastUtilized, vec![key("small").rpm(10), key("big").rpm(40)]);
    let granted = game.take_many(25);
    assert_eq!(granted.iter().filter(|name| *name == "big").count(), 20);
}

#[test]
fn weighted_draws_in_proportion() {
    let mut game = by(Strategy::Weighted, vec![key("a").weight(1), key("b").weight(3)]);
    let granted = game.take_many(4000);
    let b = granted.iter().filter(|name| *name == "b").count();
    assert!((2900..3100).contains(&b), "{b}");
}

#[test]
fn random_uses_every_key_alike() {
    let mut game = by(Strategy::Random, names(1..=4));
    let granted = game.take_many(4000);
    for n in 1..=4 {
        let uses = granted.iter().filter(|name| **name == format!("k{n}")).count();
        assert!((900..1100).contains(&uses), "k{n}: {uses}");
    }
}

#[test]
fn fallback_order_takes_the_first_listed_that_can_pay() {
    let mut game = Game::with(PoolSettings {
        keys: arcs([key("a").rpm(1), key("b").rpm(1), key("c").rpm(1)]),
        strategy: Strategy::FallbackOrder,
        fallback_order: vec![id("c"), id("b")],
        ..PoolSettings::default()
    });
    assert_eq!(game.take_many(3), ["c", "b", "a"]);
}

#[test]
fn every_strategy_grants_all_there_is() {
    for strategy in Strategy::ALL {
        let keys = (0..100).map(|n| key(&format!("k{n}")).rpm(5)).collect();
        assert_eq!(by(strategy, keys).drain(&any()), 500, "{strategy:?}");
    }
}

#[test]
fn every_strategy_grants_all_there_is_of_hundreds_of_keys_minute_by_minute() {
    for strategy in Strategy::ALL {
        let keys = || (100..400).map(|number| key(&format!("k{number}")).rpm(3).tpm(3000));
        let mut game = by(strategy, keys().map(|key| key.model("flash")).collect());
        for request in [of_tokens(1000), for_model("flash"), for_user("u-1"), any()] {
            let request = SelectRequest { tokens: Some(1000), ..request };
            let mut leases = Vec::new();
            while let Ok(lease) = game.ask(request.clone()) {
                leases.push(lease);
                game.pass(millis(20));
            }
            assert_eq!(leases.len(), 900, "{strategy:?}");
            assert!(game.told_to_wait(request) <= millis(60_500));
            for lease in &leases {
                game.settle(lease, 1000);
            }
            game.pass(millis(60_500));
        }
    }
}

#[test]
fn a_key_of_hundreds_that_was_used_up_is_soon_used_as_much_as_the_others() {
    let keys = (100..400).map(|number| key(&format!("k{number}")).rpm(10));
    let mut game = by(Strategy::LeastUtilized, keys.collect());
    let only = SelectRequest {
        exclude: (101..400).map(|number| id(&format!("k{number}"))).collect(),
        ..any()
    };
    assert_eq!(game.drain(&only), 10);
    let mut taken = Vec::new();
    for _ in 0..6 * 1500 {
        game.pass(millis(40));
        taken.push(game.take());
    }
    let used = taken[1500..].iter().filter(|taken| *taken == "k100").count();
    assert!((20..31).contains(&used), "{used} of 25");
}

#[test]
fn uses_the_lowest_priority_number_while_it_can_pay() {
    let keys =
        [key("last").rpm(9), key("second").rpm(1).priority(2), key("first").rpm(2).priority(1)];
    let mut game = Game::of(keys);
    assert_eq!(game.take_many(4), ["first", "first", "second", "last"]);
}

#[test]
fn prefers_keys_of_the_workload_and_widens_when_they_are_used_up() {
    let keys = [key("heavy").workload("heavy").priority(1), key("light").workload("light").rpm(2)];
    let mut game = Game::of(keys);
    let mut light = any();
    light.filter.workload = Some("light".into());
    let mut turn = || game.lease(light.clone()).key_id.to_string();
    assert_eq!([turn(), turn(), turn()], ["light", "light", "heavy"]);
    assert_eq!(game.take(), "heavy", "a request without workload goes by priority");
}

#[test]
fn matches_every_tag_exactly() {
    let mut game = Game::of([key("us").tag("region", "us"), key("eu").tag("region", "eu")]);
    let mut request = any();
    request.filter.tags.insert("region".into(), "eu".into());
    assert_eq!(game.lease(request.clone()).key_id, id("eu"));
    request.filter.tags.insert("tier".into(), "paid".into());
    assert!(matches!(game.ask(request), Err(Refusal::NoUsableKey { .. })));
}

#[test]
fn takes_models_in_the_order_of_preference() {
    let mut game = Game::of([key("a").model("flash").rpm(1), key("b").model("pro").rpm(1)]);
    let mut request = for_model("pro");
    request.filter.models.push("flash".into());
    let first = game.lease(request.clone());
    assert_eq!((first.key_id, first.model), (id("b"), Some("pro".into())));
    let second = game.lease(request);
    assert_eq!((second.key_id, second.model), (id("a"), Some("flash".into())));
}

#[test]
fn serves_any_model_with_a_key_that_names_none() {
    let mut game = Game::of([key("a")]);
    assert_eq!(game.lease(for_model("x")).model, Some("x".into()));
    assert_eq!(game.lease(any()).model, None);
}

#[test]
fn names_the_first_model_of_the_key_when_none_is_asked_for() {
    let mut game = Game::of([key("a").model("flash").model("pro")]);
    assert_eq!(game.lease(any()).model, Some("flash".into()));
}

#[test]
fn names_the_models_on_offer_when_nobody_offers_the_one_asked_for() {
    let mut game =
        Game::of([key("a").model("pro"), key("b").model("flash"), key("c").model("pro")]);
    let refusal = game.ask(for_model("falsh")).unwrap_err();
    assert_eq!(refusal, Refusal::NoSuchModel { offered: vec!["flash".into(), "pro".into()] });
}

#[test]
fn says_of_each_key_why_it_is_of_no_use() {
    let mut game = Game::of([key("off").inactive(), key("blank"), key("bad"), key("not_me")]);
    let missing = NoSecret::Missing("GEMINI_KEY_blank is not set".into());
    game.pool.set_secret(&id("blank"), Some(missing), game.now);
    let mut only_bad = any();
    only_bad.exclude = vec![id("not_me")];
    let lease = game.lease(only_bad.clone());
    assert_eq!(lease.key_id, id("bad"));
    game.report(&lease, Outcome::AuthFailed);
    let Err(Refusal::NoUsableKey { why }) = game.ask(only_bad) else { panic!("refused for that") };
    let of = |unusable| NoUse::Unusable(unusable);
    assert_eq!(
        why,
        [
            (id("off"), of(Unusable::Inactive)),
            (id("blank"), of(Unusable::MissingSecret("GEMINI_KEY_blank is not set".into()))),
            (id("bad"), of(Unusable::Dead("auth_failed".into()))),
            (id("not_me"), of(Unusable::Excluded)),
        ]
    );
}

#[test]
fn gives_a_user_the_same_key_while_it_can_pay() {
    let keys = (1..=8).map(|n| key(&format!("k{n}")).rpm(1500));
    let mut game = Game::of(keys);
    let first = game.lease(for_user("u-17")).key_id;
    for _ in 0..1000 {
        assert_eq!(game.lease(for_user("u-17")).key_id, first);
    }
    assert_eq!(game.drain(&for_user("u-17")), 8 * 1500 - 1001, "then the others");
}

#[test]
fn moves_only_the_users_of_the_key_that_goes() {
    let mut game = Game::of(names(1..=8));
    let key_of = |game: &mut Game, user: u32| game.lease(for_user(&format!("u-{user}"))).key_id;
    let before: Vec<KeyId> = (0..1000).map(|user| key_of(&mut game, user)).collect();
    game.reload_keys(names(1..=8).into_iter().filter(|key| key.id != id("k3")));
    let after: Vec<KeyId> = (0..1000).map(|user| key_of(&mut game, user)).collect();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(*before != id("k3"), before == after);
    }
}

#[test]
fn counts_the_attempts_that_are_left() {
    let mut game = Game::of(names(1..=8));
    let lease = game.lease(any());
    assert_eq!((lease.attempt, lease.attempts_left), (1, 7));
    let mut request = any();
    request.exclude = vec![id("k1"), id("k1"), id("nobody")];
    assert_eq!(game.lease(request).attempts_left, 6);
}

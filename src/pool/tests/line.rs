//! Waiting in the line.

use super::*;

#[test]
fn serves_in_the_order_of_arrival_as_slots_come_free() {
    let mut game = Game::of([key("a").rpm(2)]);
    game.take();
    game.pass(seconds(10));
    game.take();
    let first = game.wait(any(), seconds(60)).unwrap();
    let second = game.wait(any(), seconds(61)).unwrap();
    game.pass(millis(50_500));
    assert_eq!(game.served(), [(first, true)]);
    game.pass(seconds(10));
    assert_eq!(game.served(), [(second, true)]);
}

#[test]
fn refuses_at_once_who_would_wait_in_vain_and_says_when_to_come() {
    let mut game = Game::of([key("a").rpm(1)]);
    game.take();
    game.wait(any(), seconds(61)).unwrap();
    let refusal = game.wait(any(), seconds(100)).unwrap_err();
    let Refusal::Exhausted { free_at, waiting, .. } = refusal else { panic!("{refusal:?}") };
    assert_eq!(free_at.since(game.now.at), millis(121_000), "after the one before");
    assert_eq!(waiting, 1);
}

#[test]
fn lets_nobody_overtake_the_line() {
    let mut game = Game::of([key("a").rpm(1)]);
    game.take();
    let waiter = game.wait(any(), seconds(61)).unwrap();
    game.pass(millis(60_500));
    assert!(game.ask(any()).is_err(), "the slot is the waiter's");
    assert_eq!(game.served(), [(waiter, true)]);
}

#[test]
fn a_large_request_at_the_head_is_not_starved_by_small_ones() {
    let mut game = Game::of([key("a").tpm(1000)]);
    game.lease(of_tokens(600));
    let large = game.wait(of_tokens(900), seconds(61)).unwrap();
    assert!(game.ask(of_tokens(10)).is_err(), "400 tokens are left, and they are being saved");
    game.pass(millis(60_500));
    assert_eq!(game.served(), [(large, true)]);
    game.lease(of_tokens(10));
}

#[test]
fn one_who_waits_for_another_key_does_not_stand_in_the_way() {
    let mut game = Game::of([key("a").rpm(1).model("x"), key("b").rpm(9).model("y")]);
    game.lease(for_model("x"));
    game.wait(for_model("x"), seconds(61)).unwrap();
    game.lease(for_model("y"));
}

#[test]
fn a_report_lets_the_next_one_in() {
    let mut game = Game::of([key("a").concurrent(1)]);
    let lease = game.lease(any());
    let waiter = game.wait(any(), seconds(5)).unwrap();
    game.report(&lease, Outcome::Success);
    assert_eq!(game.served(), [(waiter, true)]);
}

#[test]
fn gives_up_at_the_deadline() {
    let mut game = Game::of([key("a").concurrent(1)]);
    game.take();
    let waiter = game.wait(any(), seconds(5)).unwrap();
    game.pass(millis(4999));
    assert_eq!(game.served(), []);
    game.pass(millis(1));
    assert_eq!(game.served(), [(waiter, false)]);
}

#[test]
fn who_leaves_the_line_takes_nothing() {
    let mut game = Game::of([key("a").rpm(1)]);
    game.take();
    let first = game.wait(any(), seconds(61)).unwrap();
    let refused = game.wait(any(), seconds(61));
    assert!(refused.is_err());
    game.pool.cancel(first, game.now);
    let second = game.wait(any(), seconds(61)).unwrap();
    game.pass(millis(60_500));
    assert_eq!(game.served(), [(second, true)]);
}

#[test]
fn ends_the_wait_when_the_last_usable_key_is_lost() {
    let mut game = Game::of([key("a").concurrent(1)]);
    let lease = game.lease(any());
    let waiter = game.wait(any(), seconds(30)).unwrap();
    game.report(&lease, Outcome::AuthFailed);
    assert_eq!(game.served(), [(waiter, false)]);
}

#[test]
fn is_due_when_the_next_slot_comes_free() {
    let mut game = Game::of([key("a").rpm(1)]);
    game.take();
    assert_eq!(game.pool.next_due(game.now).since(game.now.at), seconds(600), "the lease");
    game.wait(any(), seconds(61)).unwrap();
    assert_eq!(game.pool.next_due(game.now).since(game.now.at), millis(60_500));
}

#[test]
fn foresees_the_wait_behind_a_long_line_exactly() {
    let mut game = Game::of([key("a").rpm(3).burst(1), key("b").rpm(7), key("c").rpm(5).burst(2)]);
    while game.ask(any()).is_ok() {
        game.pass(millis(700));
    }
    let mut foreseen = Vec::new();
    for _ in 0..40 {
        let Refusal::Exhausted { free_at, .. } = game.ask(any()).unwrap_err() else {
            panic!("not exhausted")
        };
        foreseen.push((game.wait(any(), seconds(600)).unwrap(), free_at));
    }
    for (waiter, free_at) in foreseen {
        let due = game.pool.next_due(game.now);
        assert_eq!(due, free_at);
        game.pass(due.since(game.now.at));
        assert_eq!(game.served(), [(waiter, true)]);
    }
}

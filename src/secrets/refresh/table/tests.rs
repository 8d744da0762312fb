use std::time::Duration;

use super::*;
use crate::secrets::Secret;

const RULES: RefreshRules =
    RefreshRules { every: Duration::from_mins(5), max_stale: Duration::from_hours(1) };

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn name(name: &str) -> RemoteRef {
    RemoteRef::new(RemoteStore::Vault, "", name)
}

/// A table that is asked for `names`, with whole waits and no jitter.
struct Game(Table);

impl Game {
    fn of(names: &[&str]) -> Self {
        let mut game = Self(Table::new(RULES));
        game.want(names);
        game
    }

    fn want(&mut self, names: &[&str]) {
        self.0.want(names.iter().map(|text| name(text)), RULES);
    }

    /// What is fetched at `now`, with room for four.
    fn begin(&mut self, now: Instant) -> Vec<String> {
        self.0.begin(4, now).iter().map(|reference| reference.name.to_string()).collect()
    }

    fn answer(&mut self, text: &str, begun: Instant, answer: Answer, now: Instant) -> Learnt {
        let answer = answer.map(|text| Version { secret: Secret::new(text), changed_at: None });
        self.0.end(&name(text), begun, answer, 1.0, now)
    }

    /// Begins and ends everything that is due at `now`; says whether there was any news.
    fn round(&mut self, answer: &Answer, now: Instant) -> bool {
        let mut news = false;
        for text in self.begin(now) {
            news |= self.answer(&text, now, answer.clone(), now).news;
        }
        news
    }

    fn serves(&self, text: &str, now: Instant) -> bool {
        matches!(self.0.known(&name(text), now), Known::Serves(_))
    }
}

type Answer = Result<&'static str, Failure>;

fn away() -> Answer {
    Err(Failure::unavailable("cannot be fetched: timeout"))
}

#[test]
fn what_is_wanted_is_fetched_as_far_as_there_is_room() {
    let mut game = Game::of(&["a", "b", "c", "d", "e"]);
    assert_eq!(game.begin(at(0)).len(), 4);
    assert!(!game.serves("a", at(0)));
    let learnt = game.answer("a", at(0), Ok("fake-secret-a"), at(0));
    assert!(learnt.news && game.serves("a", at(0)));
    assert_eq!(game.begin(at(0)), ["e"]);
    assert_eq!(game.begin(at(0)), [""; 0], "one question per secret");
}

#[test]
fn the_same_secret_again_is_no_news() {
    let mut game = Game::of(&["a"]);
    assert!(game.round(&Ok("fake-secret-a"), at(0)));
    assert_eq!(game.0.wakes_at(), at(330));
    assert!(!game.round(&Ok("fake-secret-a"), at(330)));
    assert!(game.round(&Ok("fake-secret-b"), at(660)));
}

#[test]
fn a_store_that_is_away_is_asked_for_one_secret_at_a_time() {
    let mut game = Game::of(&["a", "b", "c"]);
    game.round(&Ok("fake-secret"), at(0));
    game.round(&away(), at(330));
    assert_eq!(game.0.wakes_at(), at(331));
    assert_eq!(game.begin(at(331)).len(), 1);
    assert_eq!(game.begin(at(331)).len(), 0);
    assert!(game.serves("a", at(331)) && game.serves("b", at(331)) && game.serves("c", at(331)));
}

#[test]
fn when_the_store_is_back_everything_is_asked_for_at_once() {
    let mut game = Game::of(&["a", "b", "c"]);
    game.round(&away(), at(0));
    let tried = game.begin(at(1));
    let learnt = game.answer(&tried[0], at(1), Ok("fake-secret"), at(2));
    assert_eq!(learnt.moved, Moved::Opened { since: at(0) });
    assert_eq!(game.begin(at(2)).len(), 2);
}

#[test]
fn who_was_not_asked_for_because_the_store_is_away_is_told_so() {
    let mut game = Game::of(&["a", "b", "c", "d", "e"]);
    let begun = game.begin(at(0));
    for text in begun {
        game.answer(&text, at(0), away(), at(5));
    }
    assert_eq!(game.0.tried(), (5, 5));
    assert!(matches!(game.0.known(&name("e"), at(5)), Known::Failed(_)));
}

#[test]
fn a_secret_that_becomes_too_old_is_news_once() {
    let mut game = Game::of(&["a"]);
    game.round(&Ok("fake-secret-a"), at(0));
    assert!(!game.round(&away(), at(330)), "it still serves");
    assert!(!game.0.expire(at(3_599)));
    assert!(game.0.wakes_at() <= at(3_600));
    assert!(game.0.expire(at(3_600)) && !game.0.expire(at(3_600)));
    assert!(matches!(game.0.known(&name("a"), at(3_600)), Known::Lost { .. }));
}

#[test]
fn a_secret_that_is_gone_is_news_when_it_is_confirmed_and_when_it_is_back() {
    let mut game = Game::of(&["a"]);
    let gone: Answer = Err(Failure::gone("is deleted"));
    game.round(&Ok("fake-secret-a"), at(0));
    assert!(!game.round(&gone, at(330)));
    assert_eq!(game.0.wakes_at(), at(335));
    assert!(game.round(&gone, at(335)));
    assert!(!game.serves("a", at(335)));
    assert!(!game.round(&gone, at(340)), "nothing new");
    assert!(game.round(&Ok("fake-secret-a"), at(400)));
}

#[test]
fn what_nobody_wants_any_more_is_forgotten_and_what_stays_is_kept() {
    let mut game = Game::of(&["a", "b"]);
    game.round(&Ok("fake-secret"), at(0));
    game.want(&["b", "c"]);
    assert!(!game.serves("a", at(1)) && game.serves("b", at(1)));
    assert_eq!(game.begin(at(1)), ["c"]);
    assert!(!game.answer("a", at(0), Ok("late"), at(1)).news);
}

#[test]
fn other_stores_are_asked_for_everything_while_the_old_secrets_serve() {
    let mut game = Game::of(&["a", "b"]);
    game.round(&Ok("fake-secret"), at(0));
    game.0.stores_changed(at(100));
    assert!(game.serves("a", at(100)));
    assert_eq!(game.begin(at(100)).len(), 2);
}

#[test]
fn a_store_tells_how_many_of_its_secrets_serve() {
    let mut game = Game::of(&["a", "b"]);
    game.round(&Ok("fake-secret"), at(0));
    assert_eq!(game.0.store(RemoteStore::Aws, at(0)), None);
    let begun = game.begin(at(330));
    game.answer(&begun[0], at(330), away(), at(331));
    let state = game.0.store(RemoteStore::Vault, at(331)).unwrap();
    assert_eq!((state.secrets, state.serving, state.stale), (2, 2, 1));
    assert_eq!(state.away_since, Some(at(331)));
    assert_eq!(state.failure.unwrap().text, "cannot be fetched: timeout");
}

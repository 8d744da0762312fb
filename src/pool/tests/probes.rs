//! Probes: when they are due, and what they change.

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

impl Game {
    /// The keys that are due, of every provider.
    fn due(&mut self) -> Vec<ProbeTarget> {
        self.pool.probe_round(MINUTE, |_| true, self.now).due
    }

    /// The one key that is due.
    fn probe(&mut self) -> ProbeTarget {
        let mut due = self.due();
        assert_eq!(due.len(), 1, "{due:?}");
        due.remove(0)
    }

    fn probed(&mut self, target: &ProbeTarget, verdict: &ProbeVerdict) {
        self.pool.probed(target, verdict, millis(120), self.now);
    }

    /// Probes until the first probe of every key is over.
    fn warm_up(&mut self) {
        for _ in 0..61 {
            for target in self.due() {
                self.probed(&target, &ProbeVerdict::Accepted);
            }
            self.pass(seconds(1));
        }
        self.changes();
    }

    fn use_once(&mut self, outcome: Outcome) {
        let lease = self.lease(any());
        self.report(&lease, outcome);
    }
}

fn rejected() -> ProbeVerdict {
    ProbeVerdict::Rejected("400 API_KEY_INVALID".into())
}

fn unknown() -> ProbeVerdict {
    ProbeVerdict::Unknown("503".into())
}

fn not_reached() -> ProbeVerdict {
    ProbeVerdict::NotReached("timeout".into())
}

#[test]
fn first_probes_are_spread_over_the_interval() {
    let mut game = Game::of((0..60).map(|n| key(&format!("k{n}"))));
    let mut probed = 0;
    for second in 1..=60 {
        let due = game.due().len();
        assert!(due <= 8, "{due} in second {second}");
        probed += due;
        game.pass(seconds(1));
    }
    probed += game.due().len();
    assert_eq!(probed, 60);
}

#[test]
fn a_healthy_key_is_probed_once_in_an_interval_with_jitter() {
    let mut game = Game::of([key("a")]);
    game.warm_up();
    let mut last = None;
    for _ in 0..600 {
        for target in game.due() {
            if let Some(last) = last.replace(game.now.at) {
                let gap = game.now.at.since(last);
                assert!((seconds(60)..=seconds(73)).contains(&gap), "{gap:?}");
            }
            game.probed(&target, &ProbeVerdict::Accepted);
        }
        game.pass(seconds(1));
    }
    assert!(last.is_some());
}

#[test]
fn a_key_whose_use_succeeds_is_not_probed() {
    let mut game = Game::of([key("a")]);
    game.warm_up();
    for _ in 0..20 {
        game.use_once(Outcome::Success);
        game.pass(seconds(50));
        assert_eq!(game.due(), []);
    }
    game.pass(seconds(80));
    game.probe();
}

#[test]
fn a_reported_death_is_probed_at_once_and_undone_if_the_provider_accepts_the_key() {
    let mut game = Game::of([key("a")]);
    game.warm_up();
    game.use_once(Outcome::AuthFailed);
    assert_eq!(game.state("a"), "dead");
    assert!(game.pool.probes_moved());
    let target = game.probe();
    assert_eq!(game.due(), [], "it is on its way");
    game.probed(&target, &ProbeVerdict::Accepted);
    assert_eq!(game.state("a"), "ready");
    let reasons: Vec<_> = game.pool.take_transitions().into_iter().map(|t| t.change).collect();
    assert_eq!(reasons[1], Change::Revived { reason: "probe succeeded" });
}

#[test]
fn a_dead_key_is_probed_within_each_interval_until_it_is_accepted() {
    let mut game = Game::of([key("a")]);
    game.warm_up();
    game.use_once(Outcome::AuthFailed);
    for verdict in [rejected(), unknown(), not_reached(), rejected()] {
        let target = game.probe();
        game.probed(&target, &verdict);
        assert_eq!(game.state("a"), "dead");
        game.pass(seconds(47));
        assert_eq!(game.due(), []);
        game.pass(seconds(13));
    }
    let target = game.probe();
    game.probed(&target, &ProbeVerdict::Accepted);
    assert_eq!(game.state("a"), "ready");
    assert_eq!(game.changes(), ["dead", "revived"]);
}

#[test]
fn a_key_that_a_probe_finds_rejected_is_dead_with_its_twins() {
    let mut game = Game::of([key("a").credential("one"), key("b").credential("one"), key("c")]);
    game.pass(MINUTE);
    assert_eq!(game.due(), [], "new keys have their first probe ahead");
    game.pass(MINUTE);
    let due = game.due();
    assert_eq!(due.len(), 2, "one for both twins");
    let twins = due.iter().find(|target| target.key_id == id("a")).unwrap();
    game.probed(twins, &rejected());
    let states = ["a", "b", "c"].map(|name| game.state(name));
    assert_eq!(states, ["dead", "dead", "ready"]);
    for name in ["a", "b"] {
        let last = game.pool.key(name, game.now).unwrap().last_probe.cloned();
        let at = game.now.wall;
        assert_eq!(last, Some(LastProbe { at, verdict: rejected(), took: millis(120) }));
    }
    assert!(game.pool.key("c", game.now).unwrap().last_probe.is_none());
    assert_eq!(game.due(), [], "what a probe has found needs no confirmation");
}

#[test]
fn an_answer_that_says_nothing_changes_nothing() {
    let mut game = Game::of([key("a")]);
    game.due();
    game.pass(MINUTE);
    let target = game.probe();
    game.probed(&target, &unknown());
    assert_eq!((game.state("a"), game.changes().len()), ("ready", 0));
}

#[test]
fn callers_who_complain_without_end_get_one_confirmation_in_an_interval() {
    let mut game = Game::of([key("a")]);
    game.warm_up();
    game.use_once(Outcome::AuthFailed);
    let target = game.probe();
    game.probed(&target, &ProbeVerdict::Accepted);
    game.use_once(Outcome::AuthFailed);
    assert_eq!(game.state("a"), "dead");
    assert_eq!(game.due(), []);
    game.pass(seconds(47));
    assert_eq!(game.due(), []);
    game.pass(seconds(13));
    let target = game.probe();
    game.probed(&target, &ProbeVerdict::Accepted);
    assert_eq!(game.state("a"), "ready");
}

#[test]
fn refusals_from_before_a_revival_are_old_news() {
    let mut game = Game::of([key("a")]);
    game.warm_up();
    let [first, late] = [game.lease(any()), game.lease(any())];
    game.report(&first, Outcome::AuthFailed);
    let target = game.probe();
    game.probed(&target, &ProbeVerdict::Accepted);
    game.report(&late, Outcome::AuthFailed);
    assert_eq!(game.state("a"), "ready");
    game.use_once(Outcome::AuthFailed);
    assert_eq!(game.state("a"), "dead");
}

#[test]
fn a_probe_that_began_before_a_death_does_not_undo_it() {
    let mut game = Game::of([key("a")]);
    game.due();
    game.pass(MINUTE);
    let early = game.probe();
    game.use_once(Outcome::AuthFailed);
    game.probed(&early, &ProbeVerdict::Accepted);
    assert_eq!(game.state("a"), "dead");
    assert!(game.pool.probes_moved());
    let target = game.probe();
    game.probed(&target, &ProbeVerdict::Accepted);
    assert_eq!(game.state("a"), "ready");
}

#[test]
fn keys_without_a_secret_out_of_service_or_of_other_providers_are_not_probed() {
    let keys = [key("a"), key("b").inactive(), key("c").provider("mine"), key("d")];
    let mut game = Game::of(keys);
    game.pool.set_secret(&id("a"), Some(NoSecret::Missing("SECRET is not set".into())), game.now);
    let mut round = || game.pool.probe_round(MINUTE, |provider| provider == "gemini", game.now);
    assert_eq!(round().due, []);
    game.pass(MINUTE);
    let due = game.pool.probe_round(MINUTE, |provider| provider == "gemini", game.now).due;
    assert_eq!(due.iter().map(|target| target.key_id.as_str()).collect::<Vec<_>>(), ["d"]);
}

#[test]
fn a_probe_about_a_replaced_secret_is_made_again() {
    let mut game = Game::of([key("a")]);
    game.due();
    game.pass(MINUTE);
    let target = game.probe();
    game.pool.probe_again(&target, game.now);
    assert!(game.pool.probes_moved());
    game.probe();
}

#[test]
fn a_reload_keeps_what_is_known_and_forgets_probes_of_another_credential() {
    let mut game = Game::of([key("a").credential("one"), key("b").credential("one")]);
    game.due();
    game.pass(MINUTE);
    let target = game.probe();
    game.reload_keys([key("b").credential("one")]);
    game.probed(&target, &rejected());
    assert_eq!(game.state("b"), "dead", "its twin is gone, the probe was for both");
    game.pass(MINUTE);
    let target = game.probe();
    game.reload_keys([key("b").credential("two")]);
    game.probed(&target, &rejected());
    assert_eq!(game.state("b"), "ready");
}

#[test]
fn a_shorter_interval_holds_at_once() {
    let mut game = Game::of([key("a")]);
    game.pool.probe_round(Duration::from_hours(24), |_| true, game.now);
    game.due();
    game.pass(seconds(72));
    game.probe();
}

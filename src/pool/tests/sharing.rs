//! Limits that several daemons share.

use proptest::prelude::{ProptestConfig, prop, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::*;

const FOREVER: Instant = Instant::NEVER;

/// Daemons with clocks of their own, and what lies between them.
struct Fleet {
    daemons: Vec<Game>,
    lying: BTreeMap<GroupName, (Option<Parcel>, Duration)>,
    epoch: u64,
    /// The true time.
    time: Duration,
}

impl Fleet {
    fn of(daemons: u32, keys: &[KeySettings]) -> Self {
        let game = |n: u32| {
            let settings = PoolSettings { keys: arcs(keys.to_vec()), ..PoolSettings::default() };
            let mut game = Game::in_life(n, settings);
            game.now.at = Instant::from_nanos(1_000_000_000_000 * u64::from(n + 1));
            game.pool.share_limits(true, game.now);
            game
        };
        let daemons = (0..daemons).map(game).collect();
        Self { daemons, lying: BTreeMap::new(), epoch: 0, time: Duration::ZERO }
    }

    fn pass(&mut self, span: Duration) {
        self.time += span;
        for daemon in &mut self.daemons {
            daemon.pass(span);
        }
    }

    /// Daemon `from` lets go of the group.
    fn leave(&mut self, from: usize, name: &str) {
        let game = &mut self.daemons[from];
        let names = [GroupName::from(name)];
        for (held, parcel) in game.pool.hand_over(&names, game.now) {
            // What lies in a store is text.
            let text = serde_json::to_string(&parcel).unwrap();
            let parcel = serde_json::from_str(&text).unwrap();
            self.lying.insert(held.name, (Some(parcel), self.time));
        }
        game.pool.handed_over(&names, game.now);
    }

    /// Daemon `to` takes the group, which nobody holds.
    fn take(&mut self, to: usize, name: &str, doubted_until: Option<Duration>) {
        let (parcel, since) = self.lying.get(name).cloned().unwrap_or((None, self.time));
        self.epoch += 1;
        let game = &mut self.daemons[to];
        let local = |time: Duration| {
            let ago = self.time.saturating_sub(time);
            Instant::from_nanos(game.now.at.as_nanos() - u64::try_from(ago.as_nanos()).unwrap())
        };
        let taken = Taken {
            name: name.into(),
            epoch: self.epoch,
            parcel,
            handed_over: local(since),
            doubted_until: doubted_until.map(local),
        };
        game.pool.take_over(vec![taken], FOREVER, game.now);
    }

    fn moves(&mut self, from: usize, to: usize, name: &str) {
        self.leave(from, name);
        self.take(to, name, None);
    }
}

#[test]
fn a_group_that_another_daemon_may_hold_grants_nothing() {
    let mut fleet = Fleet::of(1, &[key("a").rpm(2)]);
    assert_eq!(fleet.daemons[0].waits_for(any()), WaitsFor::OtherDaemon);
    fleet.take(0, "key:a", None);
    assert_eq!(fleet.daemons[0].drain(&any()), 2);
}

#[test]
fn a_hold_ends_at_its_time_and_can_be_prolonged() {
    let mut fleet = Fleet::of(1, &[key("a").rpm(9)]);
    fleet.take(0, "key:a", None);
    let game = &mut fleet.daemons[0];
    game.pool.hold_until(game.now.at.plus(seconds(15)), game.now);
    game.take();
    game.pass(seconds(15));
    assert_eq!(game.waits_for(any()), WaitsFor::OtherDaemon);
    game.pool.hold_until(game.now.at.plus(seconds(15)), game.now);
    game.take();
}

#[test]
fn the_next_holder_goes_on_within_every_limit() {
    let keys = [key("a").rpm(4).tpm(100).rpd(5).concurrent(3).burst(4)];
    let mut fleet = Fleet::of(2, &keys);
    fleet.take(0, "key:a", None);
    let first = fleet.daemons[0].lease(of_tokens(60));
    fleet.moves(0, 1, "key:a");
    assert_eq!(fleet.daemons[0].drain(&any()), 0, "it is not the holder any more");
    let other = &mut fleet.daemons[1];
    assert_eq!(other.waits_for(of_tokens(50)), WaitsFor::Limit(LimitKind::Tpm));
    assert_eq!(other.drain(&of_tokens(1)), 2, "one of the three in flight is the first daemon's");
    assert_eq!(other.waits_for(of_tokens(1)), WaitsFor::Limit(LimitKind::Concurrency));

    fleet.daemons[0].settle(&first, 70);
    let letters = fleet.daemons[0].pool.take_letters();
    let [(name, letter)] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((&**name, letter.more_tokens), ("key:a", 10));
    let other = &mut fleet.daemons[1];
    assert!(other.pool.read_letter(name, letter, other.now));
    assert_eq!(other.waits_for(of_tokens(29)), WaitsFor::Limit(LimitKind::Tpm));
    let last = other.lease(of_tokens(28));
    other.report(&last, Outcome::Success);
    assert_eq!(other.waits_for(any()), WaitsFor::Limit(LimitKind::Rpm));

    fleet.pass(seconds(700));
    fleet.moves(1, 0, "key:a");
    assert_eq!(fleet.daemons[0].drain(&any()), 1, "four of five requests of the day are used");
    assert_eq!(fleet.daemons[0].waits_for(any()), WaitsFor::Limit(LimitKind::Rpd));
}

#[test]
fn a_cooldown_and_a_learnt_pace_go_with_the_group() {
    let mut fleet = Fleet::of(2, &[key("a").rpm(10)]);
    fleet.take(0, "key:a", None);
    let lease = fleet.daemons[0].lease(any());
    fleet.daemons[0].report(&lease, limited_for(seconds(20)));
    fleet.moves(0, 1, "key:a");
    let other = &mut fleet.daemons[1];
    assert_eq!(other.waits_for(any()), WaitsFor::Cooldown);
    assert_eq!(other.pool.key("a", other.now).unwrap().pace.unwrap().burst, 5);
    fleet.pass(seconds(21));
    assert_eq!(fleet.daemons[1].drain(&any()), 1, "half-open: one trial");
}

#[test]
fn a_refusal_of_an_old_lease_cools_the_group_at_its_holder() {
    let mut fleet = Fleet::of(2, &[key("a").rpm(10)]);
    fleet.take(0, "key:a", None);
    let lease = fleet.daemons[0].lease(any());
    fleet.moves(0, 1, "key:a");
    fleet.daemons[0].report(&lease, limited_for(seconds(20)));
    let (name, letter) = fleet.daemons[0].pool.take_letters().remove(0);
    let other = &mut fleet.daemons[1];
    other.pool.read_letter(&name, &letter, other.now);
    assert_eq!(other.told_to_wait(any()), seconds(20));
}

#[test]
fn a_dead_key_is_dead_everywhere_until_one_sees_it_alive() {
    let mut fleet = Fleet::of(2, &[key("a").rpm(10)]);
    fleet.take(0, "key:a", None);
    let lease = fleet.daemons[0].lease(any());
    fleet.daemons[0].report(&lease, Outcome::AuthFailed);
    let told = |from: usize, to: usize, fleet: &mut Fleet| {
        for (key, news) in fleet.daemons[from].pool.take_news() {
            let to = &mut fleet.daemons[to];
            to.pool.hear(&key, &news, to.now);
        }
        fleet.daemons[to].state("a")
    };
    assert_eq!(told(0, 1, &mut fleet), "dead");
    assert_eq!(fleet.daemons[1].pool.take_news(), [], "what was heard is not told again");
    let other = &mut fleet.daemons[1];
    other.pool.secret_changed(&id("a"), other.now);
    assert_ne!(told(1, 0, &mut fleet), "dead");
}

#[test]
fn a_holder_that_went_without_a_word_has_used_everything() {
    let mut fleet = Fleet::of(2, &[key("a").rpm(10).rpd(100)]);
    fleet.take(0, "key:a", None);
    fleet.pass(seconds(30));
    let lapsed = fleet.time;
    fleet.pass(seconds(5));
    fleet.take(1, "key:a", Some(lapsed));
    let other = &mut fleet.daemons[1];
    assert_eq!(other.told_to_wait(any()), millis(55_500));
    assert_eq!(other.pool.key("a", other.now).unwrap().quota[1].used, 20);
}

#[test]
fn uses_from_before_limits_were_shared_count() {
    let mut game = Game::of([key("a").rpm(3)]);
    game.take();
    game.pool.share_limits(true, game.now);
    let mut fleet = Fleet::of(1, &[key("a").rpm(3)]);
    fleet.take(0, "key:a", None);
    fleet.daemons[0].take();
    fleet.daemons.push(game);
    fleet.moves(0, 1, "key:a");
    assert_eq!(fleet.daemons[1].drain(&any()), 1);
}

#[test]
fn what_others_may_have_used_counts_as_used_when_limits_are_shared_no_more() {
    let mut fleet = Fleet::of(2, &[key("a").rpm(10).rpd(100), key("b").rpm(10).rpd(100)]);
    fleet.take(0, "key:a", None);
    let game = &mut fleet.daemons[0];
    game.pool.share_limits(false, game.now);
    for name in ["a", "b"] {
        let quota = game.pool.key(name, game.now).unwrap().quota;
        assert_eq!((quota[0].used, quota[1].used), (10, 50), "{name}");
    }
    assert_eq!(game.told_to_wait(any()), millis(60_500));
    game.pass(seconds(61));
    game.pool.share_limits(false, game.now);
    assert_eq!(game.drain(&any()), 20, "it is said once");
}

#[test]
fn a_group_that_may_be_another_daemons_by_now_is_not_held_on_to() {
    let mut fleet = Fleet::of(1, &[key("a").rpm(3)]);
    fleet.take(0, "key:a", None);
    let game = &mut fleet.daemons[0];
    game.pool.hand_over(&["key:a".into()], game.now);
    game.pool.hold_on(game.now);
    assert_eq!(game.drain(&any()), 0);
}

#[test]
fn after_a_restart_nothing_is_granted_before_it_is_said_that_it_is_still_held() {
    let mut fleet = Fleet::of(1, &[key("a").rpm(3)]);
    fleet.take(0, "key:a", None);
    let game = &mut fleet.daemons[0];
    game.take();
    let bytes = postcard::to_stdvec(&game.pool.snapshot()).unwrap();
    let saved: Saved = postcard::from_bytes(&bytes).unwrap();
    game.pool = Pool::restore(Arc::new(PlainCalendar), 7, saved).unwrap();
    game.pool.share_limits(true, game.now);
    game.pool.set_secret(&id("a"), None, game.now);
    assert_eq!(game.drain(&any()), 0);
    assert_eq!(game.pool.held(game.now)[0].used, 1);
    game.pool.hold_until(FOREVER, game.now);
    assert_eq!(game.drain(&any()), 2);
}

#[test]
fn a_request_without_a_wait_waits_for_another_daemon_as_long_as_patience_lasts() {
    let mut fleet = Fleet::of(1, &[key("a").rpm(3)]);
    let game = &mut fleet.daemons[0];
    game.pool.set_patience(Some(millis(50)));
    let waiter = game.wait(any(), millis(50)).unwrap();
    let wanted = |groups: &[&str]| {
        let groups = groups.iter().map(|&name| name.into()).collect();
        Wanted { groups, waiting: 1, has_none: true }
    };
    assert_eq!(game.pool.wanted(9, game.now), wanted(&["key:a"]));
    game.pool.expect(&["key:a".into()], game.now.at.plus(seconds(1)), game.now);
    assert_eq!(game.pool.wanted(9, game.now), Wanted { has_none: false, ..wanted(&[]) });
    assert!(matches!(game.pool.select(any(), None, game.now), Err(Refusal::Exhausted { .. })));
    game.pool.may_be_free(&["key:a".into()], game.now);
    fleet.take(0, "key:a", None);
    assert_eq!(fleet.daemons[0].served(), [(waiter, true)]);
}

#[test]
fn a_wish_that_is_put_off_keeps_no_request_from_asking() {
    let mut fleet = Fleet::of(1, &[key("a").rpm(9).priority(1), key("b").rpm(4).priority(2)]);
    fleet.take(0, "key:b", None);
    let game = &mut fleet.daemons[0];
    let wishes = |game: &mut Game| {
        game.take();
        game.pool.take_wishes()
    };
    let better = [GroupName::from("key:a")];
    assert_eq!(wishes(game), better);
    game.pool.put_off_wishes(&better, game.now.at.plus(seconds(1)));
    assert!(wishes(game).is_empty());
    game.pool.may_be_free(&better, game.now);
    assert_eq!(wishes(game), better);
    game.pool.put_off_wishes(&better, game.now.at.plus(seconds(1)));
    game.pass(seconds(1));
    assert_eq!(wishes(game), better);
    game.pool.put_off_wishes(&better, game.now.at.plus(seconds(1)));
    game.wait(any(), seconds(9)).unwrap();
    let wanted = game.pool.wanted(9, game.now);
    assert_eq!(wanted, Wanted { groups: better.to_vec(), waiting: 1, has_none: false });
}

#[derive(Clone, Debug)]
enum Step {
    Ask { daemon: usize, tokens: u64 },
    Report { which: usize, used: u64 },
    Move { group: usize, to: usize, lies: Duration },
    Vanish { group: usize, to: usize },
    Pass(Duration),
}

fn steps() -> impl Generator<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0_usize..3, 0_u64..40).prop_map(|(daemon, tokens)| Step::Ask { daemon, tokens }),
        3 => (0_usize..9, 0_u64..60).prop_map(|(which, used)| Step::Report { which, used }),
        3 => (0_usize..2, 0_usize..3, 0_u64..20_000)
            .prop_map(|(group, to, lies)| Step::Move { group, to, lies: millis(lies) }),
        1 => (0_usize..2, 0_usize..3).prop_map(|(group, to)| Step::Vanish { group, to }),
        4 => (0_u64..30_000).prop_map(|span| Step::Pass(millis(span))),
    ];
    prop::collection::vec(step, 1..150)
}

fn play(steps: Vec<Step>) {
    let keys = [key("a").rpm(6).rpd(40).burst(3), key("b").rpm(5).tpm(90).concurrent(3)];
    let names = ["key:a", "key:b"];
    let mut fleet = Fleet::of(3, &keys);
    let mut holders = [0_usize, 0];
    for name in names {
        fleet.take(0, name, None);
    }
    let mut grants: Vec<(usize, Duration, u64)> = Vec::new();
    let mut open: Vec<(usize, Lease, usize)> = Vec::new();
    for step in steps {
        match step {
            Step::Ask { daemon, tokens } => {
                if let Ok(lease) = fleet.daemons[daemon].ask(of_tokens(tokens)) {
                    let group = usize::from(lease.key_id.as_str() == "b");
                    assert_eq!(holders[group], daemon, "only the holder grants");
                    grants.push((group, fleet.time, tokens));
                    open.push((daemon, lease, grants.len() - 1));
                }
            }
            Step::Report { which, used } if which < open.len() => {
                let (daemon, lease, grant) = open.remove(which);
                let game = &mut fleet.daemons[daemon];
                let report = Report { tokens_used: Some(used), ..Report::of(Outcome::Success) };
                if game.pool.report(lease.id, &report, game.now).is_ok() {
                    grants[grant].2 = grants[grant].2.min(used);
                    for (name, letter) in fleet.daemons[daemon].pool.take_letters() {
                        let holder = holders[usize::from(&*name == "key:b")];
                        let holder = &mut fleet.daemons[holder];
                        assert!(holder.pool.read_letter(&name, &letter, holder.now));
                    }
                }
            }
            Step::Report { .. } => {}
            Step::Move { group, to, lies } => {
                fleet.leave(holders[group], names[group]);
                fleet.pass(lies);
                fleet.take(to, names[group], None);
                holders[group] = to;
            }
            Step::Vanish { group, to } => {
                let from = &mut fleet.daemons[holders[group]];
                from.pool.handed_over(&[names[group].into()], from.now);
                let lapsed = fleet.time;
                fleet.take(to, names[group], Some(lapsed));
                holders[group] = to;
                open.retain(|(_, lease, _)| (lease.key_id.as_str() == "b") != (group == 1));
            }
            Step::Pass(span) => fleet.pass(span),
        }
        for (group, rpm, tpm) in [(0, 6, u64::MAX), (1, 5, 90)] {
            let recent = |at: Duration| at + seconds(60) > fleet.time;
            let recent = grants.iter().filter(|(of, at, _)| *of == group && recent(*at));
            let (requests, tokens) =
                recent.fold((0, 0), |(requests, sum), (.., tokens)| (requests + 1, sum + tokens));
            assert!(requests <= rpm, "{requests} requests of group {group} in a minute");
            assert!(tokens <= tpm, "{tokens} tokens of group {group} in a minute");
        }
        let day = grants.iter().filter(|(group, ..)| *group == 0).count();
        assert!(day <= 40 || fleet.time > seconds(3600), "{day} requests in a day");
        let in_flight = open.iter().filter(|(_, lease, _)| lease.key_id.as_str() == "b").count();
        assert!(in_flight <= 3 || fleet.time > seconds(600), "{in_flight} in flight");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn no_limit_is_passed_however_groups_move(steps in steps()) {
        play(steps);
    }
}

//! A configuration that leaves every key at its place is taken there, and the pool is as if it had
//! been put together anew.

use proptest::prelude::{Just, prop, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::group::GroupIdx;
use super::settings::Strategy;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Select { tokens: u64 },
    Report { which: usize, refused: bool },
    Pass(Duration),
    Take { keys: Vec<KeySettings>, with_secrets: bool, strategy: Strategy },
}

/// One of four keys, as it may be written at one time or another; two share a group.
fn entry(place: usize) -> impl Generator<Value = KeySettings> {
    let limit = |most: u64| prop::option::weighted(0.7, 1..most);
    let limits = (limit(6), limit(40), limit(30), limit(4), limit(4));
    let rest = (prop::option::of(1_u64..3), 0..4_u8, prop::bool::weighted(0.9), 0..10_u8);
    (limits, rest).prop_map(move |((rpm, tpm, rpd, concurrent, burst), rest)| {
        let (priority, tag, active, credential) = rest;
        let name = format!("k{place}");
        let entry = if place > 1 { key(&name).group("g") } else { key(&name) };
        let entry = entry.tag("tag", &tag.to_string());
        let old = entry.credential.clone();
        let mut entry = entry.credential(if credential == 0 { "another" } else { &old });
        entry.limits.rpm = rpm.and_then(NonZeroU64::new);
        entry.limits.tpm = tpm.and_then(NonZeroU64::new);
        entry.limits.rpd = rpd.and_then(NonZeroU64::new);
        entry.limits.max_concurrent = concurrent.and_then(NonZeroU64::new);
        entry.limits.burst_capacity = burst.and_then(NonZeroU64::new);
        (entry.priority, entry.active) = (priority, active);
        entry
    })
}

fn steps() -> impl Generator<Value = Vec<Step>> {
    let keys = (entry(0), entry(1), entry(2), entry(3)).prop_map(|(a, b, c, d)| vec![a, b, c, d]);
    let keys = (keys, prop::bool::weighted(0.9), prop::bool::weighted(0.9));
    let strategies = prop_oneof![
        4 => Just(Strategy::RoundRobin),
        1 => Just(Strategy::LeastUtilized),
        1 => Just(Strategy::FallbackOrder),
    ];
    let take = (keys, strategies).prop_map(|((mut keys, all, with_secrets), strategy)| {
        keys.truncate(if all { 4 } else { 3 });
        Step::Take { keys, with_secrets, strategy }
    });
    let step = prop_oneof![
        8 => (0_u64..20).prop_map(|tokens| Step::Select { tokens }),
        4 => (0_usize..8, prop::bool::weighted(0.2))
            .prop_map(|(which, refused)| Step::Report { which, refused }),
        3 => (0_u64..40_000).prop_map(|span| Step::Pass(millis(span))),
        2 => take,
    ];
    prop::collection::vec(step, 1..60)
}

/// How a pool takes a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taking {
    AtOnce,
    KeyByKey,
    /// Whatever stays at its place.
    Anew,
}

fn take(
    game: &mut Game,
    settings: &PoolSettings,
    known: &SecretsKnown,
    taking: Taking,
) -> KeyChanges {
    let mut revision = Revision::new(game.pool.settings(), settings.clone(), known, || {});
    if taking == Taking::Anew {
        revision.in_place = None;
    }
    if taking != Taking::KeyByKey {
        return game.pool.revise(&mut revision, game.now);
    }
    loop {
        if let Some(changes) = game.pool.revise_some(&mut revision, 1, game.now) {
            return changes;
        }
    }
}

proptest! {
    #[test]
    fn a_pool_is_the_same_whether_its_keys_stay_or_are_put_together_anew(steps in steps()) {
        let settings = |keys: Vec<KeySettings>, strategy| PoolSettings {
            keys: arcs(keys),
            strategy,
            ..PoolSettings::default()
        };
        let first = (0..4).map(|n| key(&format!("k{n}")).rpm(3)).collect();
        let mut games = [Taking::AtOnce, Taking::KeyByKey, Taking::Anew].map(|taking| {
            (Game::with(settings(Vec::clone(&first), Strategy::RoundRobin)), taking)
        });
        let mut leases: Vec<Lease> = Vec::new();
        for step in steps {
            match step {
                Step::Select { tokens } => {
                    let [one, steps, anew] = games.each_mut().map(|(game, _)| {
                        game.pool.select(of_tokens(tokens), None, game.now)
                    });
                    prop_assert_eq!((&one, &one), (&steps, &anew));
                    if let Ok(Selection::Granted(lease)) = one {
                        leases.push(lease);
                    }
                }
                Step::Report { which, refused } if which < leases.len() => {
                    let lease = leases.remove(which);
                    let outcome = if refused { limited() } else { Outcome::Success };
                    let [one, steps, anew] = games.each_mut().map(|(game, _)| {
                        format!("{:?}", game.pool.report(lease.id, &Report::of(outcome), game.now))
                    });
                    prop_assert_eq!((&one, &one), (&steps, &anew));
                }
                Step::Report { .. } => {}
                Step::Pass(span) => games.iter_mut().for_each(|(game, _)| game.pass(span)),
                Step::Take { keys, with_secrets, strategy } => {
                    let ids = keys.iter().filter(|_| with_secrets);
                    let known = ids.map(|key| (key.id.clone(), None)).collect();
                    let settings = settings(keys.clone(), strategy);
                    let [one, steps, anew] = games.each_mut().map(|(game, taking)| {
                        let changes = take(game, &settings, &known, *taking);
                        (changes, game.pool.take_transitions())
                    });
                    prop_assert_eq!((&one, &one), (&steps, &anew));
                }
            }
        }
        let [one, steps, anew] = games.each_mut().map(|(game, _)| {
            // What is over is forgotten when somebody looks.
            let groups = (0..game.pool.stock.groups.len()).map(GroupIdx::at);
            groups.for_each(|group| {
                game.pool.stock.refresh(group, game.now);
            });
            let Pool { stock, leases, recoveries, last_key, .. } = &game.pool;
            let (keys, groups, providers) = (&*stock.keys, &*stock.groups, &stock.providers);
            let leases: Vec<_> = leases.iter().collect();
            format!("{groups:#?} {keys:#?} {providers:?} {leases:?} {recoveries:?} {last_key:?}")
        });
        prop_assert_eq!((&one, &one), (&steps, &anew));
    }
}

#[test]
fn a_key_that_is_not_changed_yet_keeps_its_limits() {
    let settings = |rpm| {
        let keys = arcs(["a", "b", "c", "d"].map(|name| key(name).rpm(rpm)));
        PoolSettings { keys, ..PoolSettings::default() }
    };
    let mut game = Game::with(settings(2));
    let mut revision =
        Revision::new(game.pool.settings(), settings(5), &SecretsKnown::new(), || {});
    assert_eq!(game.pool.revise_some(&mut revision, 3, game.now), None);
    assert_eq!(game.drain(&any()), 3 * 5 + 2);
    assert_eq!(game.pool.settings().keys[0].limits.rpm.map(NonZeroU64::get), Some(2));
    let changes = game.pool.revise_some(&mut revision, 3, game.now).unwrap();
    assert_eq!(changes.changed, ["a", "b", "c", "d"].map(id));
    assert_eq!(game.drain(&any()), 3);
}

#[test]
fn what_makes_requests_be_refused_is_taken_at_once() {
    let gone = || Some(NoSecret::Missing("gone".into()));
    let in_steps_with = |change: fn(KeySettings) -> KeySettings, had, missing| {
        let [a, b] = [key("a").rpm(2).tpm(9), key("b").rpm(2)];
        let mut game = Game::of([a.clone(), b.clone()]);
        game.pool.set_secret(&id("a"), had, game.now);
        let settings = PoolSettings { keys: arcs([change(a), b]), ..PoolSettings::default() };
        let known = [(id("a"), missing), (id("b"), None)].into();
        let mut revision = Revision::new(game.pool.settings(), settings, &known, || {});
        game.pool.revise_some(&mut revision, 1, game.now).is_none()
    };
    let in_steps = |change| in_steps_with(change, None, None);
    assert!(in_steps(|a| a.rpm(3).concurrent(5)));
    assert!(!in_steps(KeySettings::inactive));
    assert!(!in_steps(|a| a.credential("another")));
    assert!(!in_steps(|a| a.tpm(8)));
    assert!(!in_steps_with(|a| a.rpm(3), None, gone()), "its secret has gone");
    assert!(in_steps_with(|a| a.rpm(3), gone(), gone()), "it had none before");
}

#[test]
fn only_a_key_that_comes_goes_or_changes_its_group_has_others_move() {
    let before = Arc::new(PoolSettings {
        keys: arcs([key("a"), key("b").group("g"), key("c")]),
        ..PoolSettings::default()
    });
    let others = |keys: &[KeySettings]| {
        let after = PoolSettings { keys: arcs(keys.to_vec()), ..PoolSettings::default() };
        let in_place = Revision::new(&before, after, &BTreeMap::new(), || {}).in_place;
        in_place.map(|in_place| in_place.entries.len())
    };
    let [a, b, c] = [key("a"), key("b").group("g"), key("c")];
    assert_eq!(others(&[a.clone(), b.clone(), c.clone()]), Some(0));
    assert_eq!(others(&[a.clone().rpm(1).inactive(), b.clone(), c.clone().tag("x", "y")]), Some(2));
    assert_eq!(others(&[a.clone(), b.clone()]), None);
    assert_eq!(others(&[a.clone(), b.clone(), c.clone(), key("d")]), None);
    assert_eq!(others(&[b.clone(), a.clone(), c.clone()]), None);
    assert_eq!(others(&[a.clone(), b.clone(), c.clone().group("g")]), None);
    assert_eq!(others(&[a, b.model("flash"), c]), None, "the group of other models is another");
}

#[test]
fn a_snapshot_is_of_its_moment_whatever_the_pool_takes_while_it_is_written() {
    let keys = |count: usize| (0..count).map(|n| key(&format!("k{n}")).rpm(3));
    let mut game = Game::of(keys(200));
    game.take_many(50);
    let (now, lease) = (game.now, game.lease(any()));
    let pool = SharedPool::new(game.pool);
    let written = |changes: &dyn Fn(&mut Pool)| {
        let (snapshot, _) = pool.begin_facts();
        pool.call(now, |pool, _| changes(pool));
        postcard::to_stdvec(&snapshot).unwrap()
    };
    let still = written(&|_| {});
    let busy = written(&|pool| {
        pool.report(lease.id, &Report::of(limited()), now).unwrap();
        for count in [100, 300] {
            pool.reconfigure(PoolSettings { keys: arcs(keys(count)), ..Default::default() }, now);
        }
    });
    assert!(still == busy, "it is another");
    assert!(written(&|_| {}) != busy, "nothing has changed");
}

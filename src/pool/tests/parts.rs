//! Daemons that do not hear from the others go on with parts of limits.

use proptest::prelude::{ProptestConfig, prop, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::*;

/// The lease of the ledger, and what daemons make of it.
const LEASE: Duration = Duration::from_secs(15);
const HELD: Duration = Duration::from_millis(14_900);
const OTHERS: Duration = Duration::from_secs(31);
const BEAT: Duration = Duration::from_secs(6);
const DAY: Duration = Duration::from_hours(24);

/// What the ledger knows of a daemon.
#[derive(Clone, Copy, Default)]
struct Row {
    ends: Duration,
    heard: Duration,
    keep: Duration,
    /// Whether it does not know what came of its last question, so that it must join again.
    is_unsure: bool,
}

/// Who holds a group, and what lies in the ledger of it.
#[derive(Clone, Default)]
struct Held {
    holder: Option<usize>,
    parcel: Option<(Parcel, Duration)>,
    epoch: u64,
}

/// Daemons, and a ledger in which each has an equal part.
struct Fleet {
    daemons: Vec<Game>,
    /// When each has last received an answer, and whether it is cut off.
    heard: Vec<(Duration, bool)>,
    rows: Vec<Row>,
    groups: Vec<Held>,
    names: Vec<GroupName>,
    time: Duration,
}

impl Fleet {
    fn of(daemons: u32, keys: &[KeySettings]) -> Self {
        let game = |n: u32| {
            let settings = PoolSettings { keys: arcs(keys.to_vec()), ..PoolSettings::default() };
            let mut game = Game::in_life(n, settings);
            game.pool.share_limits(true, game.now);
            game
        };
        let count = usize::try_from(daemons).unwrap();
        let mut fleet = Self {
            daemons: (0..daemons).map(game).collect(),
            heard: vec![(Duration::ZERO, false); count],
            rows: vec![Row::default(); count],
            groups: vec![Held::default(); keys.len()],
            names: keys.iter().map(|key| format!("key:{}", key.id).into()).collect(),
            time: Duration::ZERO,
        };
        (0..count).for_each(|n| fleet.sync(n, true));
        fleet
    }

    fn at(&self, n: usize, time: Duration) -> Instant {
        let now = self.daemons[n].now.at.as_nanos();
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap();
        Instant::from_nanos(now + nanos(time) - nanos(self.time))
    }

    fn part(&self) -> u64 {
        720_720 / self.daemons.len() as u64
    }

    fn withheld_from(&self, n: usize) -> Part {
        let withheld = |row: &Row| self.time > row.heard + LEASE || self.time < row.keep;
        let others = self.rows.iter().enumerate().filter(|(other, _)| *other != n);
        Part::of(self.part() * others.filter(|(_, row)| withheld(row)).count() as u64)
    }

    /// Daemon `n` says that it is alive; the answer may get lost.
    fn sync(&mut self, n: usize, is_answered: bool) {
        let was_alive = self.time <= self.rows[n].ends && !self.rows[n].is_unsure;
        let game = &mut self.daemons[n];
        let keep = self.time + game.pool.part_counts_for(game.now);
        let row = &mut self.rows[n];
        *row = Row { ends: self.time + LEASE, heard: row.heard.max(self.heard[n].0), ..*row };
        row.keep = row.keep.max(keep);
        row.is_unsure = !is_answered;
        if !is_answered {
            return;
        }
        self.heard[n].0 = self.time;
        if !was_alive {
            // Others have taken what it held meanwhile, or it is still its own.
            let lost = self.names.iter().zip(&self.groups);
            let lost: Vec<GroupName> = lost
                .filter(|(_, held)| held.holder != Some(n))
                .map(|(name, _)| name.clone())
                .collect();
            let game = &mut self.daemons[n];
            game.pool.handed_over(&lost, game.now);
        }
        let part = Part::of(self.part());
        let (others_until, ends) = (self.at(n, self.time + OTHERS), self.at(n, self.time + DAY));
        let terms = Terms {
            until: self.at(n, self.time + HELD),
            withheld: self.withheld_from(n),
            cut_off: Some(CutOff { part, others_until, ends }),
        };
        let game = &mut self.daemons[n];
        game.pool.agree(terms, game.now);
        if !was_alive {
            self.sync(n, true);
        }
    }

    /// Daemon `to` takes a group, if it is to be had.
    fn take(&mut self, group: usize, to: usize) {
        let name = self.names[group].clone();
        let mut doubted_until = None;
        if self.heard[to].1 || self.time > self.rows[to].ends {
            return;
        }
        match self.groups[group].holder {
            Some(from) if from == to => return,
            Some(from) if self.time > self.rows[from].ends => {
                doubted_until = Some(self.at(to, self.rows[from].ends));
                let withheld = self.withheld_from(to);
                let game = &mut self.daemons[to];
                game.pool.withhold(withheld, game.now);
            }
            Some(from) if self.heard[from].1 => return,
            Some(from) => {
                let game = &mut self.daemons[from];
                let (_, parcel) =
                    game.pool.hand_over(std::slice::from_ref(&name), game.now).remove(0);
                game.pool.handed_over(std::slice::from_ref(&name), game.now);
                self.groups[group].parcel = Some((parcel, self.time));
            }
            None => {}
        }
        let held = &mut self.groups[group];
        held.holder = Some(to);
        held.epoch += 1;
        let (epoch, lying) = (held.epoch, held.parcel.clone());
        let since = lying.as_ref().map_or(self.time, |(_, since)| *since);
        let handed_over = self.at(to, since);
        let parcel = lying.map(|(parcel, _)| parcel);
        let until = self.at(to, self.heard[to].0 + HELD);
        let taken = Taken { name, epoch, parcel, handed_over, doubted_until };
        let game = &mut self.daemons[to];
        game.pool.take_over(vec![taken], until, game.now);
    }

    /// Time passes, in which daemons say that they are alive.
    fn pass(&mut self, span: Duration) {
        let end = self.time + span;
        while self.time < end {
            let step = millis(700).min(end.saturating_sub(self.time));
            self.time += step;
            for n in 0..self.daemons.len() {
                self.daemons[n].pass(step);
                let (heard, is_cut_off) = self.heard[n];
                if !is_cut_off && self.time >= heard + BEAT {
                    self.sync(n, true);
                }
            }
        }
    }

    fn cut_off(&mut self, n: usize, is_cut_off: bool) {
        self.heard[n].1 = is_cut_off;
    }

    fn drain(&mut self, n: usize) -> usize {
        self.daemons[n].drain(&any())
    }
}

/// Two daemons of which the first holds the only key, with ten requests a minute.
fn two() -> Fleet {
    let mut fleet = Fleet::of(2, &[key("a").rpm(10)]);
    fleet.take(0, 0);
    fleet
}

#[test]
fn a_daemon_that_is_cut_off_uses_what_it_holds_in_full_and_then_in_part() {
    let mut fleet = two();
    fleet.cut_off(0, true);
    fleet.pass(seconds(10));
    assert_eq!(fleet.drain(0), 10);
    fleet.pass(seconds(60));
    assert_eq!(fleet.drain(0), 0, "what was granted in full counts");
    fleet.pass(seconds(1));
    assert_eq!(fleet.drain(0), 5);
    assert_eq!(fleet.daemons[0].pool.groups_in_part(), 1);
}

#[test]
fn what_others_hold_is_used_in_part_when_the_last_of_them_must_have_heard_of_it() {
    let mut fleet = two();
    fleet.cut_off(1, true);
    fleet.pass(seconds(91));
    assert_eq!(fleet.drain(1), 0);
    assert_eq!(fleet.drain(0), 5, "it is withheld");
    fleet.pass(millis(600));
    assert_eq!(fleet.drain(1), 5);
    fleet.pass(seconds(30));
    fleet.cut_off(1, false);
    fleet.pass(seconds(20));
    assert_eq!(fleet.drain(0), 0);
    fleet.pass(seconds(12));
    assert_eq!(fleet.drain(0), 5, "what was used in part counts");
    fleet.pass(seconds(61));
    assert_eq!(fleet.drain(0), 10);
}

#[test]
fn a_part_ends_after_a_day() {
    let mut fleet = two();
    fleet.cut_off(0, true);
    fleet.daemons[0].pass(DAY.saturating_sub(seconds(1)));
    assert_eq!(fleet.drain(0), 5);
    fleet.daemons[0].pass(seconds(99));
    assert_eq!(fleet.daemons[0].waits_for(any()), WaitsFor::OtherDaemon);
}

#[test]
fn a_group_with_a_limit_by_the_day_is_not_used_in_part() {
    let mut fleet = Fleet::of(2, &[key("a").rpm(10).rpd(100)]);
    fleet.take(0, 0);
    fleet.cut_off(0, true);
    fleet.pass(seconds(200));
    assert_eq!(fleet.daemons[0].waits_for(any()), WaitsFor::OtherDaemon);
}

#[test]
fn a_part_that_is_too_small_for_a_request_is_none() {
    let mut fleet = Fleet::of(3, &[key("a").rpm(2), key("b").rpm(30).tpm(300)]);
    fleet.take(0, 0);
    fleet.take(1, 0);
    fleet.cut_off(0, true);
    fleet.pass(seconds(20));
    assert_eq!(fleet.daemons[0].waits_for(of_tokens(101)), WaitsFor::OtherDaemon);
    assert_eq!(fleet.drain(0), 10);
}

#[test]
fn what_was_used_in_part_outlives_the_process() {
    let mut fleet = two();
    fleet.cut_off(1, true);
    fleet.pass(seconds(92));
    assert_eq!(fleet.drain(1), 5);
    let game = &mut fleet.daemons[1];
    let bytes = postcard::to_stdvec(&game.pool.snapshot()).unwrap();
    let saved: Saved = postcard::from_bytes(&bytes).unwrap();
    game.pool = Pool::restore(Arc::new(PlainCalendar), 7, saved).unwrap();
    game.pool.share_limits(true, game.now);
    game.pool.set_secret(&id("a"), None, game.now);
    assert_eq!(fleet.drain(1), 0);
    fleet.cut_off(1, false);
    fleet.pass(seconds(1));
    fleet.take(0, 1);
    assert_eq!(fleet.drain(1), 5);
}

#[derive(Clone, Debug)]
enum Step {
    Ask { daemon: usize, requests: usize },
    Take { group: usize, to: usize },
    CutOff { daemon: usize, is_cut_off: bool },
    LoseAnswer { daemon: usize },
    Pass(Duration),
}

fn steps() -> impl Generator<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_usize..3, 1_usize..9)
            .prop_map(|(daemon, requests)| Step::Ask { daemon, requests }),
        4 => (0_usize..2, 0_usize..3).prop_map(|(group, to)| Step::Take { group, to }),
        3 => (0_usize..3, prop::bool::ANY)
            .prop_map(|(daemon, is_cut_off)| Step::CutOff { daemon, is_cut_off }),
        1 => (0_usize..3).prop_map(|daemon| Step::LoseAnswer { daemon }),
        5 => (0_u64..20_000).prop_map(|span| Step::Pass(millis(span))),
        1 => (30_000_u64..90_000).prop_map(|span| Step::Pass(millis(span))),
    ];
    prop::collection::vec(step, 1..150)
}

fn play(steps: Vec<Step>) {
    let limits = [("a", 9), ("b", 20)];
    let keys = limits.map(|(name, rpm)| key(name).rpm(rpm));
    let mut fleet = Fleet::of(3, &keys);
    let mut grants: Vec<(usize, Duration)> = Vec::new();
    for step in steps {
        match step {
            Step::Ask { daemon, requests } => {
                for _ in 0..requests {
                    let Ok(lease) = fleet.daemons[daemon].ask(any()) else { break };
                    let group = usize::from(lease.key_id.as_str() == "b");
                    grants.push((group, fleet.time));
                    let recent = |(of, at): &&(usize, Duration)| {
                        *of == group && *at + seconds(60) > fleet.time
                    };
                    let used = grants.iter().filter(recent).count();
                    assert!(used as u64 <= limits[group].1, "{used} of {}", limits[group].0);
                }
            }
            Step::Take { group, to } => fleet.take(group, to),
            Step::CutOff { daemon, is_cut_off } => fleet.cut_off(daemon, is_cut_off),
            Step::LoseAnswer { daemon } => fleet.sync(daemon, false),
            Step::Pass(span) => fleet.pass(span),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn no_limit_is_passed_whoever_is_cut_off(steps in steps()) {
        play(steps);
    }
}

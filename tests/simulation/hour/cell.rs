//! One cell of the table: one policy under one kind of traffic against one kind of provider, event
//! by event in simulated time. Only the requests to the provider are real.

use std::collections::BTreeMap;
use std::time::Duration;

use keypool::clock::{Clock, ManualClock};
use keypool::pool::{Instant, Outcome, PoolSettings};

use super::figures::Figures;
use super::ideal::ideal;
use super::keys::{Key, example_settings, keys};
use super::policy::{Application, Attempt, Move, Policy};
use super::provider::{Enforcement, Random, SimulatedProvider};
use super::traffic::Traffic;
use super::wire::Wire;

/// The loads that are simulated, in percent of the limit of all keys together.
pub(crate) const LOADS: [u32; 4] = [50, 95, 100, 150];

/// What is left out of the figures at the beginning.
const WARM_UP: Duration = Duration::from_mins(3);

/// The same where there is something to learn first.
const LEARNING: Duration = Duration::from_mins(30);

/// What the figures are about.
const MEASURED: Duration = Duration::from_hours(1);

/// A request takes this many milliseconds from its grant to the provider's counter.
const DELAY: (u64, u64) = (20, 250);

/// One cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// How keys are used.
    pub(crate) policy: Policy,
    /// When requests come.
    pub(crate) traffic: Traffic,
    /// How many, in percent of the limit of all keys.
    pub(crate) load: u32,
    /// How the provider counts.
    pub(crate) enforcement: Enforcement,
    /// What decides everything that is random. Cells with the same seed, traffic and load see the
    /// same requests.
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrive(usize),
    Reach(Attempt),
    Retry(usize),
    Wake,
}

struct World {
    warm_up: Duration,
    clock: ManualClock,
    /// By time, and at one time in the order they were planned.
    plan: BTreeMap<(Instant, u64), Event>,
    planned: u64,
    application: Application,
    woken_at: Instant,
    delays: Random,
    /// When each request came, and its attempts so far.
    requests: Vec<(Instant, u32)>,
    figures: Figures,
}

impl Cell {
    /// Simulates it.
    pub(crate) fn run(self) -> Figures {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.expect("a runtime can be built").block_on(self.simulate())
    }

    /// What the same requests get from the best policy there is.
    pub(crate) fn ideal(self) -> Figures {
        let settings = example_settings();
        let keys = keys(&settings);
        let rpm = |key: &Key| usize::try_from(key.account.rpm).expect("limits are small");
        let rpms: Vec<usize> = keys.iter().map(rpm).collect();
        let figures = Figures::of_capacity(allowed(&keys, MEASURED));
        ideal(&rpms, settings.delay_guard, &self.arrivals(&keys), self.warm_up(), figures)
    }

    /// What is left out of the figures at the beginning.
    fn warm_up(self) -> Duration {
        match self.enforcement {
            Enforcement::EverySecond => LEARNING,
            Enforcement::FixedMinute | Enforcement::SlidingWindow | Enforcement::TokenBucket => {
                WARM_UP
            }
        }
    }

    /// When requests come, from the start of the simulation.
    fn arrivals(self, keys: &[Key]) -> Vec<Duration> {
        let load = usize::try_from(self.load).expect("a percentage");
        let offered = |span| allowed(keys, span) * load / 100;
        let span = self.warm_up();
        let warm_up = self.traffic.arrivals(offered(span), span, self.seed);
        let measured = self.traffic.arrivals(offered(MEASURED), MEASURED, !self.seed);
        warm_up.into_iter().chain(measured.into_iter().map(|time| span + time)).collect()
    }

    async fn simulate(self) -> Figures {
        let settings = example_settings();
        let keys = keys(&settings);
        let clock = ManualClock::default();
        let accounts = keys.iter().map(|key| key.account.clone());
        let provider = SimulatedProvider::new(
            Clock::Manual(clock.clone()),
            self.enforcement,
            accounts,
            self.seed,
        );
        let mut wire = Wire::to(&provider).await;
        let mut world = World::new(self, &settings, &keys, clock);
        while let Some(((at, _), event)) = world.plan.pop_first() {
            world.clock.advance_to(at);
            match event {
                Event::Reach(attempt) => {
                    let answer = wire.generate(&keys[attempt.key]).await;
                    world.note(attempt, answer.outcome);
                    let now = world.clock.now();
                    let moves = world.application.answered(attempt, &answer, now);
                    world.make(moves);
                }
                Event::Arrive(request) => {
                    let moves = world.application.arrive(request, world.clock.now());
                    world.make(moves);
                }
                Event::Retry(request) => {
                    let moves = world.application.retry(request, world.clock.now());
                    world.make(moves);
                }
                Event::Wake => {
                    world.woken_at = Instant::NEVER;
                    let moves = world.application.wake(world.clock.now());
                    world.make(moves);
                }
            }
        }
        let tally = provider.tally();
        assert_eq!(tally.rate_limited, world.figures.refusals_ever(), "every refusal was counted");
        assert_eq!(tally.unknown_key, 0, "the provider knows every key");
        world.figures
    }
}

impl World {
    fn new(cell: Cell, settings: &PoolSettings, keys: &[Key], clock: ManualClock) -> Self {
        let arrivals = cell.arrivals(keys);
        let start = clock.now();
        let mut world = Self {
            warm_up: cell.warm_up(),
            clock,
            plan: BTreeMap::new(),
            planned: 0,
            application: cell.policy.application(settings, start, cell.seed),
            woken_at: Instant::NEVER,
            delays: Random::new(!cell.seed),
            requests: arrivals.iter().map(|time| (start.at.plus(*time), 0)).collect(),
            figures: Figures::of_capacity(allowed(keys, MEASURED)),
        };
        for (request, &time) in arrivals.iter().enumerate() {
            world.plan(start.at.plus(time), Event::Arrive(request));
            if is_measured(time, cell.warm_up()) {
                world.figures.offered();
            }
        }
        world
    }

    fn plan(&mut self, at: Instant, event: Event) {
        self.plan.insert((at, self.planned), event);
        self.planned += 1;
    }

    /// Does what the application wants.
    fn make(&mut self, moves: Vec<Move>) {
        let now = self.clock.now();
        for step in moves {
            match step {
                Move::Send(attempt) => {
                    let delay = self.delays.millis(DELAY.0, DELAY.1);
                    self.requests[attempt.request].1 += 1;
                    self.plan(now.at.plus(delay), Event::Reach(attempt));
                }
                Move::Retry(request, at) => self.plan(at, Event::Retry(request)),
            }
        }
        let due = self.application.due(now);
        if due < self.woken_at {
            self.woken_at = due;
            self.plan(to_the_next_millisecond(due), Event::Wake);
        }
    }

    fn note(&mut self, attempt: Attempt, outcome: Outcome) {
        let now = self.clock.now().at.since(Instant::ZERO);
        let (arrived, attempts) = self.requests[attempt.request];
        let arrived = arrived.since(Instant::ZERO);
        match outcome {
            Outcome::Success => {
                if is_measured(now, self.warm_up) {
                    self.figures.granted();
                }
                if is_measured(arrived, self.warm_up) {
                    self.figures.served(now.saturating_sub(arrived), attempts == 1);
                }
            }
            Outcome::RateLimited(_) => self.figures.refused(is_measured(now, self.warm_up)),
            Outcome::AuthFailed
            | Outcome::ModelRefused
            | Outcome::EgressRefused
            | Outcome::ServerError
            | Outcome::Timeout
            | Outcome::ClientError
            | Outcome::Cancelled => panic!("the provider answered {outcome:?}"),
        }
    }
}

/// How many requests `keys` allow in `span`.
fn allowed(keys: &[Key], span: Duration) -> usize {
    let rpm: u64 = keys.iter().map(|key| key.account.rpm).sum();
    usize::try_from(rpm * span.as_secs() / 60).expect("a count")
}

/// Whether the figures are about what happens `at` that time after the start.
pub(crate) fn is_measured(at: Duration, warm_up: Duration) -> bool {
    (warm_up..warm_up + MEASURED).contains(&at)
}

/// The wall clock counts milliseconds; to advance by parts of one would make it run away from the
/// monotonic one.
fn to_the_next_millisecond(at: Instant) -> Instant {
    Instant::from_nanos(at.as_nanos().div_ceil(1_000_000).saturating_mul(1_000_000))
}

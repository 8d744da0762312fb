//! A fleet under load: time moves by hand, here, for the daemons and for Redis alike.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use keypool::clock::Clock;
use keypool::pool::{KeyId, KeySettings, SelectRequest, Selection};
use keypool::shared_quota::{LAYOUT, OnFailure};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::daemon::{Daemon, Plan, clock};
use super::home::{Home, POOL, Servers};
use super::provider::Provider;
use super::redis::Redis;

/// A fleet under load.
pub(crate) struct Trial {
    home: Home,
    pub(crate) redis: Redis,
    pub(crate) servers: Servers,
    pub(crate) daemons: Vec<Option<Daemon>>,
    clocks: Vec<keypool::clock::ManualClock>,
    plans: Vec<Plan>,
    timeouts: Option<(Duration, Duration)>,
    provider: Provider,
    /// Each at a daemon, with what it is given.
    waiting: FuturesUnordered<BoxFuture<'static, (usize, Option<KeyId>)>>,
    dirs: Vec<TempDir>,
    time: Duration,
    pub(crate) offered: u64,
    random: u64,
}

/// Where the daemon whose state is in `dir` looks for Redis.
fn link(dir: &TempDir) -> PathBuf {
    dir.path().join("redis.link")
}

/// In how many parts a clock is moved on.
const PARTS: u32 = 5;

/// One step of time.
pub(crate) const STEP: Duration = Duration::from_millis(500);

impl Trial {
    /// `daemons` with these keys, whose wall clocks differ by up to an hour.
    pub(crate) fn of(daemons: usize, keys: &[KeySettings], on_failure: OnFailure) -> Self {
        let mut trial = Self::before(Home::Redis, daemons, keys, on_failure);
        trial.start_all();
        trial
    }

    /// The same at the Redis of a kind.
    pub(crate) fn at(
        home: Home,
        daemons: usize,
        keys: &[KeySettings],
        on_failure: OnFailure,
    ) -> Self {
        let mut trial = Self::before(home, daemons, keys, on_failure);
        trial.start_all();
        trial
    }

    /// The same with daemons that wait no longer than this for Redis: a select, and anything else.
    pub(crate) fn with(
        home: Home,
        daemons: usize,
        keys: &[KeySettings],
        on_failure: OnFailure,
        timeouts: (Duration, Duration),
    ) -> Self {
        let mut trial = Self::before(home, daemons, keys, on_failure);
        trial.timeouts = Some(timeouts);
        if home == Home::Redis {
            trial.can_be_cut_off();
        }
        trial.start_all();
        trial
    }

    /// Has each daemon look for the socket of Redis in a place of its own.
    fn can_be_cut_off(&mut self) {
        for n in 0..self.plans.len() {
            self.plans[n].url = format!("unix://{}", link(&self.dirs[n]).display());
            self.join_the_network(n);
        }
    }

    fn start_all(&mut self) {
        for n in 0..self.plans.len() {
            self.start(n);
        }
    }

    /// Daemon `n` reaches Redis.
    pub(crate) fn join_the_network(&self, n: usize) {
        symlink(self.redis.socket(), link(&self.dirs[n])).unwrap();
    }

    /// Daemon `n` reaches Redis no more. The others lose their connections, but can make new ones.
    pub(crate) fn cut_off(&self, n: usize) {
        fs::remove_file(link(&self.dirs[n])).unwrap();
        self.redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    }

    /// How many requests have got no answer yet.
    pub(crate) fn unanswered(&mut self) -> usize {
        self.serve_waiting();
        self.waiting.len()
    }

    /// How many requests the provider has seen from daemon `n`.
    pub(crate) fn granted_by(&self, n: usize) -> u64 {
        self.provider.seen_of(n)
    }

    /// The same before any of them is started.
    pub(crate) fn before(
        home: Home,
        daemons: usize,
        keys: &[KeySettings],
        on_failure: OnFailure,
    ) -> Self {
        let (redis, servers, url) = home.start();
        let dirs: Vec<TempDir> = (0..daemons).map(|_| tempfile::tempdir().unwrap()).collect();
        let plan = |(n, dir): (usize, &TempDir)| Plan {
            keys: keys.to_vec(),
            url: url.clone(),
            pool: POOL.to_owned(),
            on_failure,
            dir: dir.path().to_owned(),
            epoch: u32::try_from(n).unwrap(),
            layout: LAYOUT,
            guard: home.guard(),
        };
        let plans: Vec<Plan> = dirs.iter().enumerate().map(plan).collect();
        let skew = |n: usize| i64::try_from(n % 3).unwrap() * 60 - 60;
        let clocks = (0..daemons).map(|n| clock(skew(n))).collect();
        let limits = keys.iter().map(|key| (key.id.clone(), key.limits.rpm.unwrap().get()));
        let provider = Provider::of(limits);
        Self {
            home,
            redis,
            servers,
            daemons: plans.iter().map(|_| None).collect(),
            clocks,
            plans,
            timeouts: None,
            provider,
            waiting: FuturesUnordered::new(),
            dirs,
            // Later than the clock of any Redis shows when it has begun.
            time: Duration::from_hours(490_909),
            offered: 0,
            random: 39,
        }
    }

    pub(crate) fn start(&mut self, n: usize) {
        let plan = &mut self.plans[n];
        plan.epoch += 1000;
        let (clock, runtime) = (&self.clocks[n], Handle::current());
        self.daemons[n] = Some(match self.timeouts {
            None => Daemon::start(plan, clock, &runtime),
            Some(timeouts) => Daemon::start_with(plan, timeouts, clock, &runtime),
        });
    }

    /// From its next start on, daemon `n` speaks another layout.
    pub(crate) fn speak(&mut self, n: usize, layout: u32) {
        self.plans[n].layout = layout;
    }

    pub(crate) fn daemon(&self, n: usize) -> &Daemon {
        self.daemons[n].as_ref().expect("it runs")
    }

    pub(crate) async fn kill(&mut self, n: usize) {
        if let Some(daemon) = self.daemons[n].take() {
            daemon.kill().await;
            self.serve_waiting();
            // Who waits has gone with the daemon.
            self.waiting.clear();
        }
    }

    /// Moves every clock on.
    pub(crate) async fn pass(&mut self, span: Duration) {
        // The clocks are moved one after the other: no step lets them differ by as much as the
        // guard, which covers no more.
        for _ in 0..PARTS {
            // What is granted is used before time moves on, however late the machine wakes a task.
            self.serve_waiting();
            self.time += span / PARTS;
            self.redis.clock().set(self.time);
            if self.home == Home::Valkey {
                self.redis.until_it_shows(self.time);
            }
            for clock in &self.clocks {
                clock.advance(span / PARTS);
            }
        }
        for daemon in self.daemons.iter().flatten() {
            daemon.advance();
        }
        self.settle().await;
    }

    /// Lets the daemons do what they have to do at this time. How long that takes the machine
    /// decides how much is granted, and not whether a limit holds. A machine that wakes sleepers
    /// late is busy, and gives them more time.
    pub(crate) async fn settle(&mut self) {
        const PAUSE: Duration = Duration::from_millis(4);
        for _ in 0..4 {
            let begun = Clock::System.instant();
            tokio::time::sleep(PAUSE).await;
            self.serve_waiting();
            if Clock::System.instant().since(begun) < PAUSE * 3 / 2 {
                return;
            }
        }
    }

    /// Waits until all daemons share, moving time.
    pub(crate) async fn join(&mut self) {
        while !self.daemons.iter().flatten().all(Daemon::is_joined) {
            self.pass(STEP).await;
        }
    }

    /// A request at daemon `n`, which waits for up to `patience`.
    pub(crate) fn ask(&mut self, n: usize, patience: Duration) {
        self.ask_for(n, SelectRequest::default(), patience);
    }

    /// The same for what `request` says.
    pub(crate) fn ask_for(&mut self, n: usize, request: SelectRequest, patience: Duration) {
        let Some(daemon) = &self.daemons[n] else { return };
        self.offered += 1;
        let asking = daemon.asking();
        match asking.begin(request, patience) {
            None => {}
            Some(Selection::Granted(lease)) => self.arrive(n, &asking.settle(&lease)),
            waiting => {
                let key = async move { (n, asking.end(waiting).await) };
                self.waiting.push(key.boxed());
            }
        }
    }

    /// Has those who waited use what they were given.
    fn serve_waiting(&mut self) {
        while let Some(Some((n, key))) = self.waiting.next().now_or_never() {
            if let Some(key) = key {
                self.arrive(n, &key);
            }
        }
    }

    /// A request of daemon `n` with `key` arrives at the provider.
    fn arrive(&mut self, n: usize, key: &KeyId) {
        self.provider.sees(n, key, self.clocks[0].now());
    }

    /// `span` of load: `per_minute` requests at daemons that `choose` picks from a random number.
    pub(crate) async fn load(
        &mut self,
        span: Duration,
        per_minute: f64,
        patience: Duration,
        choose: impl Fn(u64) -> usize,
    ) {
        let steps = span.as_millis() / STEP.as_millis();
        let per_step = per_minute * STEP.as_secs_f64() / 60.0;
        let mut owed = 0.0;
        for _ in 0..steps {
            owed += per_step;
            while owed >= 1.0 {
                owed -= 1.0;
                let n = choose(self.draw());
                self.ask(n, patience);
            }
            self.settle().await;
            self.pass(STEP).await;
        }
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.random >> 33
    }

    pub(crate) fn seen(&self) -> super::provider::Seen {
        self.provider.seen()
    }

    /// How often Redis was asked.
    pub(crate) fn calls(&self) -> u64 {
        let calls = |daemon: &Daemon| daemon.standing().calls.values().sum::<u64>();
        self.daemons.iter().flatten().map(calls).sum()
    }
}

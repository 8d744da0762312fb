//! One daemon of a fleet: a pool, what shares it, a clock of its own and a state that outlives it.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keypool::clock::{Clock, JiffCalendar, ManualClock};
use keypool::pool::{
    Instant, KeyId, KeySettings, Lease, Limits, Now, Outcome, Pool, PoolSettings, Report,
    ResetZone, SelectRequest, Selection, SharedPool, WallTime,
};
use keypool::secrets::Secret;
use keypool::shared_quota::{Fleet, Identity, OnFailure, Sharer, Sharing, Standing, Trouble};
use keypool::state::{self, StateKeeper};
use keypool::telemetry::{Journal, Metrics};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One daemon of a fleet.
pub(crate) struct Daemon {
    pub(crate) pool: Arc<SharedPool>,
    pub(crate) clock: ManualClock,
    keeper: Arc<StateKeeper>,
    sharer: Arc<Sharer>,
    stopping: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

/// What a daemon is made of, each time it is started.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) keys: Vec<KeySettings>,
    pub(crate) url: String,
    pub(crate) pool: String,
    pub(crate) on_failure: OnFailure,
    pub(crate) dir: PathBuf,
    pub(crate) epoch: u32,
    /// The layout of the ledger that it speaks.
    pub(crate) layout: u32,
    /// How long after its grant a use may count.
    pub(crate) guard: Duration,
}

/// A key with its limits.
pub(crate) fn key(id: &str, rpm: u64) -> KeySettings {
    KeySettings {
        id: KeyId::parse(id).unwrap(),
        provider: "gemini".into(),
        models: Vec::new(),
        limits: Limits { rpm: NonZeroU64::new(rpm), ..Limits::default() },
        quota_group: None,
        credential: id.into(),
        priority: None,
        workload: None,
        tags: std::collections::BTreeMap::new(),
        weight: NonZeroU64::MIN,
        active: true,
        reset_zone: ResetZone::new("UTC"),
    }
}

/// The clock of a daemon whose wall clock is wrong by so much.
pub(crate) fn clock(skew_minutes: i64) -> ManualClock {
    let noon = WallTime::from_millis(1_767_268_800_000);
    let wall = noon.shifted(skew_minutes * 60_000);
    ManualClock::at(Now { at: Instant::from_nanos(1_000_000_000_000), wall })
}

impl Daemon {
    /// Starts a daemon, which goes on with the state in its directory. However slow the machine is,
    /// it takes no Redis for dead that lives.
    pub(crate) fn start(plan: &Plan, clock: &ManualClock, runtime: &Handle) -> Self {
        let timeouts = (Duration::from_secs(1), Duration::from_secs(2));
        Self::start_with(plan, timeouts, clock, runtime)
    }

    /// Starts a daemon in which no select waits for longer than the first of the `timeouts`, and
    /// nothing else for longer than the second.
    pub(crate) fn start_with(
        plan: &Plan,
        timeouts: (Duration, Duration),
        clock: &ManualClock,
        runtime: &Handle,
    ) -> Self {
        let its_clock = Clock::Manual(clock.clone());
        let calendar: Arc<dyn keypool::pool::Calendar> = Arc::new(JiffCalendar);
        let opened = state::open(&plan.dir, &calendar, 1, plan.epoch, its_clock);
        let keeper = opened.keeper.expect("the directory can be written");
        let pool = opened.pool;
        if opened.continues {
            keeper.go_on(&pool);
        }
        let now = clock.now();
        pool.call(now, |pool, now| {
            pool.share_limits(true, now);
            let settings = PoolSettings {
                keys: plan.keys.iter().cloned().map(Arc::new).collect(),
                delay_guard: plan.guard,
                ..PoolSettings::default()
            };
            pool.reconfigure(settings, now);
            for key in &plan.keys {
                pool.set_secret(&key.id, None, now);
            }
        });
        if !opened.continues {
            keeper.snapshot(&pool);
        }
        let sharing = Sharing {
            redis_url: Secret::new(&plan.url),
            pool: plan.pool.clone(),
            on_failure: plan.on_failure,
            timeout: timeouts.0,
            redis_timeout: timeouts.1,
            layout: plan.layout,
        };
        let sharer = Sharer::new(
            sharing,
            Identity::of(Some(&plan.dir)),
            pool.clone(),
            Arc::new(Journal::default()),
            Arc::new(Metrics::new(now.wall)),
            opened.clock,
        );
        let stopping = CancellationToken::new();
        let task = runtime.spawn(sharer.clone().run(stopping.clone()));
        Self { pool, clock: clock.clone(), keeper, sharer, stopping, task }
    }

    /// What a caller of it has.
    pub(crate) fn asking(&self) -> Asking {
        let (pool, keeper) = (self.pool.clone(), self.keeper.clone());
        Asking { pool, keeper, clock: self.clock.clone() }
    }

    /// Lets what is due happen.
    pub(crate) fn advance(&self) {
        self.pool.call(self.clock.now(), Pool::advance);
        self.keeper.flush(&self.pool);
    }

    /// The fleet as it sees it.
    pub(crate) async fn fleet(&self) -> Result<Fleet, Trouble> {
        self.sharer.fleet().await
    }

    pub(crate) fn standing(&self) -> Standing {
        self.sharer.standing()
    }

    /// Whether it shares, and nothing keeps it from taking groups.
    pub(crate) fn is_joined(&self) -> bool {
        let standing = self.standing();
        standing.away.is_none() && !standing.learning && !standing.daemons.is_empty()
    }

    /// Stops it as a signal would: it hands over what it holds.
    pub(crate) async fn stop(self) {
        self.stopping.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it as `kill -9` would. The lock of its state ends with it.
    pub(crate) async fn kill(self) {
        self.task.abort();
        self.task.await.ok();
    }
}

/// A caller of a daemon.
pub(crate) struct Asking {
    pool: Arc<SharedPool>,
    keeper: Arc<StateKeeper>,
    clock: ManualClock,
}

impl Asking {
    /// Asks for a key: at once, or as soon as another daemon gives one.
    pub(crate) async fn ask(&self, request: SelectRequest, wait: Duration) -> Option<KeyId> {
        let asked = self.begin(request, wait);
        self.end(asked).await
    }

    /// Asks for a key.
    pub(crate) fn begin(&self, request: SelectRequest, wait: Duration) -> Option<Selection> {
        let wait = (!wait.is_zero()).then_some(wait);
        self.pool.call(self.clock.now(), |pool, now| pool.select(request, wait, now)).0.ok()
    }

    /// What came of it.
    pub(crate) async fn end(&self, asked: Option<Selection>) -> Option<KeyId> {
        let lease = match asked? {
            Selection::Granted(lease) => lease,
            Selection::Waiting(waiter) => self.pool.wait_for(waiter).await.ok()?,
        };
        Some(self.settle(&lease))
    }

    /// Has used a key.
    pub(crate) fn settle(&self, lease: &Lease) -> KeyId {
        self.keeper.flush(&self.pool);
        self.pool.call(self.clock.now(), |pool, now| {
            pool.report(lease.id, &Report::of(Outcome::Success), now).ok();
        });
        self.keeper.flush(&self.pool);
        lease.key_id.clone()
    }
}

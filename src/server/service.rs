//! What every endpoint works with.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::callers::Callers;
use super::exporter::MetricsAddress;
use super::hygiene::RequiredHeader;
use super::problem::Problem;
use super::turns::ClientTurns;
use crate::clock::Clock;
use crate::control::Controls;
use crate::health::{Probes, Probing};
use crate::pool::{
    KeyChanges, KeySettings, KeyView, Now, Pool, Revision, SharedPool, Transition, WallTime,
};
use crate::provider::{AuthHeader, Provider};
use crate::secrets::{Keyring, RemoteSecrets};
use crate::shared_quota::Sharer;
use crate::state::StateKeeper;
use crate::telemetry::{Journal, Metrics};
use crate::watch::Mode;

/// How many keys are read or changed before others have their turn: some 50 µs.
const KEYS_AT_ONCE: usize = 100;

/// What every endpoint works with.
#[derive(Debug)]
pub struct Service {
    /// The pool.
    pub pool: Arc<SharedPool>,
    /// Keeps the state of the pool, if anything does.
    pub keeper: Option<Arc<StateKeeper>>,
    /// The secrets of its keys.
    pub keyring: Arc<Keyring>,
    /// Those of other machines, as far as they are known.
    pub remote_secrets: Arc<RemoteSecrets>,
    /// What shares the quota with other daemons, if anything does.
    pub sharer: Option<Arc<Sharer>>,
    /// What has happened.
    pub journal: Arc<Journal>,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
    /// Where metrics are served over TCP.
    pub metrics_address: MetricsAddress,
    /// The time.
    pub clock: Clock,
    /// What is configured.
    pub configuration: Configuration,
    /// What is probed and how.
    pub probing: watch::Sender<Arc<Probing>>,
    /// Where to ask for a probe now.
    pub probes: Probes,
    /// How the files of the configuration are watched.
    pub watched: watch::Receiver<Mode>,
    /// Where to ask for a reload.
    pub controls: Controls,
    /// Who may call, and who may administer.
    pub callers: Callers,
    /// A header without which every request is refused.
    pub required_header: Option<RequiredHeader>,
    /// When the daemon was started.
    pub started: Now,
    /// Cancelled as soon as the daemon is to stop: what has begun may end.
    pub stopping: CancellationToken,
    /// Cancelled when no request needs the quota of other daemons any more.
    pub sharing_ends: CancellationToken,
    /// The tasks of connections and live streams.
    pub tasks: TaskTracker,
    /// Cancelled when waiting requests must end.
    pub closing: CancellationToken,
}

impl Service {
    /// Calls the pool, and counts and journals what the call has changed.
    pub fn call<T>(&self, call: impl FnOnce(&mut Pool, Now) -> T) -> T {
        let (result, transitions) = self.pool.call(self.clock.now(), call);
        self.publish(transitions);
        result
    }

    /// The same for one request of many: what it has changed is written together with what others
    /// change in the same round.
    pub(super) async fn call_among<T>(
        &self,
        turns: &ClientTurns,
        call: impl FnOnce(&mut Pool, Now) -> T,
    ) -> T {
        let (result, transitions) = self.pool.call(self.clock.now(), call);
        if !transitions.is_empty() {
            self.publish(transitions);
        } else if let Some(keeper) = &self.keeper {
            let moment = keeper.moment();
            turns.join_others().await;
            keeper.flush_until(moment, &self.pool);
        }
        result
    }

    /// Has `work` done aside, where it keeps no request waiting: with many keys it takes a while.
    pub(super) async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let own = self.clone();
        let done = self.tasks.spawn_blocking(move || work(&own));
        done.await.map_err(|_| Problem::internal())
    }

    /// Calls the pool for every key, some at a time: who wants a key comes in between. Each key is
    /// of one moment, and all of them are not.
    pub(super) fn call_for_keys(&self, mut call: impl FnMut(&mut Pool, &[Arc<KeySettings>], Now)) {
        let settings = self.pool.settings();
        for some in settings.keys.chunks(KEYS_AT_ONCE) {
            self.call_in_turn(|pool, now| call(pool, some, now));
        }
    }

    /// Has the pool take another configuration, some keys at a time as far as it can be.
    pub fn revise(&self, revision: &mut Revision) -> KeyChanges {
        loop {
            let revise = |pool: &mut Pool, now| pool.revise_some(revision, KEYS_AT_ONCE, now);
            if let Some(changes) = self.call_in_turn(revise) {
                return changes;
            }
        }
    }

    /// The same as [`Service::call`] for who calls again and again: others have their turn in
    /// between.
    pub fn call_in_turn<T>(&self, call: impl FnOnce(&mut Pool, Now) -> T) -> T {
        let (result, transitions) = self.pool.call_in_turn(self.clock.now(), call);
        self.publish(transitions);
        std::thread::yield_now();
        result
    }

    /// Lets others hear of what a call has changed, once that is kept.
    fn publish(&self, transitions: Vec<Transition>) {
        self.keep();
        self.metrics.changed(&transitions);
        self.journal.record(transitions);
    }

    /// What `read` makes of every key.
    pub fn read_keys<T>(&self, mut read: impl FnMut(&KeyView<'_>) -> T) -> Vec<T> {
        let mut all = Vec::new();
        self.call_for_keys(|pool, keys, now| {
            for key in keys {
                all.extend(pool.key(key.id.as_str(), now).map(|view| read(&view)));
            }
        });
        all
    }

    /// Once this returns, whatever the caller knows of the pool survives the end of the process.
    pub fn keep(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.flush(&self.pool);
        }
    }

    /// Whether the daemon is about to stop.
    pub fn is_draining(&self) -> bool {
        self.stopping.is_cancelled()
    }
}

/// What is configured, as of the last reload.
#[derive(Debug)]
pub struct Configuration(RwLock<Arc<Configured>>);

/// One state of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// Grows by one with every configuration that is taken.
    pub generation: u64,
    /// Whether keys rotate.
    pub rotation: bool,
    /// Why they do or don't.
    pub rotation_why: String,
    /// Where the keys are from.
    pub source: String,
    /// How many keys there are.
    pub keys: usize,
    /// When the configuration was last read.
    pub loaded_at: WallTime,
    /// What came of it, in a word: [`ReloadOutcome::name`](crate::control::ReloadOutcome::name).
    pub result: &'static str,
    /// Why the last one was not taken.
    pub errors: Vec<String>,
    /// What is odd about the last one.
    pub warnings: Vec<String>,
    /// Settings that are written otherwise than they are in use, because they need a restart.
    pub needs_restart: Vec<&'static str>,
    /// The longest a select may wait.
    pub wait_max: Duration,
    /// The headers that carry keys, by provider, where they are not the usual ones.
    pub auth_headers: AuthHeaders,
}

/// Headers that carry keys, by provider.
pub type AuthHeaders = BTreeMap<String, AuthHeader>;

impl Configuration {
    /// Begins with `configured`.
    pub fn new(configured: Configured) -> Self {
        Self(RwLock::new(Arc::new(configured)))
    }

    /// The present state.
    pub fn current(&self) -> Arc<Configured> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes another state of the present one.
    pub fn update(&self, next: impl FnOnce(&Configured) -> Configured) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(next(&current));
    }
}

impl Configured {
    /// The header that carries the keys of `provider`.
    pub fn auth_header(&self, provider: &str) -> AuthHeader {
        let chosen = self.auth_headers.get(provider).cloned();
        chosen.unwrap_or_else(|| Provider::named(provider).auth_header())
    }
}

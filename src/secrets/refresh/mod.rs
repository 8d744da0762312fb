//! Keeps the secrets of remote stores: fetches what keys want, fetches it anew in time, and says
//! what may serve meanwhile.
//!
//! [`RemoteSecrets`] is asked from anywhere and never waits for a store. Its `run` is the only
//! place that talks to stores: at most [`AT_ONCE`] questions at a time, one per secret, and one per
//! store while that is away. What to do when is decided in `freshness`, `gate` and `table`, which
//! are told the time.

mod freshness;
mod gate;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::remote::{Failure, RemoteRef, RemoteStore, RemoteStores, Version};
use super::store::{Fetched, MissingSecret, Place, Why};
use crate::clock::Clock;
use crate::pool::{Instant, KeyId};
use crate::telemetry::metrics::LastRead;
use crate::telemetry::{Metrics, span};

pub use freshness::RefreshRules;
use gate::Moved;
pub use table::StoreState;
use table::{Known, Learnt, Table};

/// How many questions are under way at most.
const AT_ONCE: usize = 8;

/// The secrets of remote stores that keys want.
#[derive(Debug)]
pub struct RemoteSecrets {
    clock: Clock,
    kept: Mutex<Kept>,
    /// Something else is wanted, or somebody is in a hurry.
    asked: Notify,
    /// Counts how often an answer of [`RemoteSecrets::find`] has changed.
    news: watch::Sender<u64>,
    /// Where fetches are counted, if they are.
    metrics: Option<Arc<Metrics>>,
}

#[derive(Debug)]
struct Kept {
    table: Table,
    /// What each key wants.
    keys: BTreeMap<KeyId, RemoteRef>,
    rules: RefreshRules,
    stores: Option<Arc<RemoteStores>>,
}

impl RemoteSecrets {
    /// Keeps nothing yet.
    pub fn new(clock: Clock) -> Self {
        let rules = RefreshRules { every: Duration::MAX, max_stale: Duration::MAX };
        let kept = Kept { table: Table::new(rules), keys: BTreeMap::new(), rules, stores: None };
        let (asked, news) = (Notify::new(), watch::Sender::default());
        Self { clock, kept: Mutex::new(kept), asked, news, metrics: None }
    }

    /// The same, with every fetch counted in `metrics`.
    #[must_use]
    pub fn counted_in(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// From now on keeps what `wanted` says that each key wants, and no others. With other stores than before everything is
    /// fetched anew, and what was fetched serves meanwhile.
    pub fn want(
        &self,
        wanted: BTreeMap<KeyId, RemoteRef>,
        stores: &Arc<RemoteStores>,
        rules: RefreshRules,
    ) {
        let now = self.clock.now().at;
        let mut kept = self.kept();
        let references: BTreeSet<_> = wanted.values().cloned().collect();
        kept.table.want(references, rules);
        (kept.keys, kept.rules) = (wanted, rules);
        if !kept.stores.as_ref().is_some_and(|old| Arc::ptr_eq(old, stores)) {
            kept.stores = Some(Arc::clone(stores));
            kept.table.stores_changed(now);
        }
        drop(kept);
        self.asked.notify_one();
    }

    /// The secret of `reference` as far as it is known.
    pub fn find(&self, reference: &RemoteRef) -> Result<Fetched, MissingSecret> {
        let now = self.clock.now();
        let kept = self.kept();
        let why = match kept.table.known(reference, now.at) {
            Known::Serves(Version { secret, changed_at }) => {
                let place = Place::Remote(reference.clone());
                let (secret, changed_at) = (secret.clone(), *changed_at);
                return Ok(Fetched { secret, place, changed_at, warnings: Vec::new() });
            }
            Known::Lost { fetched_at, failure } => {
                let age = span(now.at.since(fetched_at));
                why(Some(failure), format!("{failure}; it was last fetched {age} ago"))
            }
            Known::Failed(failure) => why(Some(failure), failure.to_string()),
            Known::NotYet => why(None, "has not been fetched yet".to_owned()),
        };
        Err(MissingSecret { looked_up: reference.to_string(), why })
    }

    /// Somebody has reason to think that a secret is another one by now: it is fetched at once.
    pub fn hurry(&self, reference: &RemoteRef) {
        self.kept().table.hurry(reference, self.clock.now().at);
        self.asked.notify_one();
    }

    /// Wakes whenever an answer of [`RemoteSecrets::find`] has changed.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// When the secret of each key was last fetched, where it was.
    pub fn last_read(&self) -> Vec<(KeyId, LastRead)> {
        let kept = self.kept();
        let max_stale = Some(kept.rules.max_stale);
        let last = |(key, reference): (&KeyId, &RemoteRef)| {
            let at = kept.table.fetched_at(reference)?;
            Some((key.clone(), LastRead { at, max_stale }))
        };
        kept.keys.iter().filter_map(last).collect()
    }

    /// How the stores are of which keys want secrets.
    pub fn stores(&self) -> Vec<(RemoteStore, StoreState)> {
        let now = self.clock.now().at;
        let kept = self.kept();
        let state = |store| Some((store, kept.table.store(store, now)?));
        RemoteStore::ALL.into_iter().filter_map(state).collect()
    }

    /// How many secrets have been asked for, or cannot be because their store is away; and how
    /// many there are.
    pub fn tried(&self) -> (usize, usize) {
        self.kept().table.tried()
    }

    /// Fetches until `stopping` is cancelled. What is under way then is given up.
    pub async fn run(self: Arc<Self>, stopping: CancellationToken) -> io::Result<()> {
        let mut under_way = JoinSet::new();
        let mut tending = JoinSet::new();
        loop {
            let now = self.clock.now().at;
            let (begun, stores, wakes_at) = {
                let mut kept = self.kept();
                if kept.table.expire(now) {
                    self.tell();
                }
                let begun = kept.table.begin(AT_ONCE - under_way.len(), now);
                (begun, kept.stores.clone(), kept.table.wakes_at())
            };
            let tend_at = stores.as_ref().and_then(|stores| stores.due());
            if let Some(stores) = stores {
                for reference in begun {
                    under_way.spawn(fetch(Arc::clone(&stores), reference, now));
                }
                if tending.is_empty() && tend_at.is_some_and(|at| at <= now) {
                    tending.spawn(async move { stores.tend().await });
                }
            }
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = self.asked.notified() => {}
                Some(ended) = under_way.join_next() => self.end(ended.map_err(io::Error::other)?),
                Some(ended) = tending.join_next() => ended.map_err(io::Error::other)?,
                () = self.clock.sleep_until(wakes_at), if under_way.len() < AT_ONCE => {}
                () = self.clock.sleep_until(tend_at.unwrap_or(Instant::NEVER)),
                    if tending.is_empty() && tend_at.is_some_and(|at| at > now) => {}
            }
        }
    }

    fn end(&self, answer: Answer) {
        let Answer { reference, begun, result } = answer;
        let store = reference.store;
        let failure = result.as_ref().err().cloned();
        let Learnt { refresh, news, moved } =
            self.kept().table.end(&reference, begun, result, chance(), self.clock.now().at);
        tracing::debug!(%reference, outcome = refresh.name(), "asked a store for a secret");
        if let Some(metrics) = &self.metrics {
            metrics.secret_refreshed(store.name(), refresh);
        }
        match (moved, failure) {
            (Moved::Closed, Some(failure)) => {
                tracing::warn!("the store {} is away: {reference} {failure}", store.name());
            }
            (Moved::Opened { since }, _) => {
                let away = span(self.clock.now().at.since(since));
                tracing::info!("the store {} is back after {away}", store.name());
            }
            (Moved::Closed | Moved::Not, _) => {}
        }
        if news {
            self.tell();
        }
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn why(failure: Option<&Failure>, text: String) -> Why {
    Why::Remote { class: failure.map(|failure| failure.class), text }
}

/// What a store has answered.
struct Answer {
    reference: RemoteRef,
    begun: Instant,
    result: Result<Version, Failure>,
}

async fn fetch(stores: Arc<RemoteStores>, reference: RemoteRef, begun: Instant) -> Answer {
    let result = stores.fetch(&reference).await.and_then(|version| match version.secret.usable() {
        Ok(()) => Ok(version),
        Err(unusable) => Err(Failure::unusable(unusable.to_string())),
    });
    Answer { reference, begun, result }
}

/// A random number from 0 to 1.
fn chance() -> f64 {
    // Every RandomState hashes differently.
    let random = RandomState::new().hash_one(0);
    #[expect(clippy::cast_precision_loss, reason = "a random number may be rounded")]
    let part = random as f64 / u64::MAX as f64;
    part
}

//! The journal: every change of the pool as one log line and one event, and every reload that
//! changes something as an event.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};
use tokio::sync::broadcast;
use tracing::{debug, info, warn};

use super::words::Told;
use crate::clock::rfc3339;
use crate::pool::{Change, KeyId, Lease, Transition, WallTime};

/// How many events are kept for `GET /v1/events`.
const KEPT: usize = 1000;

/// How far a live reader may fall behind before it misses events.
const LAG: usize = 256;

/// Every change of the pool, for the log, for `GET /v1/events` and for live readers.
#[derive(Debug)]
pub struct Journal {
    events: Mutex<Events>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Events {
    last_id: u64,
    kept: VecDeque<Arc<Event>>,
}

/// One change, as `GET /v1/events` tells it. A thousand are kept, so it takes little room: what
/// the pool has is shared with it, and what is text only for people is no text yet.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Event {
    /// Grows by one from event to event.
    pub id: u64,
    /// When it happened.
    pub time: EventTime,
    /// What happened: `cooling`, `rotated`, …
    pub event: &'static str,
    /// The key it happened to, or the first of its group; absent if it is of no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<KeyId>,
    /// The key's provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Arc<str>>,
    /// Every key it happened to, where there can be several.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub keys: Box<[KeyId]>,
    /// The key of the attempt that failed before a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<KeyId>,
    /// Why, in a word or in the provider's codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<EventTime>,
    /// All of that in a line for people.
    pub message: Box<str>,
}

/// A time that becomes text when somebody asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventTime(pub WallTime);

impl Serialize for EventTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self { events: Mutex::default(), live: broadcast::Sender::new(LAG) }
    }
}

impl Journal {
    /// Takes note of what a call of the pool has changed.
    pub fn record(&self, transitions: Vec<Transition>) {
        for transition in transitions {
            let told = Told::of(&transition);
            log(&transition, &told);
            let key = Some((&transition.key, &transition.provider));
            self.tell(transition.at, transition.change.name(), key, told);
        }
    }

    /// Takes note of what a reload has come to, in words that the log has already.
    pub fn reloaded(&self, at: WallTime, news: ReloadNews) {
        let ReloadNews { name, message, keys } = news;
        let told = Told { message, keys, ..Told::default() };
        self.tell(at, name, None, told);
    }

    /// Takes note of a grant, in the log alone: there are too many for events.
    pub fn selected(&self, lease: &Lease) {
        debug!(key_id = %lease.key_id, lease_id = %lease.id, attempt = lease.attempt, "selected");
    }

    /// The last `limit` events, newest first.
    pub fn latest(&self, limit: usize) -> Vec<Arc<Event>> {
        self.lock().kept.iter().rev().take(limit).cloned().collect()
    }

    /// Every event from now on.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Event>> {
        self.live.subscribe()
    }

    fn tell(&self, at: WallTime, name: &'static str, key: Option<(&KeyId, &Arc<str>)>, told: Told) {
        let mut events = self.lock();
        events.last_id += 1;
        let event = Arc::new(Event {
            id: events.last_id,
            time: EventTime(at),
            event: name,
            key_id: key.map(|(id, _)| id.clone()),
            provider: key.map(|(_, provider)| provider.clone()),
            keys: told.keys.into(),
            from: told.from,
            reason: told.reason.map(Into::into),
            until: told.until.map(EventTime),
            message: told.message.into(),
        });
        events.kept.push_back(event.clone());
        if events.kept.len() > KEPT {
            events.kept.pop_front();
        }
        // Under the lock, so that live readers see events in their order; without a live reader
        // there is nobody to send to.
        self.live.send(event).ok();
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reload has come to, for people who follow events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReloadNews {
    /// The name of the event: `reloaded`, `reload_failed` or `restart_needed`.
    pub name: &'static str,
    /// In a line for people.
    pub message: String,
    /// The keys that came, went or changed.
    pub keys: Vec<KeyId>,
}

/// Bad news is a warning.
fn log(transition: &Transition, told: &Told) {
    let key_id = transition.key.as_str();
    let reason = told.reason.as_deref();
    match &transition.change {
        Change::Cooling { .. }
        | Change::Dead { .. }
        | Change::ModelRefused { .. }
        | Change::SecretMissing { .. }
        | Change::QuotaWarning { .. }
        | Change::LimitLearnt { .. }
        | Change::ProviderDown { .. }
        | Change::LeaseExpired { .. } => warn!(key_id, reason, "{}", told.message),
        Change::HalfOpen { .. }
        | Change::Recovered { .. }
        | Change::Cleared { .. }
        | Change::Revived { .. }
        | Change::SecretFound
        | Change::SecretChanged
        | Change::ProviderUp
        | Change::Rotated { .. } => info!(key_id, reason, "{}", told.message),
    }
}

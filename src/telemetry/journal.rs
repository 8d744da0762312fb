//! The journal: every change of the pool as one log line and one event, and every reload that
//! changes something as an event.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
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

/// One change, as `GET /v1/events` tells it. A thousand are kept, so it is written once and takes
/// no more room than its text.
#[derive(Clone, Debug)]
pub struct Event {
    /// Grows by one from event to event.
    pub id: u64,
    /// What happened: `cooling`, `rotated`, …
    pub event: &'static str,
    /// The key it happened to, or the first of its group; none if it is of no key.
    pub key_id: Option<KeyId>,
    /// All of it, as a JSON object.
    pub json: Box<RawValue>,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

/// The members of an event.
#[derive(Serialize)]
struct Members<'a> {
    id: u64,
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a KeyId>,
    /// The key's provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    /// Every key it happened to, where there can be several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyId>,
    /// The key of the attempt that failed before a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<KeyId>,
    /// Why, in a word or in the provider's codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// All of that in a line for people.
    message: String,
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
        let id = events.last_id;
        let members = Members {
            id,
            time: rfc3339(at),
            event: name,
            key_id: key.map(|(id, _)| id),
            provider: key.map(|(_, provider)| &**provider),
            keys: told.keys,
            from: told.from,
            reason: told.reason,
            until: told.until.map(rfc3339),
            message: told.message,
        };
        // Texts and numbers can be written.
        let json = to_raw_value(&members).unwrap_or_default();
        let key_id = members.key_id.cloned();
        let event = Arc::new(Event { id, event: name, key_id, json });
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

//! `GET /v1/keys` and `GET /v1/keys/{id}`: every key as it is now.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::Response;
use serde::Serialize;

use super::answer::{Body, json};
use super::problem::{Problem, waiting_for};
use super::service::Service;
use crate::clock::rfc3339;
use crate::pool::{self, KeyState, KeyView, LimitView};

#[derive(Serialize)]
struct Keys {
    keys: Vec<Key>,
}

/// A key as it is now.
#[derive(Serialize)]
pub(super) struct Key {
    key_id: String,
    provider: String,
    model: Vec<String>,
    priority: Option<u64>,
    workload_type: Option<String>,
    tags: BTreeMap<String, String>,
    quota_group: Option<String>,
    state: &'static str,
    reason: Option<String>,
    until: Option<String>,
    half_open: bool,
    backoff_level: u32,
    pace: Option<Pace>,
    quota: BTreeMap<&'static str, Limit>,
    in_flight: usize,
    grants: u64,
    success_count: u64,
    error_count: u64,
    tokens: u64,
    last_used: Option<String>,
    last_error: Option<LastError>,
    consecutive_failures: u64,
    last_probe: Option<LastProbe>,
}

/// A pace that was learnt from refusals.
#[derive(Serialize)]
struct Pace {
    burst: u64,
    spacing_ms: u64,
}

#[derive(Serialize)]
struct Limit {
    limit: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_limit: Option<u64>,
    used: u64,
    remaining: u64,
    resets_at: Option<String>,
}

#[derive(Serialize)]
struct LastError {
    time: String,
    error: String,
}

/// What the provider said when it was last asked about the key.
#[derive(Serialize)]
struct LastProbe {
    time: String,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    duration_ms: u128,
}

/// Every key, in the order of the configuration.
pub(super) async fn all(service: &Arc<Service>) -> Result<Response<Body>, Problem> {
    service.aside(|service| json(&Keys { keys: service.read_keys(key) })).await
}

/// One key.
pub(super) fn one(service: &Service, id: &str) -> Result<Response<Body>, Problem> {
    found(service, id).map(|key| json(&key)).ok_or_else(|| no_such(service))
}

/// The key `id`, if there is one.
pub(super) fn found(service: &Service, id: &str) -> Option<Key> {
    service.call(|pool, now| pool.key(id, now).map(|view| key(&view)))
}

/// The state of the key `id`, if there is one.
pub(super) fn state(service: &Service, id: &str) -> Option<&'static str> {
    service.call(|pool, now| pool.key(id, now).map(|view| view.state.name()))
}

/// There is no such key; these are there.
pub(super) fn no_such(service: &Service) -> Problem {
    let settings = service.pool.settings();
    Problem::no_such_key(settings.keys.iter().map(|key| key.id.to_string()).collect())
}

fn key(view: &KeyView<'_>) -> Key {
    let settings = view.settings;
    let record = view.record;
    let limit = |limit: &LimitView| Limit {
        limit: limit.limit,
        provider_limit: limit.provider_limit,
        used: limit.used,
        remaining: limit.remaining(),
        resets_at: limit.resets_at.map(rfc3339),
    };
    Key {
        key_id: settings.id.to_string(),
        provider: settings.provider.to_string(),
        model: settings.models.iter().map(ToString::to_string).collect(),
        priority: settings.priority,
        workload_type: settings.workload.as_deref().map(str::to_owned),
        tags: settings.tags.clone(),
        quota_group: settings.quota_group.as_deref().map(str::to_owned),
        state: view.state.name(),
        reason: reason(&view.state),
        until: view.state.until().map(rfc3339),
        half_open: view.half_open,
        backoff_level: view.backoff_level,
        pace: view.pace.map(|pace| Pace {
            burst: pace.burst,
            spacing_ms: u64::try_from(pace.spacing.as_millis()).unwrap_or(u64::MAX),
        }),
        quota: view.quota.iter().map(|view| (view.kind.name(), limit(view))).collect(),
        in_flight: view.in_flight,
        grants: record.total.grants,
        success_count: record.total.successes,
        error_count: record.total.errors,
        tokens: record.total.tokens,
        last_used: record.last_used.map(rfc3339),
        last_error: record
            .last_error
            .as_ref()
            .map(|error| LastError { time: rfc3339(error.at), error: error.what.to_string() }),
        consecutive_failures: record.consecutive_failures,
        last_probe: view.last_probe.map(last_probe),
    }
}

fn last_probe(probe: &pool::LastProbe) -> LastProbe {
    LastProbe {
        time: rfc3339(probe.at),
        result: probe.verdict.name(),
        detail: probe.verdict.detail().map(str::to_owned),
        duration_ms: probe.took.as_millis(),
    }
}

fn reason(state: &KeyState) -> Option<String> {
    match state {
        KeyState::Ready | KeyState::Inactive => None,
        KeyState::Exhausted { waits_for, .. } => waits_for.map(|what| waiting_for(what).to_owned()),
        KeyState::Cooling { reason, .. } => Some((*reason).to_owned()),
        KeyState::Dead(detail) => Some(detail.to_string()),
        KeyState::MissingSecret(reason) => Some(reason.to_string()),
    }
}

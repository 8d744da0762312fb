//! `GET /v1/status`: the daemon at a glance.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::Response;
use serde::Serialize;

use super::answer::{Body, json};
use super::exporter::MetricsAddress;
use super::service::{Configured, Service};
use crate::clock::rfc3339;
use crate::pool::{KeyState, Now, Pool};
use crate::secrets::StoreState;
use crate::watch::Mode;

#[derive(Serialize)]
struct Status {
    ready: bool,
    rotation: Rotation,
    strategy: &'static str,
    last_key: Option<String>,
    keys: BTreeMap<&'static str, usize>,
    capacity: Capacity,
    waiting: usize,
    providers: BTreeMap<String, Provider>,
    configuration: Loaded,
    secret_stores: BTreeMap<&'static str, SecretStore>,
    shared_quota: SharedQuota,
    state_file: State,
    metrics: Metrics,
    version: &'static str,
    pid: u32,
    started_at: String,
    uptime_seconds: u64,
}

#[derive(Serialize)]
struct Rotation {
    on: bool,
    why: String,
}

/// Requests a minute; null where a key has no limit.
#[derive(Serialize)]
struct Capacity {
    rpm: Option<u64>,
    models: BTreeMap<String, Option<u64>>,
}

/// Whether a provider works.
#[derive(Serialize)]
struct Provider {
    breaker_open: bool,
    until: Option<String>,
}

#[derive(Serialize)]
struct Loaded {
    generation: u64,
    source: String,
    watch: &'static str,
    last_reload: String,
    result: &'static str,
    errors: Vec<String>,
    warnings: Vec<String>,
    needs_restart: Vec<&'static str>,
}

/// A store of secrets on other machines.
#[derive(Serialize)]
struct SecretStore {
    secrets: usize,
    serving: usize,
    stale: usize,
    away_since: Option<String>,
    error: Option<String>,
}

/// How quota is shared with other daemons, if it is.
#[derive(Default, Serialize)]
struct SharedQuota {
    on: bool,
    up: bool,
    error: Option<String>,
    away_since: Option<String>,
    other_layout: Option<u32>,
    on_failure: Option<&'static str>,
    holds: Option<&'static str>,
    part: f64,
    withheld: f64,
    mode: Option<&'static str>,
    learning: bool,
    daemon: Option<String>,
    daemons: usize,
    groups: usize,
    owned_groups: usize,
}

/// Where the state is kept, if it is, and whether it can be written.
#[derive(Default, Serialize)]
struct State {
    on: bool,
    directory: Option<String>,
    error: Option<String>,
    write_errors: u64,
}

/// Where metrics are served over TCP, if they are, and why they cannot be.
#[derive(Serialize)]
struct Metrics {
    on: bool,
    address: Option<String>,
    error: Option<String>,
}

/// What the pool says of itself.
struct Glance {
    strategy: &'static str,
    last_key: Option<String>,
    keys: BTreeMap<&'static str, usize>,
    capacity: Capacity,
    waiting: usize,
    providers: BTreeMap<String, Provider>,
    usable: bool,
}

/// The daemon at a glance.
pub(super) fn answer(service: &Service) -> Response<Body> {
    let glance = service.call(glance);
    let configured = service.configuration.current();
    let up = service.clock.now().at.since(service.started.at);
    json(&Status {
        ready: glance.usable && !service.is_draining(),
        rotation: Rotation { on: configured.rotation, why: configured.rotation_why.clone() },
        strategy: glance.strategy,
        last_key: glance.last_key,
        keys: glance.keys,
        capacity: glance.capacity,
        waiting: glance.waiting,
        providers: glance.providers,
        configuration: loaded(&configured, *service.watched.borrow()),
        secret_stores: secret_stores(service),
        shared_quota: shared_quota(service),
        state_file: state(service),
        metrics: metrics(&service.metrics_address),
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        started_at: rfc3339(service.started.wall),
        uptime_seconds: up.as_secs(),
    })
}

fn secret_stores(service: &Service) -> BTreeMap<&'static str, SecretStore> {
    let now = service.clock.now();
    let stores = service.remote_secrets.stores().into_iter().map(|(store, state)| {
        let StoreState { secrets, serving, stale, away_since, failure } = state;
        let away_since = away_since.map(|since| rfc3339(now.wall_at(since)));
        let error = failure.map(|failure| failure.to_string());
        (store.name(), SecretStore { secrets, serving, stale, away_since, error })
    });
    stores.collect()
}

fn shared_quota(service: &Service) -> SharedQuota {
    let Some(sharer) = &service.sharer else { return SharedQuota::default() };
    let standing = sharer.standing();
    SharedQuota {
        on: true,
        up: standing.away.is_none(),
        error: standing.away.map(|(trouble, _)| trouble.to_string()),
        away_since: standing.away.map(|(_, since)| rfc3339(since)),
        other_layout: standing.away.and_then(|(trouble, _)| trouble.other_layout()),
        on_failure: Some(sharer.on_failure().name()),
        holds: Some(standing.holds.name()),
        part: standing.part.share(),
        withheld: standing.withheld.share(),
        mode: Some(standing.mode.name()),
        learning: standing.learning,
        daemon: Some(standing.id),
        daemons: standing.daemons.len(),
        groups: standing.groups,
        owned_groups: standing.held,
    }
}

fn state(service: &Service) -> State {
    let Some(keeper) = &service.keeper else { return State::default() };
    let status = keeper.status();
    State {
        on: true,
        directory: Some(status.dir.display().to_string()),
        error: status.failing,
        write_errors: status.failures,
    }
}

fn metrics(listener: &MetricsAddress) -> Metrics {
    let address = listener.address().map(|address| address.to_string());
    Metrics { on: address.is_some(), address, error: listener.error() }
}

fn loaded(configured: &Arc<Configured>, watched: Mode) -> Loaded {
    Loaded {
        generation: configured.generation,
        source: configured.source.clone(),
        watch: watched.name(),
        last_reload: rfc3339(configured.loaded_at),
        result: configured.result,
        errors: configured.errors.clone(),
        warnings: configured.warnings.clone(),
        needs_restart: configured.needs_restart.clone(),
    }
}

fn glance(pool: &mut Pool, now: Now) -> Glance {
    let mut keys: BTreeMap<&'static str, usize> =
        KeyState::NAMES.into_iter().map(|state| (state, 0)).collect();
    for key in pool.keys(now) {
        *keys.entry(key.state.name()).or_default() += 1;
    }
    let providers = pool.providers(now).into_iter().map(|provider| {
        let until = provider.down_until.map(rfc3339);
        (provider.name.to_string(), Provider { breaker_open: until.is_some(), until })
    });
    let models = pool.models_offered();
    let models = models.iter().map(|model| (model.to_string(), pool.capacity(Some(model))));
    Glance {
        strategy: pool.strategy().name(),
        last_key: pool.last_key().map(ToString::to_string),
        keys,
        capacity: Capacity { rpm: pool.capacity(None), models: models.collect() },
        waiting: pool.waiting().0,
        providers: providers.collect(),
        usable: pool.usable().is_ok(),
    }
}

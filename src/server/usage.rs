//! `GET /v1/usage`: totals per key and per model, since the start and for the quota day.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hyper::Response;
use serde::Serialize;

use super::answer::{Body, json};
use super::problem::Problem;
use super::service::Service;
use crate::pool::{KeyView, LimitKind, Tally};

#[derive(Serialize)]
struct Usage {
    keys: Vec<Key>,
    models: Vec<Model>,
}

#[derive(Serialize)]
struct Key {
    key_id: String,
    model: Vec<String>,
    #[serde(flatten)]
    totals: Totals,
    today: Today,
}

#[derive(Serialize)]
struct Model {
    model: String,
    keys: usize,
    #[serde(flatten)]
    totals: Totals,
    today: Today,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Totals {
    grants: u64,
    success_count: u64,
    error_count: u64,
    rate_limited_count: u64,
    expired_count: u64,
    tokens: u64,
    /// Successes of the grants that were reported as success or error.
    success_rate: Option<f64>,
    /// The used share of the requests of the last minute.
    capacity_share: Option<f64>,
    #[serde(skip)]
    minute: (u64, u64),
}

#[derive(Clone, Copy, Default, Serialize)]
struct Today {
    grants: u64,
    success_count: u64,
    error_count: u64,
    tokens: u64,
}

/// The totals.
pub(super) async fn answer(service: &Arc<Service>) -> Result<Response<Body>, Problem> {
    service.aside(|service| json(&usage(service))).await
}

fn usage(service: &Service) -> Usage {
    let mut models = BTreeMap::new();
    let read = |view: &KeyView<'_>| {
        count(view, &mut models);
        key(view)
    };
    let keys = service.read_keys(read);
    let models = models.into_values().map(|model| Model { totals: model.totals.rated(), ..model });
    Usage { keys, models: models.collect() }
}

fn key(view: &KeyView<'_>) -> Key {
    Key {
        key_id: view.settings.id.to_string(),
        model: view.settings.models.iter().map(ToString::to_string).collect(),
        totals: totals(view),
        today: view.record.today.into(),
    }
}

/// Adds the uses of a key to the totals by model: each grant counts for the model it was for.
fn count(view: &KeyView<'_>, models: &mut BTreeMap<String, Model>) {
    let offered = view.settings.models.iter();
    let served = view.record.models.names();
    let names: BTreeSet<&str> = offered.chain(served).map(|model| &**model).collect();
    for name in names {
        let model = models.entry(name.to_owned()).or_insert_with(|| Model {
            model: name.to_owned(),
            keys: 0,
            totals: Totals::default(),
            today: Today::default(),
        });
        model.keys += 1;
        let minute = minute(view);
        if let Some(record) = view.record.models.get(name) {
            model.totals.add(&record.total);
            model.today.add(&record.today);
        }
        model.totals.minute.0 += minute.0;
        model.totals.minute.1 += minute.1;
    }
}

fn totals(view: &KeyView<'_>) -> Totals {
    let mut totals = Totals { minute: minute(view), ..Totals::default() };
    totals.add(&view.record.total);
    totals.rated()
}

/// The used and the whole requests of the last minute, where they are limited.
fn minute(view: &KeyView<'_>) -> (u64, u64) {
    let rpm = view.quota.iter().find(|limit| limit.kind == LimitKind::Rpm);
    rpm.map_or((0, 0), |rpm| (rpm.used, rpm.limit))
}

impl Totals {
    fn add(&mut self, tally: &Tally) {
        self.grants += tally.grants;
        self.success_count += tally.successes;
        self.error_count += tally.errors;
        self.rate_limited_count += tally.rate_limited;
        self.expired_count += tally.expired;
        self.tokens += tally.tokens;
    }

    fn rated(self) -> Self {
        let judged = self.success_count + self.error_count;
        Self {
            success_rate: share(self.success_count, judged),
            capacity_share: share(self.minute.0, self.minute.1),
            ..self
        }
    }
}

impl Today {
    fn add(&mut self, tally: &Tally) {
        self.grants += tally.grants;
        self.success_count += tally.successes;
        self.error_count += tally.errors;
        self.tokens += tally.tokens;
    }
}

impl From<Tally> for Today {
    fn from(tally: Tally) -> Self {
        let mut today = Self::default();
        today.add(&tally);
        today
    }
}

/// A share with four digits; none of nothing.
#[expect(clippy::cast_precision_loss, reason = "four digits need no 53 bits")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0)
}

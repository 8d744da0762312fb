//! `POST /v1/reload`: reads the configuration anew and says what came of it.

use std::sync::Arc;

use hyper::Response;
use serde::Serialize;

use super::answer::{Body, json};
use super::fields::Fields;
use super::problem::Problem;
use super::routes::Connection;
use super::service::Service;
use crate::control::ReloadOutcome;
use crate::pool::KeyId;

/// What came of reading the configuration anew.
#[derive(Serialize, Default)]
pub(super) struct Reloaded<'a> {
    result: &'static str,
    added: Vec<&'a str>,
    removed: Vec<&'a str>,
    changed: Vec<&'a str>,
    errors: &'a [String],
    needs_restart: &'a [&'static str],
}

pub(super) async fn answer(
    service: &Arc<Service>,
    connection: &Connection,
    body: &[u8],
) -> Result<Response<Body>, Problem> {
    connection.peer.administers(service)?;
    Fields::parse(body)?.finish()?;
    let outcome = tokio::select! {
        outcome = service.controls.reload() => outcome.ok_or_else(Problem::draining)?,
        () = service.closing.cancelled() => return Err(Problem::draining()),
        // Nobody reads this answer.
        () = connection.presence.ends() => return Err(Problem::internal()),
    };
    // Of many keys it takes a while, to write it and to forget it.
    service.aside(move |_| json(&told(&outcome))).await
}

/// `outcome` as JSON.
pub(super) fn told(outcome: &ReloadOutcome) -> Reloaded<'_> {
    let nothing = Reloaded { result: outcome.name(), ..Reloaded::default() };
    match outcome {
        ReloadOutcome::Unchanged => nothing,
        ReloadOutcome::Applied { keys, needs_restart } => Reloaded {
            added: keys.added.iter().map(KeyId::as_str).collect(),
            removed: keys.removed.iter().map(KeyId::as_str).collect(),
            changed: keys.changed.iter().map(KeyId::as_str).collect(),
            needs_restart,
            ..nothing
        },
        ReloadOutcome::Kept { errors } => Reloaded { errors, ..nothing },
        ReloadOutcome::NeedsRestart { settings } => Reloaded { needs_restart: settings, ..nothing },
    }
}

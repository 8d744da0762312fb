//! `POST /v1/keys`, `PATCH` and `DELETE /v1/keys/{id}`, `POST /v1/keys/{id}/probe` and `/clear`:
//! what administrators do to keys. Changes go to keys.json, and are in use when they are answered.

use hyper::Response;
use serde::Serialize;

use super::answer::{Body, json};
use super::fields::Fields;
use super::keys::{self, Key};
use super::problem::Problem;
use super::reload::{Reloaded, told};
use super::routes::Connection;
use super::service::Service;
use crate::control::KeysEdit;
use crate::health::Probed;
use crate::pool::KeyId;

/// A change of keys.json that was made.
#[derive(Serialize)]
struct Edited<'a> {
    key_id: &'a str,
    /// The key as it is in use now; none if it is not.
    key: Option<Key>,
    #[serde(flatten)]
    reloaded: Reloaded<'a>,
}

/// What a provider says of a key.
#[derive(Serialize)]
struct Verdict<'a> {
    key_id: &'a str,
    result: &'static str,
    detail: Option<&'a str>,
    duration_ms: u128,
    state: Option<&'static str>,
}

/// Adds a key.
pub(super) async fn add(
    service: &Service,
    connection: &Connection,
    body: &[u8],
) -> Result<Response<Body>, Problem> {
    connection.peer.administers(service)?;
    let mut fields = Fields::parse(body)?;
    let key_id = fields.take("key_id", KEY_ID, |value| KeyId::parse(value.as_str()?))?;
    let key_id = key_id.ok_or_else(|| Problem::invalid("key_id", format!("expected {KEY_ID}")))?;
    let members = fields.members(&[UPDATED_AT])?;
    edit(service, connection, KeysEdit::Add { key_id, members }).await
}

/// Changes a key.
pub(super) async fn change(
    service: &Service,
    connection: &Connection,
    id: &str,
    body: &[u8],
) -> Result<Response<Body>, Problem> {
    let key_id = to_administer(service, connection, id)?;
    let members = Fields::parse(body)?.members(&[OTHER_ID, UPDATED_AT])?;
    if members.is_empty() {
        return Err(Problem::invalid(
            "",
            "expected a field to change, such as {\"active\": false}",
        ));
    }
    edit(service, connection, KeysEdit::Change { key_id, members }).await
}

/// Removes a key.
pub(super) async fn remove(
    service: &Service,
    connection: &Connection,
    id: &str,
    body: &[u8],
) -> Result<Response<Body>, Problem> {
    let key_id = of_empty_body(service, connection, id, body)?;
    edit(service, connection, KeysEdit::Remove { key_id }).await
}

/// Forgets the failures of a key.
pub(super) fn clear(
    service: &Service,
    connection: &Connection,
    id: &str,
    body: &[u8],
) -> Result<Response<Body>, Problem> {
    let key_id = of_empty_body(service, connection, id, body)?;
    if !service.call(|pool, now| pool.clear(&key_id, now)) {
        return Err(keys::no_such(service));
    }
    keys::one(service, id)
}

/// Asks the provider about a key, now.
pub(super) async fn probe(
    service: &Service,
    connection: &Connection,
    id: &str,
    body: &[u8],
) -> Result<Response<Body>, Problem> {
    let key_id = of_empty_body(service, connection, id, body)?;
    let asked = unless_over(service, connection, service.probes.probe(key_id)).await?;
    let Probed { verdict, took } =
        asked.map_err(|why| Problem::not_probed(why, || keys::no_such(service)))?;
    // What the probe has changed must outlive the process before anybody is told.
    service.keep();
    Ok(json(&Verdict {
        key_id: id,
        result: verdict.name(),
        detail: verdict.detail(),
        duration_ms: took.as_millis(),
        state: keys::state(service, id),
    }))
}

/// The key `id`, if it could be one and the client may administer it.
fn to_administer(service: &Service, connection: &Connection, id: &str) -> Result<KeyId, Problem> {
    connection.peer.administers(service)?;
    KeyId::parse(id).ok_or_else(|| keys::no_such(service))
}

/// The key `id`, if the client may administer it and has nothing more to say.
fn of_empty_body(
    service: &Service,
    connection: &Connection,
    id: &str,
    body: &[u8],
) -> Result<KeyId, Problem> {
    let key_id = to_administer(service, connection, id)?;
    Fields::parse(body)?.finish()?;
    Ok(key_id)
}

const KEY_ID: &str = "1 to 64 characters of A-Z, a-z, 0-9, `_`, `.` and `-`";

/// Fields that cannot be set, and why.
const UPDATED_AT: (&str, &str) = ("updated_at", "is set by every change");
const OTHER_ID: (&str, &str) =
    ("key_id", "cannot be changed: what a key has used is counted by its key_id");

async fn edit(
    service: &Service,
    connection: &Connection,
    edit: KeysEdit,
) -> Result<Response<Body>, Problem> {
    let key_id = edit.key_id().clone();
    let outcome = unless_over(service, connection, service.controls.edit(edit)).await?;
    let outcome = outcome.map_err(|why| Problem::not_edited(why, || keys::no_such(service)))?;
    let key = keys::found(service, key_id.as_str());
    Ok(json(&Edited { key_id: key_id.as_str(), key, reloaded: told(&outcome) }))
}

/// What `asked` comes to, unless the daemon or the caller ends first.
async fn unless_over<T>(
    service: &Service,
    connection: &Connection,
    asked: impl Future<Output = Option<T>>,
) -> Result<T, Problem> {
    tokio::select! {
        answer = asked => answer.ok_or_else(Problem::draining),
        () = service.closing.cancelled() => Err(Problem::draining()),
        // Nobody reads this answer.
        () = connection.presence.ends() => Err(Problem::internal()),
    }
}

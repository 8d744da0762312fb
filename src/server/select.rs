//! `POST /v1/select`: from a request to a key.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use serde_json::Value;

use super::answer::{Body, object};
use super::fields::{Fields, text, texts};
use super::object::Object;
use super::problem::Problem;
use super::routes::Connection;
use super::selecting::Selecting;
use super::service::{Configured, Service};
use crate::clock::rfc3339;
use crate::pool::{
    Filter, KeyId, Lease, MOST_TOKENS, Now, Pool, Refusal, SelectRequest, Selection,
};

/// The longest `wait_ms` that is understood; it is cut to `wait.max` anyway.
const MOST_WAIT: u64 = u64::MAX;

pub(super) async fn answer(
    service: &Service,
    connection: &Connection,
    body: &[u8],
    mut selecting: Selecting<'_>,
) -> Result<Response<Body>, Problem> {
    let (request, wait) = parse(service, body)?;
    let select = |pool: &mut Pool, now: Now| {
        selecting.asks(now.at);
        pool.select(request, wait, now)
    };
    let selection = service.call_among(&connection.turns, select).await;
    match selection {
        Ok(selection) => granted(service, connection, selection, selecting).await,
        Err(refusal) => Err(selecting.refused(&refusal)),
    }
}

/// Reads the request and how long it may wait.
fn parse(service: &Service, body: &[u8]) -> Result<(SelectRequest, Option<Duration>), Problem> {
    let mut fields = Fields::parse(body)?;
    let models = fields.take("model", "a name or a list of names", models)?.unwrap_or_default();
    let provider = fields.text("provider")?.map(Arc::from);
    let workload = fields.text("workload")?.map(Arc::from);
    let tags = fields.take("tags", "an object of texts", tags)?.unwrap_or_default();
    let user = fields.text("user")?;
    let tokens = fields.whole("tokens", MOST_TOKENS)?;
    let wait = wait(service, &mut fields)?;
    let exclude = fields.take("exclude", "a list of key_ids", texts)?.unwrap_or_default();
    fields.finish()?;
    // An id that no key can have excludes none.
    let exclude = exclude.iter().filter_map(|id| KeyId::parse(id)).collect();
    let filter = Filter { models, provider, workload, tags };
    Ok((SelectRequest { filter, user, tokens, exclude }, wait))
}

/// Reads `wait_ms`; a longer wait than `wait.max` is cut to it, and 0 is none.
pub(super) fn wait(service: &Service, fields: &mut Fields) -> Result<Option<Duration>, Problem> {
    let wait = fields.whole("wait_ms", MOST_WAIT)?.filter(|millis| *millis > 0);
    let most = || service.configuration.current().wait_max;
    Ok(wait.map(|millis| Duration::from_millis(millis).min(most())))
}

fn models(value: Value) -> Option<Vec<Arc<str>>> {
    if value.is_string() {
        return Some(vec![text(value)?.into()]);
    }
    let models = texts(value)?;
    (!models.is_empty()).then(|| models.into_iter().map(Arc::from).collect())
}

fn tags(value: Value) -> Option<std::collections::BTreeMap<String, String>> {
    let Value::Object(members) = value else { return None };
    members.into_iter().map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
}

/// Waits for the key if it must be waited for, and joins its secret.
pub(super) async fn granted(
    service: &Service,
    connection: &Connection,
    selection: Selection,
    mut selecting: Selecting<'_>,
) -> Result<Response<Body>, Problem> {
    let lease = match selection {
        Selection::Granted(lease) => lease,
        Selection::Waiting(waiter) => {
            let waiting = service.pool.wait_for(waiter);
            selecting.waits();
            let served = tokio::select! {
                served = waiting => served,
                () = service.closing.cancelled() => return Err(Problem::draining()),
                // Nobody reads this answer.
                () = connection.presence.ends() => return Err(Problem::internal()),
            };
            selecting.leaves_the_line();
            let lease = served.map_err(|refusal| selecting.refused(&refusal))?;
            service.keep();
            lease
        }
    };
    service.journal.selected(&lease);
    let configured = service.configuration.current();
    let Some(answer) = with_secret(service, &configured, &lease) else {
        // The secret went away between the grant and now.
        service.call(|pool, now| pool.give_back(&lease, now));
        return Err(Problem::internal());
    };
    selecting.granted();
    Ok(answer)
}

fn with_secret(
    service: &Service,
    configured: &Configured,
    lease: &Lease,
) -> Option<Response<Body>> {
    let secret = service.keyring.secret(&lease.key_id)?;
    let header = configured.auth_header(&lease.provider);
    let use_within = u64::try_from(lease.use_within.as_millis()).unwrap_or(u64::MAX);
    let granted = Object::new()
        .text("lease_id", &lease.id.name())
        .text("key_id", lease.key_id.as_str())
        .text("provider", &lease.provider)
        .text_or_null("model", lease.model.as_deref())
        .text("secret", secret.expose())
        .object("header", |object| {
            let object = object.text("name", &header.name);
            object.texts("value", [&header.prefix, secret.expose()])
        })
        .text("expires_at", &rfc3339(lease.expires_at))
        .number("use_within_ms", use_within)
        .number("attempt", lease.attempt as u64)
        .number("attempts_left", lease.attempts_left as u64);
    Some(object(granted))
}

/// A refusal of the pool; one without any key is the configuration's fault.
pub(super) fn refused(service: &Service, refusal: &Refusal) -> Problem {
    let no_keys = match refusal {
        Refusal::NoSuchModel { offered } => offered.is_empty(),
        Refusal::NoUsableKey { why } => why.is_empty(),
        Refusal::Exhausted { .. } | Refusal::TooManyTokens { .. } => false,
    };
    let configured = service.configuration.current();
    if !no_keys {
        Problem::refusal(refusal, service.clock.now())
    } else if let Some(first) = configured.errors.first() {
        Problem::no_keys(first.as_str(), &configured.errors)
    } else if configured.rotation {
        Problem::no_keys(format!("{} holds no key", configured.source), &[])
    } else {
        Problem::rotation_off(&configured.rotation_why)
    }
}

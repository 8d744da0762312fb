//! `GET /v1/events`: what has happened, newest first, or live as it happens.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::answer::{Body, json};
use super::problem::Problem;
use super::service::Service;
use crate::telemetry::Event;

/// How many events are listed unless `limit` says otherwise, and at most.
const USUAL_LIMIT: usize = 100;
const MOST: usize = 1000;

/// How often a live reader hears that the daemon is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How many pieces of a live stream may wait for a slow reader.
const BUFFERED: usize = 16;

#[derive(Serialize)]
struct Events {
    events: Vec<Arc<Event>>,
}

/// The last events, newest first.
pub(super) fn list(service: &Service, query: Option<&str>) -> Result<Response<Body>, Problem> {
    let mut limit = USUAL_LIMIT;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "limit" {
            return Err(Problem::invalid(name, "unknown parameter; the parameters are limit"));
        }
        let number = value.parse().ok().filter(|number| (1..=MOST).contains(number));
        let expected =
            || Problem::invalid("limit", format!("expected a whole number from 1 to {MOST}"));
        limit = number.ok_or_else(expected)?;
    }
    Ok(json(&Events { events: service.journal.latest(limit) }))
}

/// Every event from now on, as server-sent events.
pub(super) fn follow(service: &Service) -> Response<Body> {
    let (pieces, stream) = mpsc::channel(BUFFERED);
    let mut events = service.journal.follow();
    let stopping = service.stopping.clone();
    service.tasks.spawn(async move {
        let mut next = Bytes::from_static(b": keypool events\n\n");
        while pieces.send(next).await.is_ok() {
            next = tokio::select! {
                () = stopping.cancelled() => return,
                () = pieces.closed() => return,
                event = timeout(HEARTBEAT, events.recv()) => match event {
                    Ok(Ok(event)) => piece(&event),
                    Ok(Err(RecvError::Lagged(missed))) => {
                        format!("event: missed\ndata: {{\"missed\": {missed}}}\n\n").into()
                    }
                    Ok(Err(RecvError::Closed)) => return,
                    Err(_) => Bytes::from_static(b": still here\n\n"),
                },
            };
        }
    });
    let mut response = Response::new(Body::Live(stream));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn piece(event: &Event) -> Bytes {
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.id, event.event, event.json.get()).into()
}

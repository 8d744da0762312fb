//! `GET /metrics`: everything that Prometheus scrapes.

use std::sync::Arc;

use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::answer::{Body, in_pieces};
use super::problem::Problem;
use super::service::Service;
use super::write_guard::AT_A_STRETCH;
use crate::telemetry::metrics::{Reading, SharedQuota, Surroundings};

/// The text format, as Prometheus asks for it.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric. The pool is held for as long as some of it is read, not for as long as the text
/// is written.
pub(super) async fn answer(service: &Arc<Service>) -> Result<Response<Body>, Problem> {
    let turn = service.metrics.scrape_turn().await;
    let written = service.aside(move |service| {
        let text = text(service);
        drop(turn);
        text
    });
    let mut response = Response::new(in_pieces(written.await?));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The text, in pieces.
fn text(service: &Service) -> Vec<String> {
    for (key, read) in service.remote_secrets.last_read() {
        service.metrics.secrets.read(key, read);
    }
    let mut reading = service.call(Reading::begin);
    service.call_for_keys(|pool, keys, now| reading.add(pool, keys, now));
    let around = Surroundings {
        serving: !service.is_draining(),
        state_write_errors: service.keeper.as_ref().map_or(0, |keeper| keeper.status().failures),
        shared: service.sharer.as_ref().map(|sharer| {
            let standing = sharer.standing();
            SharedQuota {
                up: standing.away.is_none(),
                owned_groups: standing.held,
                part: standing.part.share(),
                withheld: standing.withheld.share(),
                calls: standing.calls,
            }
        }),
    };
    let text = service.metrics.text(&reading, &around, AT_A_STRETCH);
    reading.let_go();
    text
}

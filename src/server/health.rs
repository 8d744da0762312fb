//! `GET /livez` and `GET /readyz`.

use hyper::Response;
use serde_json::json;

use super::answer::{self, Body};
use super::problem::Problem;
use super::select;
use super::service::Service;
use crate::pool::{KeyId, NoUse, Refusal};

/// The daemon answers.
pub(super) fn live() -> Response<Body> {
    answer::json(&json!({"live": true}))
}

/// The daemon has a usable key and is not about to stop.
pub(super) fn ready(service: &Service) -> Result<Response<Body>, Problem> {
    if service.is_draining() {
        return Err(Problem::draining());
    }
    match usable(service) {
        Ok(()) => Ok(answer::json(&json!({"ready": true}))),
        Err(why) => Err(select::refused(service, &Refusal::NoUsableKey { why })),
    }
}

/// The same for everybody on the machine: why there is no usable key is told on the socket alone,
/// because it names variables and paths.
pub(super) fn ready_at_all(service: &Service) -> Result<Response<Body>, Problem> {
    if service.is_draining() {
        return Err(Problem::draining());
    }
    match usable(service) {
        Ok(()) => Ok(answer::json(&json!({"ready": true}))),
        Err(_) => Err(Problem::not_ready()),
    }
}

fn usable(service: &Service) -> Result<(), Vec<(KeyId, NoUse)>> {
    service.call(|pool, _| pool.usable())
}

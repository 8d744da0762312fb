//! From a request to its endpoint.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::ACCEPT;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};

use super::answer::Body;
use super::endpoint::Endpoint;
use super::peer::Peer;
use super::presence::Presence;
use super::problem::Problem;
use super::selecting::Selecting;
use super::service::Service;
use super::turns::ClientTurns;
use super::{
    administration, body, events, fleet, health, hygiene, keys, metrics, openapi, reload, report,
    select, status, usage,
};
use crate::telemetry::metrics::Denial;

/// What is known of the connection a request came on.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) presence: Presence,
    pub(super) turns: ClientTurns,
}

/// The methods that some endpoint takes.
const EVERY_METHOD: &str = "GET, HEAD, POST, PATCH, DELETE";

/// Answers one request.
pub(super) async fn answer(
    service: &Arc<Service>,
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<Body> {
    let serving = pin!(serve(service, connection, request));
    match unless_panicked(serving).await {
        Ok(response) => response,
        Err(problem) => {
            tracing::debug!(code = problem.code(), "refused");
            problem.response()
        }
    }
}

async fn serve(
    service: &Arc<Service>,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let mut selecting = Selecting::begin(service);
    connection.turns.next().await;
    if !hygiene::has_required(request.headers(), service.required_header.as_ref()) {
        service.metrics.denied(Denial::Header);
        return Err(Problem::forbidden());
    }
    let allows = |allow: &str| {
        let method = request.method().as_str();
        allow.split(',').any(|allowed| allowed.trim_start() == method)
    };
    if request.method() != Method::POST && !allows(EVERY_METHOD) {
        let allow = Endpoint::at(request.uri().path());
        let allow = allow.map_or(EVERY_METHOD, |(endpoint, _)| endpoint.allow());
        return Err(Problem::method_not_allowed(allow));
    }
    hygiene::check(&request).inspect_err(|_| service.metrics.denied(Denial::Hygiene))?;
    let (endpoint, _) = Endpoint::at(request.uri().path()).ok_or_else(Problem::not_found)?;
    if !allows(endpoint.allow()) {
        return Err(Problem::method_not_allowed(endpoint.allow()));
    }
    if endpoint == Endpoint::Select {
        selecting.is_select();
    }
    let (head, body) = request.into_parts();
    let body = whole_body(service, &head, body).await?;
    match endpoint {
        Endpoint::Select => select::answer(service, connection, &body, selecting).await,
        Endpoint::Report => report::report(service, connection, &body).await,
        // hyper moves the future of an answer about, so what is rare must not make it large.
        Endpoint::Rotate => Box::pin(report::rotate(service, connection, &body, selecting)).await,
        Endpoint::Reload
        | Endpoint::Keys
        | Endpoint::Key
        | Endpoint::Probe
        | Endpoint::Clear
        | Endpoint::Usage
        | Endpoint::Events
        | Endpoint::Status
        | Endpoint::Fleet
        | Endpoint::Livez
        | Endpoint::Readyz
        | Endpoint::Metrics
        | Endpoint::OpenApi => {
            Box::pin(answer_seldom(service, connection, endpoint, &head, &body)).await
        }
    }
}

/// Answers what is asked now and then, and not for each request of an application.
async fn answer_seldom(
    service: &Arc<Service>,
    connection: &Connection,
    endpoint: Endpoint,
    head: &Parts,
    body: &Bytes,
) -> Result<Response<Body>, Problem> {
    let (method, uri) = (&head.method, &head.uri);
    let id = Endpoint::at(uri.path()).map_or("", |(_, id)| id);
    let live = head.headers.get(ACCEPT).is_some_and(|accept| accept == "text/event-stream");
    match endpoint {
        // They have their answers already.
        Endpoint::Select | Endpoint::Report | Endpoint::Rotate => Err(Problem::internal()),
        Endpoint::Reload => reload::answer(service, connection, body).await,
        Endpoint::Keys if method == Method::POST => {
            administration::add(service, connection, body).await
        }
        Endpoint::Keys => keys::all(service).await,
        Endpoint::Key if method == Method::PATCH => {
            administration::change(service, connection, id, body).await
        }
        Endpoint::Key if method == Method::DELETE => {
            administration::remove(service, connection, id, body).await
        }
        Endpoint::Key => keys::one(service, id),
        Endpoint::Probe => administration::probe(service, connection, id, body).await,
        Endpoint::Clear => administration::clear(service, connection, id, body),
        Endpoint::Usage => usage::answer(service).await,
        Endpoint::Events if live => Ok(events::follow(service)),
        Endpoint::Events => events::list(service, uri.query()),
        Endpoint::Status => Ok(status::answer(service)),
        Endpoint::Fleet => fleet::answer(service).await,
        Endpoint::Livez => Ok(health::live()),
        Endpoint::Readyz => health::ready(service),
        Endpoint::Metrics => metrics::answer(service).await,
        Endpoint::OpenApi => Ok(openapi::answer()),
    }
}

/// A panic of one request is that request's end alone.
pub(super) async fn unless_panicked(
    mut serving: Pin<&mut impl Future<Output = Result<Response<Body>, Problem>>>,
) -> Result<Response<Body>, Problem> {
    poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(Problem::internal())))
    })
    .await
}

async fn whole_body(service: &Service, head: &Parts, body: Incoming) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    body::read(&head.headers, body, &service.clock).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secret;

    #[tokio::test]
    async fn a_panic_is_500_without_what_it_holds() {
        let secret = Secret::new("fake-secret-flash-01");
        let fails = async {
            tokio::task::yield_now().await;
            panic!("{}", secret.expose())
        };
        let problem = unless_panicked(pin!(fails)).await.unwrap_err();
        assert!(!format!("{problem:?}").contains("fake-secret"));
        assert_eq!(problem.response().status(), 500);
    }
}

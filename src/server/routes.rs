//! From a request to its endpoint.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::ACCEPT;
use hyper::{Method, Request, Response};

use super::answer::Body;
use super::head_guard::HeadExpected;
use super::peer::Peer;
use super::presence::Presence;
use super::problem::Problem;
use super::selecting::Selecting;
use super::service::Service;
use super::{
    administration, body, events, health, hygiene, keys, metrics, reload, report, select, status,
    usage,
};
use crate::telemetry::metrics::Denial;

/// What is known of the connection a request came on.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) presence: Presence,
    pub(super) head_expected: HeadExpected,
}

/// The methods that some endpoint takes.
const METHODS: [Method; 5] =
    [Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE];

/// The endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Endpoint<'a> {
    Select,
    Report,
    Rotate,
    Reload,
    Keys,
    Key(&'a str),
    Probe(&'a str),
    Clear(&'a str),
    Usage,
    Events,
    Status,
    Livez,
    Readyz,
    Metrics,
}

impl<'a> Endpoint<'a> {
    fn at(path: &'a str) -> Option<Self> {
        Some(match path {
            "/v1/select" => Self::Select,
            "/v1/report" => Self::Report,
            "/v1/rotate" => Self::Rotate,
            "/v1/reload" => Self::Reload,
            "/v1/keys" => Self::Keys,
            "/v1/usage" => Self::Usage,
            "/v1/events" => Self::Events,
            "/v1/status" => Self::Status,
            "/livez" => Self::Livez,
            "/readyz" => Self::Readyz,
            "/metrics" => Self::Metrics,
            _ => {
                let rest = path.strip_prefix("/v1/keys/")?;
                match rest.split_once('/') {
                    _ if rest.is_empty() || rest.starts_with('/') => return None,
                    None => Self::Key(rest),
                    Some((id, "probe")) => Self::Probe(id),
                    Some((id, "clear")) => Self::Clear(id),
                    Some(_) => return None,
                }
            }
        })
    }

    /// The methods it takes.
    fn allow(self) -> &'static str {
        match self {
            Self::Select
            | Self::Report
            | Self::Rotate
            | Self::Reload
            | Self::Probe(_)
            | Self::Clear(_) => "POST",
            Self::Keys => "GET, HEAD, POST",
            Self::Key(_) => "GET, HEAD, PATCH, DELETE",
            Self::Usage
            | Self::Events
            | Self::Status
            | Self::Livez
            | Self::Readyz
            | Self::Metrics => "GET, HEAD",
        }
    }
}

/// Answers one request.
pub(super) async fn answer(
    service: &Service,
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<Body> {
    match unless_panicked(serve(service, connection, request)).await {
        Ok(response) => response,
        Err(problem) => {
            tracing::debug!(code = problem.code(), "refused");
            problem.response()
        }
    }
}

async fn serve(
    service: &Service,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    if !hygiene::has_required(request.headers(), service.required_header.as_ref()) {
        service.metrics.denied(Denial::Header);
        return Err(Problem::forbidden());
    }
    if !METHODS.contains(&method) {
        let allow = Endpoint::at(uri.path());
        let allow = allow.map_or("GET, HEAD, POST, PATCH, DELETE", Endpoint::allow);
        return Err(Problem::method_not_allowed(allow));
    }
    hygiene::check(&request).inspect_err(|_| service.metrics.denied(Denial::Hygiene))?;
    let endpoint = Endpoint::at(uri.path()).ok_or_else(Problem::not_found)?;
    if !endpoint.allow().split(", ").any(|allowed| allowed == method.as_str()) {
        return Err(Problem::method_not_allowed(endpoint.allow()));
    }
    let mut selecting = Selecting::begin(service);
    if endpoint == Endpoint::Select {
        selecting.is_select();
    }
    let live = request.headers().get(ACCEPT).is_some_and(|accept| accept == "text/event-stream");
    let body = whole_body(service, connection, request).await?;
    match endpoint {
        Endpoint::Select => select::answer(service, connection, &body, selecting).await,
        Endpoint::Report => report::report(service, &body),
        Endpoint::Rotate => report::rotate(service, connection, &body, selecting).await,
        Endpoint::Reload => reload::answer(service, connection, &body).await,
        Endpoint::Keys if method == Method::POST => {
            administration::add(service, connection, &body).await
        }
        Endpoint::Keys => Ok(keys::all(service)),
        Endpoint::Key(id) if method == Method::PATCH => {
            administration::change(service, connection, id, &body).await
        }
        Endpoint::Key(id) if method == Method::DELETE => {
            administration::remove(service, connection, id, &body).await
        }
        Endpoint::Key(id) => keys::one(service, id),
        Endpoint::Probe(id) => administration::probe(service, connection, id, &body).await,
        Endpoint::Clear(id) => administration::clear(service, connection, id, &body),
        Endpoint::Usage => Ok(usage::answer(service)),
        Endpoint::Events if live => Ok(events::follow(service)),
        Endpoint::Events => events::list(service, uri.query()),
        Endpoint::Status => Ok(status::answer(service)),
        Endpoint::Livez => Ok(health::live()),
        Endpoint::Readyz => health::ready(service),
        Endpoint::Metrics => metrics::answer(service).await,
    }
}

/// A panic of one request is that request's end alone.
pub(super) async fn unless_panicked(
    serving: impl Future<Output = Result<Response<Body>, Problem>>,
) -> Result<Response<Body>, Problem> {
    let mut serving = pin!(serving);
    poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(Problem::internal())))
    })
    .await
}

async fn whole_body(
    service: &Service,
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Bytes, Problem> {
    let body = if request.body().is_end_stream() {
        Bytes::new()
    } else {
        body::read(request, &service.clock).await?
    };
    connection.head_expected.set();
    Ok(body)
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
        let problem = unless_panicked(fails).await.unwrap_err();
        assert!(!format!("{problem:?}").contains("fake-secret"));
        assert_eq!(problem.response().status(), 500);
    }
}

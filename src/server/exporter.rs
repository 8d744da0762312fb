//! The metrics listener: `/metrics`, `/livez` and `/readyz` over TCP, for Prometheus, which cannot
//! ask a Unix socket.
//!
//! Every user of the machine can connect here, and so can a browser that somebody else's page
//! sends: there is nothing to change and nothing secret, and who asks by a name that DNS may have
//! rebound is refused. Keys are served whether this address is to be had or not.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::answer::Body;
use super::connection::{Accepting, drive};
use super::presence::Presence;
use super::problem::Problem;
use super::service::Service;
use super::{health, hygiene, metrics, routes};
use crate::telemetry::metrics::Denial;

/// How long to leave an address alone that is not to be had.
const AGAIN: Duration = Duration::from_secs(5);

/// Where metrics are served, and whether they are.
#[derive(Debug)]
pub struct MetricsAddress {
    wanted: Option<SocketAddr>,
    state: Mutex<State>,
}

/// How the listening goes.
#[derive(Clone, Debug, Default)]
struct State {
    bound: Option<SocketAddr>,
    error: Option<String>,
}

impl MetricsAddress {
    /// Nobody listens yet at `wanted`, and nobody will if that is none.
    pub fn new(wanted: Option<SocketAddr>) -> Self {
        Self { wanted, state: Mutex::default() }
    }

    /// The address, with the port that was found where the wanted one is 0; none if metrics are
    /// not served over TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        self.lock().bound.or(self.wanted)
    }

    /// Why nobody listens there, if nobody can.
    pub fn error(&self) -> Option<String> {
        self.lock().error.clone()
    }

    fn bound(&self, address: SocketAddr) {
        *self.lock() = State { bound: Some(address), error: None };
        tracing::info!("metrics at http://{address}/metrics");
    }

    fn failed(&self, error: &io::Error) {
        let mut state = self.lock();
        if state.error.is_none() {
            let address = self.wanted.map(|address| address.to_string()).unwrap_or_default();
            tracing::error!(
                %error,
                "metrics are not served at {address}; keys are, and the address is tried again; \
                 choose another metrics_addr if it stays taken"
            );
        }
        state.error = Some(error.to_string());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves metrics over TCP.
#[derive(Debug)]
pub struct Exporter {
    service: Arc<Service>,
}

impl Exporter {
    /// How many may be connected at once: Prometheus keeps one connection, a person has a few.
    pub const MOST_CONNECTIONS: usize = 64;

    /// A listener at the metrics address of `service`.
    pub fn new(service: Arc<Service>) -> Self {
        Self { service }
    }

    /// Serves until the daemon closes; tries again and again where the address is taken.
    pub async fn run(self) -> io::Result<()> {
        let service = &self.service;
        let Some(wanted) = service.metrics_address.wanted else {
            service.closing.cancelled().await;
            return Ok(());
        };
        let serve = async {
            let socket = loop {
                let bound = TcpListener::bind(wanted).await;
                match bound.and_then(|socket| Ok((socket.local_addr()?, socket))) {
                    Ok((address, socket)) => {
                        service.metrics_address.bound(address);
                        break socket;
                    }
                    Err(error) => service.metrics_address.failed(&error),
                }
                service.clock.sleep(AGAIN).await;
            };
            self.accept(socket).await;
        };
        tokio::select! {
            () = service.closing.cancelled() => {}
            () = serve => {}
        }
        Ok(())
    }

    async fn accept(&self, socket: TcpListener) {
        let places = Arc::new(Semaphore::new(Self::MOST_CONNECTIONS));
        let mut accepting = Accepting::default();
        while let Ok(place) = places.clone().acquire_owned().await {
            match socket.accept().await {
                Ok((stream, _)) => {
                    accepting.succeeded();
                    let service = self.service.clone();
                    self.service.tasks.spawn(async move {
                        let Ok(presence) = Presence::of(&stream) else { return };
                        let answer = |request| answer(&service, request);
                        drive(stream, &presence, &service, answer).await;
                        drop(place);
                    });
                }
                Err(error) => accepting.failed(&error, &self.service.metrics).await,
            }
        }
    }
}

/// The endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Endpoint {
    Metrics,
    Livez,
    Readyz,
}

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/metrics" => Some(Self::Metrics),
            "/livez" => Some(Self::Livez),
            "/readyz" => Some(Self::Readyz),
            _ => None,
        }
    }
}

async fn answer(service: &Arc<Service>, request: Request<Incoming>) -> Response<Body> {
    let served = routes::unless_panicked(pin!(serve(service, request))).await;
    served.unwrap_or_else(|problem| {
        tracing::debug!(code = problem.code(), "refused at the metrics address");
        problem.response()
    })
}

async fn serve(
    service: &Arc<Service>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    if !hygiene::names_this_machine(request.headers()) {
        service.metrics.denied(Denial::Host);
        return Err(Problem::forbidden());
    }
    hygiene::check_framing(&request).inspect_err(|_| service.metrics.denied(Denial::Hygiene))?;
    let endpoint = Endpoint::at(request.uri().path()).ok_or_else(Problem::not_found)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed("GET, HEAD"));
    }
    match endpoint {
        Endpoint::Metrics => metrics::answer(service).await,
        Endpoint::Livez => Ok(health::live()),
        Endpoint::Readyz => health::ready_at_all(service),
    }
}

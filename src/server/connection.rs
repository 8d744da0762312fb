//! Accepting connections and serving the requests on them.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::answer::{Body, empty};
use super::beside::Beside;
use super::head_guard::HeadGuard;
use super::listener::Listener;
use super::peer::Peer;
use super::places::{Asked, ConnectionLimits, Place, Places};
use super::presence::Presence;
use super::pulse::{Pulse, Rounds, pulse};
use super::routes::{self, Connection};
use super::service::Service;
use super::timer::ClockTimer;
use super::turns::{ClientTurns, Turns};
use super::write_guard::WriteGuard;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Cut;

/// The head of a request: its most bytes and header lines. hyper allows no less than 8 KiB; it
/// counts up to 100 lines itself, and takes memory for each request where it is to count otherwise.
const MOST_HEAD: usize = 8192;
const MOST_HEADERS: usize = 32;

/// How long a head may take to arrive, which is also how long a connection may idle.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// How long to rest when the process is out of descriptors.
const REST: Duration = Duration::from_millis(50);

/// Serves the API on one socket.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    service: Arc<Service>,
    limits: ConnectionLimits,
    turns: Turns,
    pulse: Pulse,
    rounds: Rounds,
}

impl Server {
    /// A server of at most so many connections at once.
    pub fn new(listener: Listener, service: Arc<Service>, limits: ConnectionLimits) -> Self {
        let (pulse, rounds) = pulse();
        Self { listener, service, limits, turns: Turns::default(), pulse, rounds }
    }

    /// Tells whether the loop of [`Server::run`] goes round.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Serves until the daemon closes. Once it is to stop, connections end with their present
    /// request, and new ones are served a last one: an application that stops as well has calls
    /// to finish. On a socket that was passed in, new ones wait for the next daemon instead.
    pub async fn run(mut self) -> io::Result<()> {
        let last = if self.listener.is_passed() {
            self.service.stopping.clone()
        } else {
            self.service.closing.clone()
        };
        let socket = UnixListener::from_std(self.listener.socket()?)?;
        let places = Places::new(self.limits);
        let mut accepting = Accepting::default();
        // A connection that is accepted while the daemon begins to stop is one to wait for.
        let _accepting = self.listener.is_passed().then(|| self.service.tasks.token());
        loop {
            let accepted = tokio::select! {
                // Nobody is accepted any more, however many wait.
                biased;
                () = last.cancelled() => return Ok(()),
                asked = self.rounds.asked() => {
                    // A pool that does not answer is a loop that does not go round.
                    self.service.pool.due();
                    asked.answer();
                    continue;
                }
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    accepting.succeeded();
                    self.admit(&places, stream);
                }
                Err(error) => accepting.failed(&error, &self.service.metrics).await,
            }
        }
    }

    /// Serves a connection, now or when it has a place.
    fn admit(&self, places: &Arc<Places>, stream: UnixStream) {
        let service = &self.service;
        let peer = Peer::of(&stream);
        if !peer.calls(service) {
            return;
        }
        match places.ask(peer.uid, || service.callers.administer(peer)) {
            Asked::Now(place) => {
                service.tasks.spawn(serve(
                    place,
                    stream,
                    peer,
                    self.turns.of(peer),
                    service.clone(),
                ));
            }
            Asked::Later(turn) => {
                let (service, turns) = (service.clone(), self.turns.of(peer));
                service.tasks.clone().spawn(async move {
                    let waits = service.metrics.connection_waits();
                    let place = tokio::select! {
                        () = service.closing.cancelled() => return,
                        place = turn => place,
                    };
                    drop(waits);
                    if let Ok(place) = place {
                        serve(place, stream, peer, turns, service).await;
                    }
                });
            }
            Asked::Refused => {
                service.metrics.cut(Cut::LineFull);
                tracing::debug!(uid = peer.uid, pid = peer.pid, "too many connections wait");
            }
        }
    }
}

/// HTTP with the limits of every listener.
fn http(service: &Service) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(ClockTimer::new(service.clock.clone()))
        .keep_alive(!service.is_draining())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MOST_HEAD)
        .half_close(true);
    http
}

/// How the accepting of one listener goes.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    fails: bool,
}

impl Accepting {
    pub(super) fn succeeded(&mut self) {
        if std::mem::take(&mut self.fails) {
            tracing::info!("connections are accepted again");
        }
    }

    /// Waits a moment where something is wanting, and says so once. Who connects meanwhile waits in
    /// the kernel's queue.
    pub(super) async fn failed(&mut self, error: &io::Error, metrics: &Metrics) {
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        metrics.accept_failed();
        if !std::mem::replace(&mut self.fails, true) {
            tracing::warn!(%error, "cannot accept connections; trying again and again");
        }
        tokio::time::sleep(REST).await;
    }
}

async fn serve(
    place: Place,
    stream: UnixStream,
    peer: Peer,
    turns: ClientTurns,
    service: Arc<Service>,
) {
    let Ok(presence) = Presence::of(&stream) else { return };
    converse(stream, peer, presence, turns, &service).await;
    drop(place);
}

/// Serves what comes on `stream`, which is from `peer`.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    presence: Presence,
    turns: ClientTurns,
    service: &Arc<Service>,
) {
    let known = Connection { peer, presence, turns };
    let _connected = service.metrics.connected();
    let answer = |request| routes::answer(service, &known, request);
    drive(stream, &known.presence, service, answer).await;
}

/// Serves what comes on `stream` to whoever has the other end of `socket`.
#[cfg(any(doc, fuzzing, test))]
pub(crate) async fn converse_on(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    socket: &UnixStream,
    service: &Arc<Service>,
) -> io::Result<()> {
    let (peer, presence) = (Peer::of(socket), Presence::of(socket)?);
    converse(stream, peer, presence, Turns::default().of(peer), service).await;
    Ok(())
}

/// How long a connection that has asked nothing yet may still do so when the daemon stops: its
/// request may be on the way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Serves the requests on `stream` until its client or the daemon ends.
pub(super) async fn drive<F: Future<Output = Response<Body>>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    presence: &Presence,
    service: &Service,
    answer: impl Fn(Request<Incoming>) -> F,
) {
    let (asked, answering) = (&Notify::new(), &AtomicBool::new(false));
    let answer = &answer;
    // hyper moves this future about: what it calls is made in it, not beside it, to be there once.
    let answer = service_fn(move |request: Request<Incoming>| async move {
        asked.notify_one();
        answering.store(true, Ordering::Relaxed);
        let too_many = request.headers().len() > MOST_HEADERS;
        let mut answer = if too_many {
            empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        } else {
            answer(request).await
        };
        answering.store(false, Ordering::Relaxed);
        if too_many || service.is_draining() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok::<_, Infallible>(answer)
    });
    let stream = WriteGuard::new(stream, service.clock.clone(), service.metrics.clone());
    let guard = HeadGuard::new(stream);
    let between_requests = guard.between_requests();
    let stream = TokioIo::new(guard);
    let connection = http(service).serve_connection(stream, answer);
    tokio::pin!(connection);
    // It has something to say once in the life of the daemon.
    let told_to_end = Beside::new(Box::pin(async {
        service.stopping.cancelled().await;
        // It ends at once if something was asked. One that comes while the daemon stops has its
        // last request before it.
        tokio::time::timeout(FIRST_REQUEST, asked.notified()).await.ok();
    }));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = told_to_end => {
            if between_requests.is_so() && !answering.load(Ordering::Relaxed) {
                presence.hears_no_more();
            } else {
                connection.as_mut().graceful_shutdown();
            }
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

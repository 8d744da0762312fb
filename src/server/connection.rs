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
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::answer::Body;
use super::head_guard::{HeadExpected, HeadGuard};
use super::listener::Listener;
use super::peer::Peer;
use super::presence::Presence;
use super::pulse::{Pulse, Rounds, pulse};
use super::routes::{self, Connection};
use super::service::Service;
use super::timer::ClockTimer;
use crate::clock::Clock;

/// The head of a request: its most bytes and header lines. hyper allows no less than 8 KiB.
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
    max_connections: usize,
    pulse: Pulse,
    rounds: Rounds,
}

impl Server {
    /// A server that accepts at most `max_connections` at once; more wait to be accepted.
    pub fn new(listener: Listener, service: Arc<Service>, max_connections: usize) -> Self {
        let (pulse, rounds) = pulse();
        Self { listener, service, max_connections, pulse, rounds }
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
        let places = Arc::new(Semaphore::new(self.max_connections));
        let http = http(&self.service.clock);
        // A connection that is accepted while the daemon begins to stop is one to wait for.
        let _accepting = self.listener.is_passed().then(|| self.service.tasks.token());
        loop {
            // The place comes before the connection, so that the kernel's queue is ours.
            let accepted = async {
                let place = places.clone().acquire_owned().await;
                (socket.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                // Nobody is accepted any more, however many wait.
                biased;
                () = last.cancelled() => return Ok(()),
                asked = self.rounds.asked() => {
                    // A pool that does not answer is a loop that does not go round.
                    self.service.pool.due();
                    asked.answer();
                    continue;
                }
                accepted = accepted => accepted,
            };
            match (accepted, place) {
                (Ok((stream, _)), Ok(place)) => {
                    let peer = Peer::of(&stream);
                    if !peer.calls(&self.service) {
                        continue;
                    }
                    let mut http = http.clone();
                    http.keep_alive(!self.service.is_draining());
                    let serving = serve(http, stream, peer, self.service.clone());
                    self.service.tasks.spawn(held(place, serving));
                }
                (Err(error), _) => rest(&error).await,
                (Ok(_), Err(_)) => return Ok(()),
            }
        }
    }
}

/// HTTP with the limits of every listener.
pub(super) fn http(clock: &Clock) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(ClockTimer::new(clock.clone()))
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MOST_HEAD)
        .max_headers(MOST_HEADERS)
        .half_close(true);
    http
}

/// Keeps the place of a connection for as long as it is served.
pub(super) async fn held(place: OwnedSemaphorePermit, serving: impl Future<Output = ()>) {
    serving.await;
    drop(place);
}

/// Waits a moment where accepting fails for want of something.
pub(super) async fn rest(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "cannot accept a connection; trying again");
        tokio::time::sleep(REST).await;
    }
}

async fn serve(http: http1::Builder, stream: UnixStream, peer: Peer, service: Arc<Service>) {
    let Ok(presence) = Presence::of(&stream) else { return };
    let head_expected = HeadExpected::new();
    let guarded = HeadGuard::new(stream, head_expected.clone());
    let line = Line { presence: presence.clone(), head_expected: head_expected.clone() };
    let known = Connection { peer, presence, head_expected };
    let _connected = service.metrics.connected();
    let answer = |request| routes::answer(&service, &known, request);
    drive(&http, guarded, &line, &service, answer).await;
}

/// How long a connection that has asked nothing yet may still do so when the daemon stops: its
/// request may be on the way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// What tells whether a connection is between two requests, and ends it there.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) presence: Presence,
    pub(super) head_expected: HeadExpected,
}

/// Serves the requests on `stream` until its client or the daemon ends.
pub(super) async fn drive<F: Future<Output = Response<Body>>>(
    http: &http1::Builder,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    line: &Line,
    service: &Service,
    answer: impl Fn(Request<Incoming>) -> F,
) {
    let asked = Notify::new();
    let answering = AtomicBool::new(false);
    let answer = service_fn(|request| {
        asked.notify_one();
        answering.store(true, Ordering::Relaxed);
        let answered = answer(request);
        let answering = &answering;
        async move {
            let mut answer = answered.await;
            answering.store(false, Ordering::Relaxed);
            if service.is_draining() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    // A connection that comes while the daemon stops has its last request before it.
    let told_to_end = async {
        if service.is_draining() {
            std::future::pending::<()>().await;
        } else {
            service.stopping.cancelled().await;
            // It ends at once if something was asked.
            tokio::time::timeout(FIRST_REQUEST, asked.notified()).await.ok();
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told_to_end => {
            if line.head_expected.is_set() && !answering.load(Ordering::Relaxed) {
                line.presence.hears_no_more();
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

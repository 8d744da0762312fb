//! The server around the enforcers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use keypool::clock::Clock;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::dialect::{Dialect, Wish, respond};
use super::enforcer::{Enforcement, Enforcer};
use super::random::Random;

/// One key at the provider.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// Whose API the key is for.
    pub(crate) dialect: Dialect,
    /// The key.
    pub(crate) secret: String,
    /// Its requests a minute.
    pub(crate) rpm: u64,
}

/// How many requests for an answer of a model ended in which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    /// Admitted: 200.
    pub(crate) served: u64,
    /// Over the limit: 429.
    pub(crate) rate_limited: u64,
    /// With a key that nobody has: 400 or 401.
    pub(crate) unknown_key: u64,
}

/// A provider with accounts. Clones are the same provider.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedProvider {
    clock: Clock,
    delay: RangeInclusive<u64>,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Debug)]
struct Ledger {
    random: Random,
    books: HashMap<(Dialect, String), (Account, Enforcer)>,
    tally: Tally,
}

impl SimulatedProvider {
    /// A provider that lives by `clock`. `seed` decides the phases of fixed minutes.
    pub(crate) fn new(
        clock: Clock,
        enforcement: Enforcement,
        accounts: impl IntoIterator<Item = Account>,
        seed: u64,
    ) -> Self {
        let mut random = Random::new(seed);
        let book = |account: Account| {
            let enforcer = Enforcer::new(enforcement, account.rpm, random.millis(0, 59_999));
            ((account.dialect, account.secret.clone()), (account, enforcer))
        };
        let books = accounts.into_iter().map(book).collect();
        let ledger = Ledger { random, books, tally: Tally::default() };
        Self { clock, delay: 0..=0, ledger: Arc::new(Mutex::new(ledger)) }
    }

    /// The same provider, but a request is on its way for a number of milliseconds in `delay`
    /// before it is counted.
    pub(crate) fn with_delay(self, delay: RangeInclusive<u64>) -> Self {
        Self { delay, ..self }
    }

    /// What it has answered so far.
    pub(crate) fn tally(&self) -> Tally {
        self.ledger().tally
    }

    /// Serves on a free port of loopback from a thread of its own, until the process ends.
    pub(crate) fn start(&self) -> io::Result<SocketAddr> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let provider = self.clone();
        std::thread::Builder::new().name("provider".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("the listener is good");
                provider.serve(listener).await;
            });
        })?;
        Ok(address)
    }

    /// Serves on `listener` for ever.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(self.clone().converse(stream));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn converse(self, stream: TcpStream) {
        stream.set_nodelay(true).ok();
        let answer = service_fn(|request| {
            let provider = self.clone();
            async move { Ok::<_, Infallible>(provider.answer(request).await) }
        });
        // A client that goes away in the middle is nothing to a provider.
        http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some((dialect, wish)) = Dialect::of(&request) else {
            return respond(404, &[], &json!({"error": {"code": 404, "message": "not found"}}));
        };
        let secret = dialect.key(request.headers()).unwrap_or_default().to_owned();
        // The next request on the connection comes after the body of this one.
        if request.into_body().collect().await.is_err() {
            return respond(400, &[], &json!({"error": {"code": 400, "message": "no body"}}));
        }
        let delay = self.ledger().random.millis(*self.delay.start(), *self.delay.end());
        if delay > Duration::ZERO {
            self.clock.sleep(delay).await;
        }
        self.ledger().answer(dialect, wish, secret, &self.clock)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn answer(
        &mut self,
        dialect: Dialect,
        wish: Wish,
        secret: String,
        clock: &Clock,
    ) -> Response<Full<Bytes>> {
        let Some((account, enforcer)) = self.books.get_mut(&(dialect, secret)) else {
            self.tally.unknown_key += u64::from(wish == Wish::Generate);
            return dialect.unknown_key();
        };
        if wish == Wish::Models {
            return dialect.models();
        }
        match enforcer.admit(clock.now()) {
            Ok(()) => {
                self.tally.served += 1;
                dialect.generated()
            }
            Err(delay) => {
                self.tally.rate_limited += 1;
                // A provider speaks of whole seconds.
                dialect.rate_limited(account.rpm, delay.max(Duration::from_secs(1)))
            }
        }
    }
}

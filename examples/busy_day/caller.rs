//! The callers: each asks for a key, uses it at the provider, says what came of it, and goes on with
//! another key where that helps.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use keypool::clock::Clock;
use serde_json::{Value, json};

#[allow(dead_code, reason = "the simulation uses more")]
#[path = "../../tests/support/provider/random.rs"]
mod random;

use self::random::Random;
use crate::day::{Day, Wish};
use crate::http::send;

/// How long a caller waits in line.
const PATIENCE_MILLIS: u64 = 20_000;

/// Which part of the callers is killed before it can report.
const UNREPORTED: f64 = 0.0005;

/// All callers.
#[derive(Debug)]
pub(crate) struct Callers {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    day: Rc<Day>,
    socket: PathBuf,
    random: RefCell<Random>,
    /// Requests that the daemon has not answered yet.
    asking: Cell<u64>,
    served: Cell<u64>,
    refused: Cell<u64>,
}

impl Callers {
    /// Nobody has come yet to `socket`.
    pub(crate) fn new(day: Rc<Day>, socket: PathBuf) -> Self {
        let random = RefCell::new(Random::new(5));
        let (asking, served, refused) = (Cell::new(0), Cell::new(0), Cell::new(0));
        Self { shared: Rc::new(Shared { day, socket, random, asking, served, refused }) }
    }

    /// Those of the next `span` come, independently of each other.
    pub(crate) fn arrive(&self, span: Duration) {
        for wish in Wish::ALL {
            let expected = self.shared.day.demand(wish) / 60.0 * span.as_secs_f64();
            // Knuth's way to a Poisson distribution.
            let mut product = self.shared.chance();
            while product > (-expected).exp() {
                let shared = self.shared.clone();
                tokio::task::spawn_local(async move { shared.call(wish).await });
                product *= self.shared.chance();
            }
        }
    }

    /// Returns once nobody is without an answer but those who wait in the daemon's line, so that
    /// no time passes while it works.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        tokio::task::yield_now().await;
        loop {
            let status = send(&self.shared.socket, "GET", "/v1/status", "").await?;
            let status: Value = serde_json::from_str(&status.body)?;
            if status["waiting"].as_u64() == Some(self.shared.asking.get()) {
                return Ok(());
            }
        }
    }
}

impl Shared {
    fn chance(&self) -> f64 {
        self.random.borrow_mut().unit()
    }

    /// What the daemon answers; it outlives its callers.
    async fn ask(&self, path: &str, body: &Value) -> Option<Value> {
        self.asking.set(self.asking.get() + 1);
        let answer = send(&self.socket, "POST", path, &body.to_string()).await;
        self.asking.set(self.asking.get() - 1);
        serde_json::from_str(&answer.ok().filter(|answer| answer.status == 200)?.body).ok()
    }

    /// One call of an application, with as many keys as it takes.
    async fn call(&self, wish: Wish) {
        let mut path = "/v1/select";
        let mut body = json!({"model": wish.model(), "tokens": 1500, "wait_ms": PATIENCE_MILLIS});
        loop {
            let Some(lease) = self.ask(path, &body).await else {
                self.refused.set(self.refused.get() + 1);
                return;
            };
            let key_id = lease["key_id"].as_str().unwrap_or_default();
            let said = self.day.answer(wish, key_id, self.chance());
            Clock::Manual(self.day.clock().clone()).sleep(said.after).await;
            if self.chance() < UNREPORTED {
                return;
            }
            body = json!({"lease_id": lease["lease_id"], "status": said.status, "headers": {}});
            if said.status == 200 {
                body["tokens_used"] = json!(said.tokens);
                self.served.set(self.served.get() + 1);
                // A report that fails is a lease that expires.
                self.ask("/v1/report", &body).await;
                return;
            }
            body["body"] = json!(said.body.to_string());
            body["wait_ms"] = json!(PATIENCE_MILLIS);
            path = "/v1/rotate";
        }
    }
}

impl fmt::Display for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { served, refused, .. } = &*self.shared;
        write!(f, "{} calls served, {} refused", served.get(), refused.get())
    }
}

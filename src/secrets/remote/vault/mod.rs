//! HashiCorp Vault, OpenBao, and what else speaks their KV version 2.
//!
//! A fetch is one attempt: one read, and after a 403 one new login and one more read. Whatever a
//! vault or somebody in its place answers, the token goes to the configured address alone, and
//! certificates are always verified.

mod reply;
mod session;
mod settings;
mod token;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::super::{Environment, Process};
use super::{Failure, FailureClass, Version};
use crate::clock::Clock;
use crate::pool::Instant;

use session::Session;
use settings::{Settings, is_plain};
use wire::{Wire, unavailable};

/// The longest a fetch may take: two requests that are as slow as they may be.
const LONGEST: Duration = Duration::from_secs(10);

/// HashiCorp Vault, OpenBao, and what else speaks their KV version 2.
#[derive(Debug)]
pub(super) struct Vault {
    settings: Result<Settings, Failure>,
    wire: Wire,
    session: Session,
}

impl Vault {
    /// The store as `environment` describes it; files are read as `process` may.
    pub(super) fn new(environment: &Environment, process: &Process, clock: &Clock) -> Self {
        let settings = Settings::of(environment, process);
        Self { settings, wire: Wire::default(), session: Session::new(clock.clone()) }
    }

    /// Asks for the secret called `name`, such as `secret/keypool/flash_01`.
    pub(super) async fn fetch(&self, name: &str) -> Result<Version, Failure> {
        let version = self.attempt(name).await.map_err(told_of_a_secret)?;
        self.tend().await;
        Ok(version)
    }

    /// When [`Vault::tend`] has something to do. Every fetch may change it.
    pub(super) fn due(&self) -> Option<Instant> {
        self.session.due()
    }

    /// Keeps the token alive, if it is time. What fails is tried again later.
    pub(super) async fn tend(&self) {
        if let Ok(settings) = &self.settings {
            // Two requests at most, each within its own time.
            self.session.tend(settings, &self.wire).await;
        }
    }

    async fn attempt(&self, name: &str) -> Result<Version, Failure> {
        let settings = self.settings.as_ref().map_err(Clone::clone)?;
        let path = path(settings.mount.as_deref(), name)?;
        let read = tokio::time::timeout(LONGEST, self.read(settings, &path));
        read.await.unwrap_or_else(|_| Err(unavailable("timeout")))
    }

    async fn read(&self, settings: &Settings, path: &[&str]) -> Result<Version, Failure> {
        let (session, wire) = (&self.session, &self.wire);
        let token = session.token(settings, wire).await?;
        let mut reply = wire.get(settings, path, &token).await?;
        if reply.is_denied()
            && let Some(token) = session.another(settings, wire, &token).await?
        {
            reply = wire.get(settings, path, &token).await?;
        }
        reply.version()
    }
}

/// `failure`, whose text tells of the vault or of the settings, as one that tells of a secret.
fn told_of_a_secret(failure: Failure) -> Failure {
    match failure.class {
        FailureClass::Gone | FailureClass::Denied | FailureClass::Unusable => failure,
        FailureClass::Unavailable | FailureClass::Unset => {
            Failure { text: format!("cannot be fetched: {}", failure.text).into(), ..failure }
        }
    }
}

/// The path in the API of the secret called `name`, in the engine at `mount` or at the first
/// segment.
fn path<'a>(mount: Option<&'a str>, name: &'a str) -> Result<Vec<&'a str>, Failure> {
    let (mount, rest) = match mount {
        Some(mount) => (mount, name.strip_prefix(mount).and_then(|rest| rest.strip_prefix('/'))),
        None => match name.split_once('/') {
            Some((mount, rest)) => (mount, Some(rest)),
            None => (name, None),
        },
    };
    match rest {
        Some(rest) if is_plain(name) => {
            Ok(mount.split('/').chain(["data"]).chain(rest.split('/')).collect())
        }
        Some(_) => Err(Failure::unset("it is not a path of plain segments")),
        None => Err(Failure::unset("it is not below the path of an engine")),
    }
}

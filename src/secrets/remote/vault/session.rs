//! The token: how it is come by, and how it is kept alive.
//!
//! One task logs in or renews at a time, and the others take what it brings. Logins are at least a
//! second apart and, while they fail, further: whoever comes in between is told why the last one
//! failed. Nothing here is needed for a secret that is not asked for, so nothing happens before
//! the first fetch.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::super::super::{Content, Secret, read_protected};
use super::super::Failure;
use super::reply::{Lease, Refusal};
use super::settings::{AppRole, Identity, SecretId, Settings};
use super::token::Token;
use super::wire::{Wire, unavailable};
use crate::clock::Clock;
use crate::pool::Instant;

/// The shortest time between two logins.
const LOGIN_PACE: Duration = Duration::from_secs(1);

/// The longest: short, because fetches have their own pace while they fail.
const LONGEST_LOGIN_PACE: Duration = Duration::from_secs(16);

/// The token of one identity.
#[derive(Debug)]
pub(super) struct Session {
    clock: Clock,
    state: Mutex<State>,
    /// Whoever logs in or renews holds it.
    turn: Semaphore,
    warned: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    logins: Logins,
}

/// When the next login may be.
#[derive(Debug, Default)]
struct Logins {
    not_before: Instant,
    failures: u32,
    last_failure: Option<Failure>,
}

#[derive(Serialize)]
struct Credentials<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

impl Session {
    /// Without a token.
    pub(super) fn new(clock: Clock) -> Self {
        let warned = AtomicBool::new(false);
        Self { clock, state: Mutex::default(), turn: Semaphore::new(1), warned }
    }

    /// A token to ask with.
    pub(super) async fn token(&self, settings: &Settings, wire: &Wire) -> Result<Secret, Failure> {
        match &settings.identity {
            Identity::Token(token) => Ok(self.adopt(token.clone())),
            Identity::TokenFile(path) => {
                let token = self.one_secret(settings, path, "VAULT_TOKEN_FILE")?;
                Ok(self.adopt(token))
            }
            Identity::AppRole(role) => self.login(settings, wire, role, None).await,
        }
    }

    /// Another token than the one that was `denied`, or none if that is as good as any.
    pub(super) async fn another(
        &self,
        settings: &Settings,
        wire: &Wire,
        denied: &Secret,
    ) -> Result<Option<Secret>, Failure> {
        let token = match &settings.identity {
            Identity::Token(_) => return Ok(None),
            Identity::TokenFile(_) => self.token(settings, wire).await?,
            Identity::AppRole(role) => {
                if self.is_fresh(denied) {
                    return Ok(None);
                }
                self.login(settings, wire, role, Some(denied)).await?
            }
        };
        Ok((!token.same_as(denied)).then_some(token))
    }

    /// When the token wants something done; none without a token, or for one without an end.
    pub(super) fn due(&self) -> Option<Instant> {
        let state = self.state();
        let due = state.token.as_ref()?.due?;
        Some(due.max(state.logins.not_before))
    }

    /// Does what the token wants done, if it is time: finds out how long it lives, renews it, or
    /// logs in anew because it cannot be renewed. What fails is tried again later.
    pub(super) async fn tend(&self, settings: &Settings, wire: &Wire) {
        let Ok(_turn) = self.turn.try_acquire() else { return };
        let now = self.clock.now().at;
        let Some(mut token) = self.state().token.clone() else { return };
        if token.due.is_none_or(|due| due > now) {
            return;
        }
        // It is put back before anything is awaited, in case nobody waits for the end.
        token.put_off(now);
        self.keep(&token);
        let lease = if token.renewable {
            renew(settings, wire, &token.secret).await
        } else if token.ends.is_none() {
            look_up(settings, wire, &token.secret).await
        } else {
            Err(Refusal::Wrong)
        };
        let now = self.clock.now().at;
        match lease {
            Ok(lease) => {
                token.learn(lease, now);
                self.keep(&token);
            }
            Err(Refusal::Failed(why)) => {
                tracing::warn!(store = "vault", %why, "the token could not be renewed");
            }
            Err(Refusal::Nothing | Refusal::Denied | Refusal::Wrong) => {
                token.renewable = false;
                if let Identity::AppRole(role) = &settings.identity {
                    self.keep(&token);
                    if let Err(why) = self.login_now(settings, wire, role).await {
                        tracing::warn!(store = "vault", %why, "the login failed");
                    }
                } else {
                    token.due = None;
                    self.keep(&token);
                    if let Some(ends) = token.ends {
                        let seconds = ends.since(now).as_secs();
                        tracing::warn!(
                            store = "vault",
                            seconds,
                            "the token ends and cannot be renewed"
                        );
                    }
                }
            }
        }
    }

    /// Takes `secret` for the token, unless it is that already.
    fn adopt(&self, secret: Secret) -> Secret {
        let mut state = self.state();
        if state.token.as_ref().is_none_or(|token| !token.secret.same_as(&secret)) {
            state.token = Some(Token::unknown(secret.clone(), self.clock.now().at));
        }
        secret
    }

    /// Writes down what has become of `token`, unless another one is in its place.
    fn keep(&self, token: &Token) {
        let mut state = self.state();
        if state.token.as_ref().is_some_and(|kept| kept.secret.same_as(&token.secret)) {
            state.token = Some(token.clone());
        }
    }

    /// Whether `denied` is so new that it is not the token's fault.
    fn is_fresh(&self, denied: &Secret) -> bool {
        let now = self.clock.now().at;
        self.state().token.as_ref().is_some_and(|token| {
            token.secret.same_as(denied) && now.since(token.since) < LOGIN_PACE
        })
    }

    /// The token in use, if it is alive and not the one that was denied.
    fn alive(&self, denied: Option<&Secret>) -> Option<Secret> {
        let now = self.clock.now().at;
        let state = self.state();
        let token = state.token.as_ref().filter(|token| token.ends.is_none_or(|end| now < end))?;
        let is_denied = denied.is_some_and(|denied| token.secret.same_as(denied));
        (!is_denied).then(|| token.secret.clone())
    }

    async fn login(
        &self,
        settings: &Settings,
        wire: &Wire,
        role: &AppRole,
        denied: Option<&Secret>,
    ) -> Result<Secret, Failure> {
        if let Some(token) = self.alive(denied) {
            return Ok(token);
        }
        let _turn = self.turn.acquire().await.map_err(|_| unavailable("the daemon ends"))?;
        match self.alive(denied) {
            Some(token) => Ok(token),
            None => self.login_now(settings, wire, role).await,
        }
    }

    /// Logs in, for whoever has the turn.
    async fn login_now(
        &self,
        settings: &Settings,
        wire: &Wire,
        role: &AppRole,
    ) -> Result<Secret, Failure> {
        self.state().logins.begin(self.clock.now().at)?;
        let answer = self.ask_for_token(settings, wire, role).await;
        let now = self.clock.now().at;
        let mut state = self.state();
        match answer {
            Ok((secret, lease)) => {
                let mut token = Token::unknown(secret.clone(), now);
                token.learn(lease, now);
                state.token = Some(token);
                state.logins.succeeded();
                Ok(secret)
            }
            Err(failure) => {
                state.logins.failed(&failure, now);
                Err(failure)
            }
        }
    }

    async fn ask_for_token(
        &self,
        settings: &Settings,
        wire: &Wire,
        role: &AppRole,
    ) -> Result<(Secret, Lease), Failure> {
        let secret_id = match &role.secret_id {
            SecretId::Text(text) => text.clone(),
            SecretId::File(path) => self.one_secret(settings, path, "VAULT_SECRET_ID_FILE")?,
        };
        let credentials =
            Credentials { role_id: role.role_id.expose(), secret_id: secret_id.expose() };
        let mut path = vec!["auth"];
        path.extend(role.mount.split('/'));
        path.push("login");
        wire.post(settings, &path, None, json(&credentials)).await?.login()
    }

    /// The secret in the file at `path`, which `variable` names. Somebody else writes it, perhaps
    /// a moment later.
    fn one_secret(
        &self,
        settings: &Settings,
        path: &Path,
        variable: &str,
    ) -> Result<Secret, Failure> {
        let failed =
            |why: &dyn fmt::Display| unavailable(&format!("the file of {variable}: {why}"));
        let file = read_protected(path, Content::OneSecret, &settings.process);
        let file = file.map_err(|refusal| failed(&refusal))?;
        if !file.warnings.is_empty() && !self.warned.swap(true, Ordering::Relaxed) {
            for warning in &file.warnings {
                tracing::warn!(store = "vault", path = %path.display(), %warning, "the file of {variable}");
            }
        }
        let text = std::str::from_utf8(&file.bytes).map_err(|_| failed(&"is no text"))?;
        let secret = Secret::new(text.trim_ascii());
        secret.usable().map_err(|why| failed(&why))?;
        Ok(secret)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logins {
    /// Begins a login, if it is time for one.
    fn begin(&mut self, now: Instant) -> Result<(), Failure> {
        if now < self.not_before {
            let too_soon = || unavailable("the last login was a moment ago");
            return Err(self.last_failure.clone().unwrap_or_else(too_soon));
        }
        self.not_before = now.plus(LOGIN_PACE);
        Ok(())
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.last_failure = None;
    }

    fn failed(&mut self, why: &Failure, now: Instant) {
        let pace = LOGIN_PACE.saturating_mul(1 << self.failures.min(10));
        self.not_before = now.plus(pace.min(LONGEST_LOGIN_PACE));
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(why.clone());
    }
}

async fn look_up(settings: &Settings, wire: &Wire, token: &Secret) -> Result<Lease, Refusal> {
    let path = ["auth", "token", "lookup-self"];
    wire.get(settings, &path, token).await.map_err(Refusal::Failed)?.lookup()
}

async fn renew(settings: &Settings, wire: &Wire, token: &Secret) -> Result<Lease, Refusal> {
    let path = ["auth", "token", "renew-self"];
    let body = Zeroizing::new(b"{}".to_vec());
    wire.post(settings, &path, Some(token), body).await.map_err(Refusal::Failed)?.renewal()
}

/// `credentials` as JSON, in a place that is large enough from the start.
fn json(credentials: &Credentials<'_>) -> Zeroizing<Vec<u8>> {
    // The longest escape of a byte is \u0000.
    let most = 6 * (credentials.role_id.len() + credentials.secret_id.len());
    let mut json = Zeroizing::new(Vec::with_capacity(64 + most));
    let written = serde_json::to_writer(&mut *json, credentials);
    debug_assert!(written.is_ok(), "text can be written as JSON");
    json
}

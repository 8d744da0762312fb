//! The vault as the SDK's client sees it, made when it is first asked.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, RetryOptions, Transport as Sender};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};

use super::super::super::{Environment, Process};
use super::super::{Failure, FailureClass, Version};
use super::answer;
use super::settings::{Identity, Settings};
use super::transport::{self, Peer, Transport};
use crate::clock::Clock;
use crate::pool::Instant;

/// The longest a fetch may take, logins among it.
const WITHIN: Duration = Duration::from_secs(5);

/// For how long a refusal of a fresh token stands: rights come with minutes of delay, and a vault
/// that refuses many secrets must not cause as many logins.
const RESPITE: Duration = Duration::from_secs(30);

/// Azure Key Vault.
#[derive(Debug)]
pub(in super::super) struct Azure {
    settings: Result<Settings, Failure>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    http: Option<reqwest::Client>,
    session: Option<Arc<Session>>,
    no_login_before: Instant,
}

/// A client and the token that it keeps.
struct Session {
    client: SecretClient,
    /// Whether the vault has answered it before, so that it may be an old token that is refused.
    is_used: AtomicBool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Azure {
    /// The store as `environment` describes it; files are read as `process` may.
    pub(in super::super) fn new(
        environment: &Environment,
        process: &Process,
        clock: &Clock,
    ) -> Self {
        let settings = Settings::of(environment, process);
        Self { settings, clock: clock.clone(), state: Mutex::default() }
    }

    /// Asks for the secret called `name`.
    pub(in super::super) async fn fetch(&self, name: &str) -> Result<Version, Failure> {
        let settings = self.settings.as_ref().map_err(Clone::clone)?;
        let answer = tokio::time::timeout(WITHIN, self.ask(settings, name)).await;
        answer
            .unwrap_or_else(|_| Err(Failure::unavailable("cannot be fetched: the vault: timeout")))
    }

    async fn ask(&self, settings: &Settings, name: &str) -> Result<Version, Failure> {
        let session = self.session(settings)?;
        let was_used = session.is_used.load(Ordering::Relaxed);
        let answer = session.ask(name, &self.clock).await;
        let is_refused = |answer: &Result<_, Failure>| {
            answer.as_ref().is_err_and(|failure| failure.class == FailureClass::Denied)
        };
        if !is_refused(&answer) {
            return answer;
        }
        // The token may be at fault, and the SDK keeps it until it ends.
        if !was_used || !self.end(&session) {
            return answer;
        }
        let answer = self.session(settings)?.ask(name, &self.clock).await;
        if is_refused(&answer) {
            self.state().no_login_before = self.clock.now().at.plus(RESPITE);
        }
        answer
    }

    /// The session that is open, or a new one.
    fn session(&self, settings: &Settings) -> Result<Arc<Session>, Failure> {
        let mut state = self.state();
        if let Some(session) = &state.session {
            return Ok(Arc::clone(session));
        }
        let http = match &state.http {
            Some(http) => http.clone(),
            None => state.http.insert(transport::client(settings, WITHIN)?).clone(),
        };
        let session = Session::new(settings, &http)?;
        Ok(Arc::clone(state.session.insert(Arc::new(session))))
    }

    /// Ends `refused`, unless a refusal of late stands. Another session, that somebody else has
    /// opened since, stays.
    fn end(&self, refused: &Arc<Session>) -> bool {
        let mut state = self.state();
        if self.clock.now().at < state.no_login_before {
            return false;
        }
        if state.session.as_ref().is_some_and(|session| Arc::ptr_eq(session, refused)) {
            state.session = None;
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn new(settings: &Settings, http: &reqwest::Client) -> Result<Self, Failure> {
        let options = SecretClientOptions {
            client_options: options(http, Peer::Vault, settings),
            ..SecretClientOptions::default()
        };
        let credential = credential(settings, http)?;
        let client = SecretClient::new(settings.vault.as_str(), credential, Some(options))
            .map_err(|error| answer::failure(&error))?;
        Ok(Self { client, is_used: AtomicBool::new(false) })
    }

    async fn ask(&self, name: &str, clock: &Clock) -> Result<Version, Failure> {
        let told = match self.client.get_secret(name, None).await {
            Ok(told) => told.into_model(),
            Err(error) => Err(error),
        };
        let of_the_vault = |error: &azure_core::Error| error.http_status().is_some();
        if told.as_ref().map_or_else(of_the_vault, |_| true) {
            self.is_used.store(true, Ordering::Relaxed);
        }
        let secret = told.map_err(|error| answer::failure(&error))?;
        answer::version(secret, clock.now().wall)
    }
}

fn credential(
    settings: &Settings,
    http: &reqwest::Client,
) -> Result<Arc<dyn TokenCredential>, Failure> {
    Ok(match &settings.identity {
        Identity::ClientSecret { tenant, client, secret } => {
            let client_options = options(http, Peer::Login, settings);
            ClientSecretCredential::new(
                tenant,
                client.to_string(),
                secret.expose().to_owned().into(),
                Some(ClientSecretCredentialOptions { client_options }),
            )
            .map_err(|error| answer::failure(&error))?
        }
        Identity::Workload { tenant, client, token_file } => {
            let client_options = options(http, Peer::Login, settings);
            WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options },
                client_id: Some(client.to_string()),
                tenant_id: Some(tenant.to_string()),
                token_file_path: Some(token_file.clone()),
            }))
            .map_err(|_| {
                // It is read here for the first time.
                Failure::unavailable("cannot be fetched: AZURE_FEDERATED_TOKEN_FILE cannot be read")
            })?
        }
        Identity::Managed { client } => {
            let peer = Peer::Metadata { instead: settings.metadata.clone() };
            ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: client.as_deref().map(|id| UserAssignedId::ClientId(id.into())),
                client_options: options(http, peer, settings),
            }))
            .map_err(|_| {
                // Those of Arc, Machine Learning and Service Fabric.
                Failure::unset(
                    "cannot be fetched: the managed identity of this platform is not supported",
                )
            })?
        }
    })
}

/// Our transport, and no retries: the refresh has its own.
fn options(http: &reqwest::Client, peer: Peer, settings: &Settings) -> ClientOptions {
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = settings.authority.to_string();
    ClientOptions {
        transport: Some(Sender::new(Arc::new(Transport::new(http.clone(), peer)))),
        retry: RetryOptions::none(),
        cloud: Some(Arc::new(CloudConfiguration::from(cloud))),
        ..ClientOptions::default()
    }
}

//! The store: a client that is made when it is first needed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::Region;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Builder};
use tokio::sync::OnceCell;

use super::super::super::Environment;
use super::super::{Failure, Version};
use super::answer::{self, Refusal};
use super::credentials::{credentials, region_of_profile};
use super::settings::{Settings, is_region};
use super::transport::{CONNECT, Connections};

/// For one exchange, and for getting credentials.
const ATTEMPT: Duration = Duration::from_secs(4);

/// For a whole fetch, with credentials got before and, if those turn out to be old, once again.
const WHOLE: Duration = Duration::from_secs(5);

/// AWS Secrets Manager.
pub(in super::super) struct Aws {
    settings: Result<Settings, Failure>,
    /// The client with the credentials it has got, made by the first fetch. Others wait for it.
    client: Mutex<Arc<OnceCell<Client>>>,
}

impl Aws {
    /// The store as `environment` describes it.
    pub(in super::super) fn new(environment: &Environment) -> Self {
        Self { settings: Settings::parse(environment), client: Mutex::default() }
    }

    /// Asks for the secret called `name`.
    pub(in super::super) async fn fetch(&self, name: &str) -> Result<Version, Failure> {
        let settings = self.settings.as_ref().map_err(Failure::clone)?;
        let asked = tokio::time::timeout(WHOLE, self.ask(settings, name)).await;
        asked.unwrap_or_else(|_| Err(answer::too_late()))
    }

    async fn ask(&self, settings: &Settings, name: &str) -> Result<Version, Failure> {
        let kept = Arc::clone(&self.client.lock().unwrap_or_else(PoisonError::into_inner));
        let client = kept.get_or_try_init(|| connect(settings)).await?;
        match ask(client, name).await {
            Ok(version) => Ok(version),
            // Credentials of a file or a role may have been replaced since they were got. Those of
            // variables stay.
            Err(refusal) if refusal.credentials_may_be_old && settings.key.is_none() => {
                let anew = self.instead_of(&kept);
                let client = anew.get_or_try_init(|| connect(settings)).await?;
                ask(client, name).await.map_err(|refusal| refusal.failure)
            }
            Err(refusal) => Err(refusal.failure),
        }
    }

    /// A client without the credentials of `used`: a new one, unless another fetch was first.
    fn instead_of(&self, used: &Arc<OnceCell<Client>>) -> Arc<OnceCell<Client>> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&kept, used) {
            *kept = Arc::default();
        }
        Arc::clone(&kept)
    }
}

impl fmt::Debug for Aws {
    /// Without the client, which would tell more than is needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("settings", &self.settings).finish_non_exhaustive()
    }
}

async fn ask(client: &Client, name: &str) -> Result<Version, Refusal> {
    match client.get_secret_value().secret_id(name).send().await {
        Ok(output) => answer::version(output).map_err(Refusal::from),
        Err(error) => Err(answer::refusal(&error)),
    }
}

/// A client that has not asked anything yet.
async fn connect(settings: &Settings) -> Result<Client, Failure> {
    let region = match &settings.region {
        Some(region) => Region::new(region.clone()),
        None => region_of_profile(settings)
            .await
            .filter(|region| is_region(region.as_ref()))
            .ok_or_else(|| Failure::unset("cannot be fetched: AWS_REGION is not set"))?,
    };
    let connections = Connections::new().map_err(|none| answer::unavailable(&none))?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(WHOLE)
        .build();
    let credentials = credentials(settings, region.clone(), &connections, timeouts.clone());
    let mut config = Builder::new()
        // That of our own choice, not the newest: it says what the defaults are.
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(region)
        .http_client(connections)
        .identity_cache(IdentityCache::lazy().load_timeout(ATTEMPT).build())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled());
    config.set_credentials_provider(Some(credentials));
    config.set_endpoint_url(settings.endpoint.clone());
    Ok(Client::from_conf(config.build()))
}

//! The stores that are asked over the network: what is looked up in them, and what can come of it.
//!
//! One file or folder per store. A store is made of the environment and costs nothing until it is
//! first asked; it keeps connections and tokens, never secrets of keys. What it says on a failure
//! is in our own words: no URL, no body and no value.

mod aws;
mod azure;
mod failure;
mod vault;

use std::fmt;
use std::sync::Arc;

use super::{Environment, Process, Secret};
use crate::clock::Clock;
use crate::pool::{Instant, WallTime};

use aws::Aws;
use azure::Azure;
pub use failure::{Failure, FailureClass};
use vault::Vault;

/// A store that is asked over the network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RemoteStore {
    /// HashiCorp Vault, OpenBao, and what else speaks their KV version 2.
    Vault,
    /// AWS Secrets Manager.
    Aws,
    /// Azure Key Vault.
    Azure,
}

impl RemoteStore {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Vault, Self::Aws, Self::Azure];

    /// The name in the configuration, in logs and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Aws => "aws",
            Self::Azure => "azure",
        }
    }
}

/// A secret of a store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RemoteRef {
    /// The store.
    pub store: RemoteStore,
    /// The name of the secret there, whole.
    pub name: Arc<str>,
}

impl fmt::Display for RemoteRef {
    /// `vault:secret/keypool/flash_01`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store.name(), self.name)
    }
}

/// A secret as a store has it.
#[derive(Clone, Debug)]
pub struct Version {
    /// The secret, as it is written there.
    pub secret: Secret,
    /// When it was written there, if the store tells.
    pub changed_at: Option<WallTime>,
}

/// All remote stores, with what one environment says of them.
#[derive(Debug)]
pub struct RemoteStores {
    vault: Vault,
    aws: Aws,
    azure: Azure,
}

impl RemoteStores {
    /// The stores as `environment` describes them; files are read as `process` may. Nothing is
    /// connected to.
    pub fn new(environment: &Environment, process: &Process, clock: &Clock) -> Self {
        Self {
            vault: Vault::new(environment, process, clock),
            aws: Aws::new(environment),
            azure: Azure::new(environment, process, clock),
        }
    }

    /// Asks for a secret. It ends within the time that the store's client allows.
    pub async fn fetch(&self, reference: &RemoteRef) -> Result<Version, Failure> {
        match reference.store {
            RemoteStore::Vault => self.vault.fetch(&reference.name).await,
            RemoteStore::Aws => self.aws.fetch(&reference.name).await,
            RemoteStore::Azure => self.azure.fetch(&reference.name).await,
        }
    }

    /// When [`RemoteStores::tend`] has something to do; none if nothing is known. Every fetch may
    /// change it.
    pub fn due(&self) -> Option<Instant> {
        self.vault.due()
    }

    /// Keeps alive what was given to us for a time, such as a token of Vault. Nothing is done
    /// before it is due, and nothing for a store that was not asked yet. It ends within the time
    /// that the store's client allows; what fails is due again a little later.
    pub async fn tend(&self) {
        self.vault.tend().await;
    }
}

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

impl RemoteRef {
    /// The secret that `store` has as `name` after `prefix`. A name that Azure would refuse is
    /// bent to one that it takes; an ARN stands for itself.
    pub fn new(store: RemoteStore, prefix: &str, name: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name = match store {
            RemoteStore::Aws if name.starts_with("arn:") => name.to_owned(),
            RemoteStore::Vault | RemoteStore::Aws => format!("{prefix}{name}"),
            RemoteStore::Azure => name.chars().map(plain).collect(),
        };
        Self { store, name: name.into() }
    }

    /// A text that is the same for every name of one secret: Azure does not mind upper case.
    pub fn identity(&self) -> String {
        match self.store {
            RemoteStore::Vault | RemoteStore::Aws => self.to_string(),
            RemoteStore::Azure => self.to_string().to_ascii_lowercase(),
        }
    }
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
    /// What they were made of.
    variables: Vec<(String, Secret)>,
    vault: Vault,
    aws: Aws,
    azure: Azure,
}

impl RemoteStores {
    /// The stores as `environment` describes them; files are read as `process` may. Nothing is
    /// connected to.
    pub fn new(environment: &Environment, process: &Process, clock: &Clock) -> Self {
        Self {
            variables: variables(environment),
            vault: Vault::new(environment, process, clock),
            aws: Aws::new(environment),
            azure: Azure::new(environment, process, clock),
        }
    }

    /// Whether `environment` would make the same of them.
    pub fn fit(&self, environment: &Environment) -> bool {
        let same = |((name, value), (other, their)): (&(String, Secret), &(String, Secret))| {
            name == other && value.same_as(their)
        };
        let others = variables(environment);
        self.variables.len() == others.len() && self.variables.iter().zip(&others).all(same)
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

/// The variables that stores and their SDKs read.
fn variables(environment: &Environment) -> Vec<(String, Secret)> {
    const PREFIXES: [&str; 5] = ["AWS_", "AZURE_", "IDENTITY_", "IMDS_", "VAULT_"];
    let names = PREFIXES.iter().flat_map(|prefix| environment.names_with(prefix));
    let value = |name: &str| Some((name.to_owned(), environment.lookup(name)?.value.clone()));
    names.filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whole() {
        let name = |store, prefix, name| RemoteRef::new(store, prefix, name).name.to_string();
        assert_eq!(name(RemoteStore::Vault, "secret/keypool/", "a_1"), "secret/keypool/a_1");
        assert_eq!(name(RemoteStore::Aws, "keypool/", "a_1"), "keypool/a_1");
        assert_eq!(name(RemoteStore::Aws, "keypool/", "arn:aws:x"), "arn:aws:x");
        assert_eq!(name(RemoteStore::Azure, "", "Flash_01.eu"), "Flash-01-eu");
    }

    #[test]
    fn only_their_own_variables_make_other_stores() {
        let environment = |value: &str, other: &str| {
            let variables = [("VAULT_TOKEN".into(), value.into()), ("HOME".into(), other.into())];
            Environment::new(&Process::new(variables))
        };
        let process = Process::new([]);
        let stores = RemoteStores::new(&environment("fake-token-1", "a"), &process, &Clock::System);
        assert!(stores.fit(&environment("fake-token-1", "b")));
        assert!(!stores.fit(&environment("fake-token-2", "a")));
    }
}

//! Secrets: the type that keeps them out of logs, and the places they are read from.
//!
//! Invariants: a secret's text is reached through [`Secret::expose`] alone; nothing here writes to
//! the process environment; no error or warning of this module holds any text that was read, only
//! places and reasons.

mod env_file;
mod keyring;
mod environment;
mod process;
mod protected_file;
mod reference;
mod refresh;
mod remote;
mod seal;
mod secret;
mod store;
mod store_name;

pub use env_file::{EnvEntry, EnvFault, EnvFaultKind, EnvFile};
pub use environment::{Environment, Found, Source};
pub use keyring::Keyring;
pub use process::Process;
pub use protected_file::{Content, FileRefusal, FileWarning, Protected, read_protected};
pub use reference::SecretRef;
pub use refresh::{RefreshRules, RemoteSecrets, StoreState};
pub use remote::{Failure, FailureClass, RemoteRef, RemoteStore, RemoteStores, Version};
pub use seal::seal_memory;
pub use secret::{Secret, Unusable};
pub use store::{Fetched, MissingSecret, Place, Stores, Why};
pub use store_name::{Store, StoreName, StorePlaces};

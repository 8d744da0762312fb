//! HashiCorp Vault and OpenBao, KV version 2.

use super::super::Environment;
use super::{Failure, Version};

/// HashiCorp Vault and OpenBao, KV version 2.
#[derive(Debug)]
pub(super) struct Vault {}

impl Vault {
    /// The store as `environment` describes it.
    pub(super) fn new(_environment: &Environment) -> Self {
        Self {}
    }

    /// Asks for the secret called `name`.
    #[expect(clippy::unused_async, reason = "the others wait")]
    pub(super) async fn fetch(&self, _name: &str) -> Result<Version, Failure> {
        Err(Failure::unset("cannot be fetched: the store is not built yet"))
    }
}

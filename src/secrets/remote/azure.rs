//! Azure Key Vault.

use super::super::Environment;
use super::{Failure, Version};

/// Azure Key Vault.
#[derive(Debug)]
pub(super) struct Azure {}

impl Azure {
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

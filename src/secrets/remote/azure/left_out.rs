//! What stands for Azure Key Vault in a program that was built without it.

use super::super::super::{Environment, Process};
use super::super::{Failure, Version};
use crate::clock::Clock;

/// Azure Key Vault, left out.
#[derive(Debug)]
pub(in super::super) struct Azure;

impl Azure {
    /// The environment says nothing of it that could help.
    pub(in super::super) fn new(_: &Environment, _: &Process, _: &Clock) -> Self {
        Self
    }

    /// Says what is missing.
    #[expect(clippy::unused_async, reason = "the store itself waits")]
    pub(in super::super) async fn fetch(&self, _name: &str) -> Result<Version, Failure> {
        Err(Failure::unset(
            "cannot be fetched: this keypool was built without the store azure; build it with \
             --features azure",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_feature_that_is_missing_is_named() {
        let process = Process::new([]);
        let azure = Azure::new(&Environment::new(&process), &process, &Clock::System);
        let told = azure.fetch("flash-01").await.unwrap_err().to_string();
        assert!(told.ends_with("build it with --features azure"), "{told}");
    }
}

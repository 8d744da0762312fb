//! What stands for the store in a program that was built without it.

use super::super::super::Environment;
use super::super::{Failure, Version};

/// The store that this program lacks.
#[derive(Debug)]
pub(in super::super) struct Aws;

impl Aws {
    /// Nothing of `environment` matters.
    pub(in super::super) fn new(_environment: &Environment) -> Self {
        Self
    }

    /// Tells how to get the store.
    #[expect(clippy::unused_async, reason = "the real one waits")]
    pub(in super::super) async fn fetch(&self, _name: &str) -> Result<Version, Failure> {
        Err(Failure::unset(
            "cannot be fetched: this keypool was built without the store aws; build it with \
             --features aws",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_feature_that_is_lacking_is_named() {
        let told = Aws::new(&Environment::default()).fetch("keypool/flash_01").await.unwrap_err();
        assert!(told.text.ends_with("build it with --features aws"), "{told}");
    }
}

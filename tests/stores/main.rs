//! The stores against real servers, which `tests/python/install` installs, and against a Key Vault
//! of one's own, which Azure's clients judge.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
mod vault;

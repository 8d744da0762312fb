//! The stores against real servers, which `tests/python/install` installs, and against a Key Vault
//! of one's own, which Azure's clients judge.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[allow(dead_code, reason = "the tests of the daemon use other parts")]
#[path = "../it/support/http.rs"]
mod http;
#[allow(dead_code, reason = "the tests of the daemon use other parts")]
#[path = "../it/support/document.rs"]
mod document;

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(all(feature = "aws", feature = "azure"))]
mod daemon;
mod vault;

//! The stores against real servers, which `tests/python/install` installs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[cfg(feature = "aws")]
mod aws;
mod vault;

//! Tests of the stores that are asked over the network, against servers that somebody else has
//! made or has judged.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "aws")]
mod aws;

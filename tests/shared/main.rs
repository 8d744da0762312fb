//! Daemons that share limits, over a real Redis.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod failures;
mod fleet;
mod ledger;
mod places;
mod support;

#[path = "../support/provider/enforcer.rs"]
#[expect(dead_code, reason = "the sliding window is the strictest; no other is needed here")]
mod enforcer;

//! Daemons that share limits, over a real Redis.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod failures;
mod fleet;
mod layouts;
mod ledger;
mod looking;
mod places;
mod support;

#[path = "../stores/support/certificates.rs"]
#[allow(dead_code, reason = "the stores see bad ones as well")]
mod certificates;
#[path = "../support/provider/enforcer.rs"]
#[expect(dead_code, reason = "the sliding window is the strictest; no other is needed here")]
mod enforcer;

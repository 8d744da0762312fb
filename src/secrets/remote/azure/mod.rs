//! Azure Key Vault.
//!
//! The official SDK knows how to log in and how to ask. What it sends goes through the HTTP client
//! of this program, in `transport`: one TLS, bounded answers, no proxy and no redirect. A fetch
//! is one attempt: the SDK's own retries are off, because the refresh has its own.
//!
//! Without the cargo feature `azure` there is `left_out` instead.

#[cfg(feature = "azure")]
mod answer;
#[cfg(feature = "azure")]
mod client;
#[cfg(not(feature = "azure"))]
mod left_out;
#[cfg(feature = "azure")]
mod login;
#[cfg(feature = "azure")]
mod lookup;
#[cfg(feature = "azure")]
mod settings;
#[cfg(feature = "azure")]
mod transport;

#[cfg(feature = "azure")]
pub(super) use client::Azure;
#[cfg(not(feature = "azure"))]
pub(super) use left_out::Azure;

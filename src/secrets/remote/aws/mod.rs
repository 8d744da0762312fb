//! AWS Secrets Manager, by the official SDK.
//!
//! The SDK signs, finds credentials and reads answers. It is given everything it would otherwise
//! look up in the process environment, because `.env` files count as well and are never copied
//! there. The connections are ours: the one TLS stack of this program, no proxy, no redirect, and
//! an end to every answer. One fetch is one attempt; when to try again is for the caller to say.

#[cfg(feature = "aws")]
mod client;
#[cfg(feature = "aws")]
mod answer;
#[cfg(feature = "aws")]
mod text;
#[cfg(feature = "aws")]
mod credentials;
#[cfg(feature = "aws")]
mod settings;
#[cfg(feature = "aws")]
mod transport;

#[cfg(not(feature = "aws"))]
mod left_out;

#[cfg(feature = "aws")]
pub(super) use client::Aws;
#[cfg(not(feature = "aws"))]
pub(super) use left_out::Aws;

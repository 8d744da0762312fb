//! Probes: asking a provider, at an endpoint that costs nothing, whether it accepts a key.
//!
//! The pool says which keys are due and what an answer means; here is the asking. What is asked
//! comes from files that may be wrong, and who answers may be hostile. So a probe is a GET, it
//! follows no redirect, heeds no proxy, keeps no cookie and reads no more than the beginning of an
//! answer; it goes to public addresses alone, unless the settings say otherwise, and it ends in its
//! time. Nothing that a provider answers is repeated but its codes.

mod asking;
mod prober;
mod settings;
mod client;
mod lookup;
mod endpoint;
mod address;

pub use asking::{AskedProbes, NotProbed, Probed, Probes, probes};
pub use client::ProbeClient;
pub use endpoint::{Endpoint, EndpointRefused};
pub use prober::Prober;
pub use settings::{ProbeRequest, ProbeSettings, Probing};

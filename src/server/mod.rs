//! The HTTP API on the Unix socket.
//!
//! A connection is accepted (`listener`, `connection`, `places`), a request is checked and sent to its
//! endpoint (`routes`), and the endpoint turns it into a call of the pool and the answer into JSON.
//! `exporter` serves the three endpoints that Prometheus needs over TCP as well.
//! `problem` is the one place where an error becomes a status.

mod connection;
mod exporter;
mod listener;
mod service;

mod routes;
mod endpoint;
mod hygiene;
mod select;
mod report;
mod keys;
mod usage;
mod events;
mod status;
mod fleet;
mod health;
mod reload;
mod administration;
mod metrics;
mod object;
mod openapi;
mod selecting;

mod body;
mod fields;
mod problem;
mod code;
mod answer;

mod places;
mod turns;
mod descriptors;
mod head_guard;
mod write_guard;
mod callers;
mod peer;
mod membership;
mod presence;
mod pulse;
mod timer;
mod beside;

pub use callers::{CallerSettings, Callers, CallersError};
pub use connection::Server;
#[cfg(any(doc, fuzzing, test))]
pub(crate) use connection::converse_on;
pub use exporter::{Exporter, MetricsAddress};
pub use hygiene::RequiredHeader;
pub use listener::{ListenError, Listener, SocketSettings};
pub use places::ConnectionLimits;
pub use pulse::Pulse;
pub use service::{AuthHeaders, Configuration, Configured, Service};

//! What the daemon tells its operators.

pub mod logging;
pub mod metrics;

mod journal;
mod span;

pub use journal::{Event, Journal, ReloadNews};
pub use metrics::Metrics;
pub use span::span;

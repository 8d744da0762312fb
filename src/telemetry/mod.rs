//! What the daemon tells its operators.

pub mod logging;
pub mod metrics;

mod journal;

pub use journal::{Event, Journal, ReloadNews};
pub use metrics::Metrics;

//! What the daemon tells its operators.

pub mod logging;
pub mod metrics;

mod journal;
mod span;
mod words;

pub use journal::{Event, Journal, ReloadNews};
pub use metrics::Metrics;
pub use span::span;

//! What the daemon tells its operators.

pub mod logging;

mod journal;
mod span;

pub use journal::{Event, Journal};
pub use span::span;

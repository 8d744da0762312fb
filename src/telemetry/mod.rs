//! What the daemon tells its operators.

pub mod logging;

mod journal;

pub use journal::{Event, Journal};

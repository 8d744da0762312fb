//! What the daemon tells its operators.

pub mod logging;

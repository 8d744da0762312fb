//! The daemon: builds every part, starts it, reloads, and stops in order.

mod daemon;
mod loading;
mod minding;
mod editing;
mod systemd;
mod telling;

pub use daemon::{Daemon, StartError};
pub use systemd::{ActivationError, pause_after_a_crash};

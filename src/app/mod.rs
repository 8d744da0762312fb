//! The daemon: builds every part, starts it, reloads, and stops in order.

mod daemon;
mod loading;
mod editing;
mod telling;

pub use daemon::{Daemon, StartError};

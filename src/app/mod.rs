//! The daemon: builds every part, starts it, reloads, and stops in order.

mod daemon;
mod loading;

pub use daemon::{Daemon, StartError};

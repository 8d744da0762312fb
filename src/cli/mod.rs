//! The command line: arguments become values, answers become text.
//!
//! `serve` runs the daemon, `check` and `import` work on files, and every other command asks a
//! running daemon over its socket.

pub mod check;
pub mod import;

pub mod add;
pub mod administer;
pub mod events;
pub mod keys;
pub mod reload;
pub mod report;
pub mod select;
pub mod status;
pub mod usage;

mod arguments;
mod run;
mod serve;

mod client;
mod event_stream;
mod members;
mod problem;
mod replaced_file;
mod screen;
mod table;
mod units;

#[cfg(test)]
mod tests;

pub use arguments::Arguments;
pub use client::{Client, ClientError};
pub use run::run;
pub use screen::Screen;

/// The exit code of an invalid configuration: `EX_CONFIG` of sysexits.h.
pub const EXIT_CONFIG: u8 = 78;

/// The exit code of what failed.
pub const EXIT_FAILED: u8 = 1;

/// The exit code of wrong usage.
pub const EXIT_USAGE: u8 = 2;

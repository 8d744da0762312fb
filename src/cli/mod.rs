//! The command line: arguments become values, answers become text.

pub mod check;
pub mod import;

mod replaced_file;
mod table;

pub use table::Table;

/// The exit code of an invalid configuration: `EX_CONFIG` of sysexits.h.
pub const EXIT_CONFIG: u8 = 78;

/// The exit code of what failed.
pub const EXIT_FAILED: u8 = 1;

/// The exit code of wrong usage.
pub const EXIT_USAGE: u8 = 2;

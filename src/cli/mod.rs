//! The commands that ask a running daemon.

pub mod client;
pub mod events;
pub mod keys;
pub mod report;
pub mod select;
pub mod status;
pub mod usage;

mod event_stream;
mod fields;
mod screen;
mod table;
mod units;

#[cfg(test)]
mod tests;

pub use client::{Client, ClientError};
pub use screen::Screen;

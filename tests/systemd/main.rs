//! The units: judged by systemd's own tools, and booted under a real systemd, in a container that
//! `tests/systemd/install` makes. As root.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what a machine said is told when its test fails")]

mod booted;
mod load;
mod machine;
mod readme;
mod units;

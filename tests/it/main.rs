//! Tests of the whole daemon: real sockets, and a clock that moves by hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML takes Rust's quotes")]

mod support;

mod api;
mod command;
mod concurrency;
mod leaks;
mod probes;
mod surface;

//! Tests of the whole daemon: real sockets, and a clock that moves by hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML takes Rust's quotes")]

mod support;

#[allow(dead_code, unused_imports, reason = "the simulation uses other parts")]
#[path = "../support/provider/mod.rs"]
mod provider;

#[allow(dead_code, reason = "the tests of sharing do more to it")]
#[path = "../shared/support/redis.rs"]
mod redis;

mod admin;
mod api;
mod callers;
mod command;
mod concurrency;
mod crates;
mod drain;
mod events;
mod examples;
mod filesystems;
mod fleet;
mod leaks;
mod limits;
mod metrics;
mod openapi;
mod probes;
mod redis_check;
mod reload;
mod secrets;
mod state;
mod surface;
mod systemd;
mod tidy;

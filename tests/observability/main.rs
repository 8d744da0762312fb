//! What operators see: the dashboards, the alerts, and whether they tell what happens in a daemon.
//! A real Prometheus judges them; it is in the Debian package prometheus, which `tests/run`
//! installs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML takes Rust's quotes")]

#[allow(dead_code, unused_imports, reason = "the tests of the daemon use other parts")]
#[path = "../it/support/mod.rs"]
mod support;

mod board;
mod prometheus;

mod structure;
mod names;
mod alerts;
mod provisioned;
mod live;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What is in it.
#[track_caller]
fn text(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

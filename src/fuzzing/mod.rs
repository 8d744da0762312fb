//! What a fuzzer feeds with bytes, and what must hold whatever they are.
//!
//! Each target is one function here. `fuzz/fuzz_targets/` hands it to libFuzzer, which looks for
//! bytes that make it panic; the tests hand it the seeds of `fuzz/seeds/` and a fixed number of
//! mutations of them (`mutation`), so that every test run shows that no target is broken and that
//! what was found stays mended. A finding is a panic: this module asserts, as tests do.

#![allow(clippy::unwrap_used, reason = "a finding is a panic")]

mod keys_json;
mod env_file;
mod settings;
mod provider_answer;
mod exposition;
mod pool_calls;
mod state_file;
mod http;
mod shared_quota;

mod count;
mod script;
mod response;

#[cfg(test)]
mod mutation;
#[cfg(test)]
mod tests;

pub use env_file::env_file;
pub use exposition::exposition;
pub use http::http;
pub use keys_json::keys_json;
pub use pool_calls::pool_calls;
pub use provider_answer::provider_answer;
pub use settings::settings;
pub use shared_quota::shared_quota;
pub use state_file::state_file;

use std::path::Path;
use std::sync::Arc;

use crate::clock::JiffCalendar;
use crate::config::{self, Bootstrap, Flags};
use crate::pool::{Calendar, Pool};
use crate::secrets::Process;

/// What is done with bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name that it has for `cargo fuzz` and in `fuzz/seeds/`.
pub const TARGETS: [(&str, Target); 9] = [
    ("env_file", env_file),
    ("exposition", exposition),
    ("http", http),
    ("keys_json", keys_json),
    ("pool_calls", pool_calls),
    ("provider_answer", provider_answer),
    ("settings", settings),
    ("shared_quota", shared_quota),
    ("state_file", state_file),
];

fn path(name: &str) -> Arc<Path> {
    Path::new(name).into()
}

/// Everything as it is without a file and without a variable.
fn usual() -> Bootstrap {
    let process = process();
    config::of_text(None, "", &Flags::default(), &process, Vec::new()).unwrap()
}

/// A process of an empty environment.
fn process() -> Process {
    Process { variables: [].into(), uid: 1000, umask: 0o022 }
}

/// A pool without keys.
fn pool() -> Pool {
    Pool::new(calendar(), 1, 1)
}

fn calendar() -> Arc<dyn Calendar> {
    Arc::new(JiffCalendar)
}

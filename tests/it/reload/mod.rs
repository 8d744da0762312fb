//! Files that change while the daemon serves.

mod saving;
mod broken;
mod others;
mod serving;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use keypool::control::Control;
use serde_json::{Value, json};

use crate::support::{Answer, TestDaemon, keys_json, send};

/// The time of the promise: what is valid serves this long after it was written.
const PROMISE: Duration = Duration::from_secs(2);

/// The daemon's clock moves on by this while a test waits.
const STEP: Duration = Duration::from_millis(50);

/// What a step takes in real time: inotify and threads that read files need some.
const MOMENT: Duration = Duration::from_millis(8);

/// A daemon and the directory of its keys file.
struct Edited {
    daemon: TestDaemon,
}

impl Edited {
    /// A daemon with the key `a`.
    fn start() -> Self {
        Self::with("")
    }

    fn with(toml: &str) -> Self {
        let edited = Self { daemon: TestDaemon::with(&only("a"), toml) };
        edited.rest();
        edited
    }

    fn path(&self, name: &str) -> PathBuf {
        self.daemon.path(name)
    }

    fn keys(&self) -> PathBuf {
        self.path("keys.json")
    }

    fn pass(&self, span: Duration) {
        for _ in 0..span.as_millis() / STEP.as_millis() {
            self.daemon.pass(STEP);
            thread::sleep(MOMENT);
        }
    }

    /// Lets the daemon notice all that is to be noticed.
    fn rest(&self) {
        self.pass(PROMISE);
    }

    /// Lets the time of the promise pass, at most, until `done`. A slow machine gets more real
    /// time for the later steps.
    fn within_the_promise(&self, what: &str, done: impl Fn() -> bool) {
        for step in 0..PROMISE.as_millis() / STEP.as_millis() {
            if done() {
                return;
            }
            self.daemon.pass(STEP);
            thread::sleep(if step < 20 { MOMENT } else { MOMENT * 8 });
        }
        assert!(done(), "{what}: {}", self.configuration());
    }

    fn configuration(&self) -> Value {
        self.daemon.get("/v1/status").json()["configuration"].clone()
    }

    fn generation(&self) -> u64 {
        self.configuration()["generation"].as_u64().unwrap()
    }

    fn errors(&self) -> Vec<String> {
        let errors = self.configuration()["errors"].clone();
        serde_json::from_value(errors).unwrap()
    }

    fn ids(&self) -> Vec<String> {
        let keys = self.daemon.get("/v1/keys").json();
        let keys = keys["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["key_id"].as_str().unwrap().to_owned()).collect()
    }

    fn serves(&self, ids: &[&str]) -> bool {
        self.ids() == ids
    }

    fn soon_serves(&self, what: &str, ids: &[&str]) {
        self.within_the_promise(what, || self.serves(ids));
    }

    fn reload(&self) -> Value {
        let answer = self.daemon.post("/v1/reload", &json!({}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    fn secret(&self) -> String {
        self.daemon.select(&json!({}))["secret"].as_str().unwrap().to_owned()
    }
}

/// keys.json with one key.
fn only(id: &str) -> String {
    keys_json(&[(id, "")])
}

/// Saves as careful programs do: another file, then the name.
fn save(path: &Path, text: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

//! A daemon in this process, in a directory of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use keypool::app::Daemon;
use keypool::clock::{Clock, ManualClock};
use keypool::config::{Flags, bootstrap};
use keypool::control::{Control, Controls};
use keypool::secrets::Process;
use keypool::server::Service;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{Answer, send};

/// A running daemon whose clock moves by hand. Dropping it stops it.
pub(crate) struct TestDaemon {
    dir: TempDir,
    pub(crate) clock: ManualClock,
    controls: Controls,
    service: Arc<Service>,
    thread: Option<JoinHandle<()>>,
}

impl TestDaemon {
    /// A daemon that serves the keys of `keys_json`, each with the secret `fake-secret-ID`.
    pub(crate) fn of(keys_json: &str) -> Self {
        Self::with(keys_json, "")
    }

    /// The same with more lines in keypool.toml. Keys are probed only if there is a `[probe]`, and
    /// metrics are served over TCP only if there is a `metrics_addr`.
    pub(crate) fn with(keys_json: &str, toml: &str) -> Self {
        Self::assembled(keys_json, &[], |_| toml.to_owned())
    }

    /// The same with more variables.
    pub(crate) fn with_variables(keys_json: &str, toml: &str, variables: &[(&str, &str)]) -> Self {
        Self::assembled(keys_json, variables, |_| toml.to_owned())
    }

    /// The same with the lines that `prepare` makes of the paths of files in the directory.
    pub(crate) fn prepared(
        keys_json: &str,
        prepare: impl FnOnce(&dyn Fn(&str) -> PathBuf) -> String,
    ) -> Self {
        Self::assembled(keys_json, &[], prepare)
    }

    /// A daemon that serves once the test runs it, in a directory that is to be kept meanwhile.
    pub(crate) fn not_yet_running(keys_json: &str, toml: &str) -> (TempDir, Daemon) {
        let dir = written(keys_json, |_| toml.to_owned());
        let daemon = started(&dir, &ManualClock::default(), &[]);
        (dir, daemon)
    }

    fn assembled(
        keys_json: &str,
        variables: &[(&str, &str)],
        prepare: impl FnOnce(&dyn Fn(&str) -> PathBuf) -> String,
    ) -> Self {
        Self::start(written(keys_json, prepare), ManualClock::default(), variables)
    }

    /// A daemon with the files of `dir`.
    fn start(dir: TempDir, clock: ManualClock, variables: &[(&str, &str)]) -> Self {
        let daemon = started(&dir, &clock, variables);
        let (controls, service) = (daemon.controls(), daemon.service().clone());
        let thread = thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(daemon.run()).unwrap();
        });
        Self { dir, clock, controls, service, thread: Some(thread) }
    }

    /// A daemon that keeps its state in `state`.
    pub(crate) fn keeping_state(keys_json: &str) -> Self {
        Self::with(keys_json, "state_dir = \"STATE\"")
    }

    /// Another daemon, started with the files as they are at this instant: what would be there
    /// after a `kill -9`. `spoil` may change them first.
    pub(crate) fn after_a_kill(&self, spoil: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let toml = fs::read_to_string(self.dir.path().join("keypool.toml")).unwrap();
        let (old, new) = (self.dir.path().to_str().unwrap(), dir.path().to_str().unwrap());
        fs::write(dir.path().join("keypool.toml"), toml.replace(old, new)).unwrap();
        fs::copy(self.dir.path().join("keys.json"), dir.path().join("keys.json")).unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        for entry in fs::read_dir(self.dir.path().join("state")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), state.join(entry.file_name())).unwrap();
        }
        spoil(&state);
        Self::start(dir, self.clock.clone(), &[])
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("keypool.sock")
    }

    /// Where the state is kept.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A file in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        send(&self.socket(), "GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        send(&self.socket(), "POST", path, Some(&body.to_string()))
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        send(&self.socket(), method, path, Some(&body.to_string()))
    }

    /// The answer to a select that must be granted.
    pub(crate) fn select(&self, request: &Value) -> Value {
        let answer = self.post("/v1/select", request);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// The answer to a report of `outcome`.
    pub(crate) fn report(&self, lease: &Value, outcome: &str) -> Value {
        let answer =
            self.post("/v1/report", &json!({"lease_id": lease["lease_id"], "outcome": outcome}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// The state of a key.
    pub(crate) fn state(&self, key_id: &str) -> String {
        let key = self.get(&format!("/v1/keys/{key_id}")).json();
        key["state"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pass(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// What its endpoints work with.
    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    pub(crate) fn control(&self, control: Control) {
        self.controls.send(control);
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        self.controls.send(Control::Stop);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the daemon ended badly");
        }
    }
}

/// The files of a daemon in a directory of their own.
fn written(keys_json: &str, prepare: impl FnOnce(&dyn Fn(&str) -> PathBuf) -> String) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("keys.json"), keys_json).unwrap();
    fs::set_permissions(path("keys.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let toml = prepare(&path);
    let state = if toml.contains("state_dir") { "" } else { "state_dir = \"\"\n" };
    let metrics = if toml.contains("metrics_addr") { "" } else { "metrics_addr = \"\"\n" };
    let toml = toml.replace("STATE", path("state").to_str().unwrap());
    let settings = format!(
        "{state}{metrics}socket = {:?}\nkeys = {:?}\nlog = \"error\"\n{toml}\n{}",
        path("keypool.sock"),
        path("keys.json"),
        if toml.contains("[probe]") { "" } else { "[probe]\nenabled = false\n" },
    );
    fs::write(path("keypool.toml"), settings).unwrap();

    dir
}

/// A daemon with the files of `dir` that listens but does not serve yet.
fn started(dir: &TempDir, clock: &ManualClock, variables: &[(&str, &str)]) -> Daemon {
    let keys_json = fs::read_to_string(dir.path().join("keys.json")).unwrap();
    let more = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let secrets = secrets(&keys_json).into_iter().chain(more);
    let process = Process::new(secrets.map(|(k, v)| (k.into(), v.into())));
    let flags = Flags { config: Some(dir.path().join("keypool.toml")), ..Flags::default() };
    let built = bootstrap(&flags, &process).unwrap();
    Daemon::start(built, flags, process, Clock::Manual(clock.clone())).unwrap()
}

/// `{PROVIDER}_KEY_{key_id}` for every key.
fn secrets(keys_json: &str) -> Vec<(String, String)> {
    let Ok(file) = serde_json::from_str::<Value>(keys_json) else { return Vec::new() };
    let keys = file["keys"].as_array().cloned().unwrap_or_default();
    let variable = |key: &Value| {
        let id = key["key_id"].as_str()?;
        let provider = key["provider"].as_str().unwrap_or("gemini").to_uppercase();
        Some((format!("{provider}_KEY_{id}"), format!("fake-secret-{id}")))
    };
    keys.iter().filter_map(variable).collect()
}

//! The real daemon, in a directory of its own, on the clock of the day.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use keypool::app::Daemon;
use keypool::clock::{Clock, ManualClock};
use keypool::config::{Flags, bootstrap};
use keypool::control::{Control, Controls};
use keypool::secrets::Process;
use tempfile::TempDir;

use crate::day::{Day, KEYS, OnDisk, keys_json};

/// A daemon that runs in a thread of its own.
#[derive(Debug)]
pub(crate) struct Running {
    dir: TempDir,
    on_disk: Cell<OnDisk>,
    controls: Controls,
    thread: JoinHandle<()>,
}

impl Running {
    /// Starts one that probes its keys at `provider`.
    pub(crate) fn start(clock: &ManualClock, provider: SocketAddr) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        fs::write(path("keys.json"), keys_json(OnDisk::Valid))?;
        fs::set_permissions(path("keys.json"), fs::Permissions::from_mode(0o600))?;
        let place = |name: &str| path(name).display().to_string();
        let providers = ["gemini", "openai", "anthropic"]
            .map(|name| format!("[providers.{name}]\nbase_url = \"http://{provider}\"\n"));
        let toml = format!(
            "socket = {:?}\nkeys = {:?}\nstate_dir = {:?}\nmetrics_addr = \"\"\nlog = \"error\"\n\
             [probe]\nallow_private = true\n{}",
            place("keypool.sock"),
            place("keys.json"),
            place("state"),
            providers.concat(),
        );
        fs::write(path("keypool.toml"), toml)?;

        let secrets = KEYS.map(|(id, provider)| {
            (format!("{provider}_KEY_{id}").into(), format!("fake-secret-{id}").into())
        });
        let process = Process::new(secrets);
        let flags = Flags { config: Some(path("keypool.toml")), ..Flags::default() };
        let built = bootstrap(&flags, &process)?;
        let daemon = Daemon::start(built, flags, process, Clock::Manual(clock.clone()))?;
        let controls = daemon.controls();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let thread = thread::Builder::new().name("keypool".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(daemon.run()) {
                panic!("the daemon ended: {error:#}");
            }
        })?;
        Ok(Self { dir, on_disk: Cell::new(OnDisk::Valid), controls, thread })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("keypool.sock")
    }

    /// Saves keys.json as it is at this time of `day`.
    pub(crate) fn follow(&self, day: &Day) -> anyhow::Result<()> {
        let now = day.on_disk();
        if self.on_disk.replace(now) != now {
            fs::write(self.dir.path().join("keys.json"), keys_json(now))
                .context("cannot save keys.json")?;
            self.controls.send(Control::Reload);
        }
        Ok(())
    }

    pub(crate) fn stop(self) {
        self.controls.send(Control::Stop);
        assert!(self.thread.join().is_ok(), "the daemon ended badly");
    }
}

//! A Debian with systemd of one's own: booted in a container, and gone without a trace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use keypool::clock::Clock;
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::readme::install_blocks;

/// One boots at a time: they share the root, which none of them writes to.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The root of the clone in the machine, from which keypool is installed.
const CLONE: &str = "/root/keypool";

/// A booted machine. Dropping it shuts it down.
pub(crate) struct Machine {
    nspawn: Child,
    log: PathBuf,
    /// What it prints while it boots.
    _dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    /// A machine where keypool is installed as the README says, with the socket listening.
    pub(crate) fn with_keypool() -> Self {
        let machine = Self::boot();
        let [install, configure, start, _] = install_blocks();
        let install = install.replace("cargo build --release --locked\n", "");
        assert!(!install.contains("cargo"), "the machine has no Rust");
        machine.succeeds(&format!("set -e; cd {CLONE}\n{install}\n{configure}"));
        // There is no provider that could be asked.
        machine.succeeds("printf '[probe]\\nenabled = false\\n' >> /etc/keypool/keypool.toml");
        let enable = start.lines().next().unwrap();
        machine.succeeds(enable);
        machine
    }

    fn boot() -> Self {
        assert!(
            geteuid().is_root(),
            "booting the units needs root: sudo -E tests/run, or sudo -E cargo test --test systemd"
        );
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let root = target.parent().unwrap().join("systemd/root");
        let made = target.parent().unwrap().join("systemd/made");
        assert!(made.exists(), "{} is missing: run tests/systemd/install", root.display());
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("boot.log");
        let binary = env!("CARGO_BIN_EXE_keypool");
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
        // What ends without being dropped is ended by `timeout`.
        let nspawn = Command::new("timeout")
            .args(["--signal=KILL", "300", "systemd-nspawn", "--quiet", "--boot"])
            .args(["--register=no", "--keep-unit", "--console=pipe", "--volatile=overlay"])
            .args(["--private-network", "--link-journal=no"])
            .arg(format!("--machine=keypool-{}", std::process::id()))
            .arg(format!("--directory={}", root.display()))
            .arg(format!("--bind-ro={binary}:{CLONE}/target/release/keypool"))
            .arg(format!("--bind-ro={}:{CLONE}/systemd", units.display()))
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(File::options().append(true).open(&log).unwrap())
            .spawn()
            .expect("systemd-nspawn is there: apt-get install systemd-container");
        let machine = Self { nspawn, log, _dir: dir, _turn: turn };
        until(&format!("it boots:\n{}", machine.boot_log()), || {
            let state = machine.leader().map(|_| machine.run("systemctl is-system-running"));
            state.is_some_and(|state| state.status.success())
        });
        machine
    }

    fn boot_log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process id of its systemd.
    fn leader(&self) -> Option<u32> {
        children(children(self.nspawn.id())?)
    }

    /// A file of the machine, as this one sees it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        let leader = self.leader().expect("the machine runs");
        PathBuf::from(format!("/proc/{leader}/root{path}"))
    }

    /// Runs a shell script in it.
    pub(crate) fn run(&self, script: &str) -> Output {
        let leader = self.leader().expect("the machine runs").to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid"]);
        command.args(["--", "/bin/bash", "-c", script]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.output().unwrap()
    }

    /// What a script prints that must succeed.
    #[track_caller]
    pub(crate) fn succeeds(&self, script: &str) -> String {
        let output = self.run(script);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{printed}\n{errors}\n{}", self.journal());
        printed.trim_end().to_owned()
    }

    /// What a script says that must fail.
    #[track_caller]
    pub(crate) fn fails(&self, script: &str) -> String {
        let output = self.run(script);
        assert!(!output.status.success(), "{script} succeeds");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// A property of the service.
    pub(crate) fn property(&self, name: &str) -> String {
        self.succeeds(&format!("systemctl show --value --property={name} keypool.service"))
    }

    /// Has the service run with more lines of `[Service]`.
    pub(crate) fn drop_in(&self, lines: &str) {
        let dir = "/run/systemd/system/keypool.service.d";
        self.succeeds(&format!(
            "mkdir -p {dir} && printf '[Service]\\n{lines}\\n' > {dir}/test.conf && \
             systemctl daemon-reload"
        ));
    }

    /// Has it run as installed again.
    pub(crate) fn remove_drop_in(&self) {
        self.succeeds("rm -r /run/systemd/system/keypool.service.d; systemctl daemon-reload");
    }

    /// The log of the service.
    pub(crate) fn journal(&self) -> String {
        let log = self.run("journalctl --no-pager --output=cat --unit=keypool.service | tail -60");
        String::from_utf8_lossy(&log.stdout).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}\n{}", self.boot_log(), self.journal());
        }
        // nspawn shuts its machine down on TERM, and `timeout` passes it on.
        let pid = Pid::from_child(&self.nspawn);
        kill_process(pid, Signal::TERM).ok();
        self.nspawn.wait().ok();
    }
}

/// The first child of a process.
fn children(of: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Returns once `happened`; fails if it does not for long. For what takes real time.
#[track_caller]
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let now = || Clock::System.now().at;
    let begun = now();
    while !happened() {
        assert!(now().since(begun) < Duration::from_mins(1), "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

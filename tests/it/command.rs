//! The binary as a person starts it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use keypool::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::until;

/// A clone of what the repository gives a newcomer.
pub(crate) fn clone() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config");
    fs::create_dir(&config).unwrap();
    for file in ["keypool.toml", "keys.json", "dev.env"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file);
        // Many daemons of these tests run at once.
        let text = fs::read_to_string(from).unwrap().replace("127.0.0.1:9464", "127.0.0.1:0");
        fs::write(config.join(file), text).unwrap();
        fs::set_permissions(config.join(file), fs::Permissions::from_mode(0o640)).unwrap();
    }
    dir
}

pub(crate) fn keypool(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keypool"));
    command.args(arguments).current_dir(dir).env_clear();
    command
}

pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Output {
    keypool(dir, arguments).output().unwrap()
}

/// Runs a shell script in which `$0` is the binary.
fn shell(dir: &Path, script: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_keypool")]).current_dir(dir);
    command.output().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// A daemon started as a person would. Dropping it kills it.
pub(crate) struct Served {
    child: Child,
    log: Vec<String>,
}

impl Served {
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        Self::of(keypool(dir, &[&["serve"], arguments].concat()))
    }

    /// The same by another command that ends in the daemon.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = Vec::new();
        let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
        while !log.last().is_some_and(|line: &String| line.contains("try: curl")) {
            log.push(lines.next().expect("the daemon says that it listens").unwrap());
        }
        Self { child, log }
    }

    /// The same by a command that says nothing, once it listens at `socket`.
    pub(crate) fn silently(mut command: Command, socket: &Path) -> Self {
        let child = command.spawn().unwrap();
        while !socket.exists() {
            std::thread::yield_now();
        }
        Self { child, log: Vec::new() }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said until it served.
    pub(crate) fn log(&self) -> &[String] {
        &self.log
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; what it logged since the start, and its exit code.
    pub(crate) fn end(mut self) -> (String, Option<i32>) {
        let log = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
        let status = self.child.wait().unwrap();
        (log, status.code())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_first_command_serves_out_of_the_box() {
    let dir = clone();
    let served = Served::start(dir.path(), &[]);
    let curl = served.log.last().unwrap();
    assert!(curl.contains("curl --unix-socket run/keypool.sock --json"), "{curl}");
    let curl = curl.split("try: ").nth(1).unwrap();
    let answer = shell(dir.path(), &format!("{curl} -s"));
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["secret"], "fake-secret-flash-01");

    assert_eq!(fs::metadata(dir.path().join("run/keypool.sock")).unwrap().mode() & 0o777, 0o660);
    served.signal(Signal::TERM);
    let (log, exit) = served.end();
    assert_eq!(exit, Some(0), "{log}");
    assert!(!dir.path().join("run/keypool.sock").exists());
}

#[test]
fn a_second_daemon_does_not_take_the_socket_of_the_first() {
    let dir = clone();
    let served = Served::start(dir.path(), &[]);
    let second = run(dir.path(), &["serve"]);
    assert_eq!(code(&second), 1);
    assert!(
        err(&second).contains("another keypool serves run/keypool.sock already"),
        "{}",
        err(&second)
    );
    assert_eq!(code(&run(dir.path(), &["status"])), 0, "the first one goes on");
    drop(served);
    let third = Served::start(dir.path(), &[]);
    assert_eq!(
        code(&run(dir.path(), &["status"])),
        0,
        "a killed one leaves a socket that is replaced"
    );
    drop(third);
}

#[test]
fn the_commands_work_together_in_a_shell() {
    let dir = clone();
    let _served = Served::start(dir.path(), &[]);
    let script = r#"
        set -eu
        eval "$("$0" select --model gemini-2.5-pro)"
        test "$SECRET" = fake-secret-pro-01
        test "$HEADER_NAME" = x-goog-api-key
        "$0" report "$LEASE_ID" --status 429
        "$0" keys
        "$0" usage
        "$0" events
        "$0" status
    "#;
    let output = shell(dir.path(), script);
    let shown = out(&output);
    assert_eq!(code(&output), 0, "{shown}{}", err(&output));
    assert!(shown.contains("pro_01: rate_limited; cooling until"), "{shown}");
    assert!(!shown.contains("fake-secret"), "{shown}");
}

#[test]
fn exit_codes_tell_programs_what_happened() {
    let dir = clone();
    let none = run(dir.path(), &["status"]);
    assert_eq!((code(&none), err(&none).contains("no daemon at run/keypool.sock")), (4, true));
    assert_eq!(code(&run(dir.path(), &["frobnicate"])), 2);
    assert_eq!(code(&run(dir.path(), &["check"])), 0);
    let _served = Served::start(dir.path(), &[]);
    for _ in 0..15 {
        assert_eq!(code(&run(dir.path(), &["select", "--model", "gemini-2.0-flash"])), 0);
    }
    let exhausted = run(dir.path(), &["select", "--model", "gemini-2.0-flash"]);
    assert_eq!(code(&exhausted), 3, "{}", err(&exhausted));
    assert_eq!(code(&run(dir.path(), &["select", "--model", "nonsense"])), 1);
    assert_eq!(code(&run(dir.path(), &["report", "00000000-0", "--outcome", "success"])), 1);
}

#[test]
fn an_invalid_configuration_is_78_with_every_error() {
    let dir = clone();
    fs::write(dir.path().join("config/keypool.toml"), "sokcet = 1\nlog = 5\n").unwrap();
    let refused = run(dir.path(), &["serve"]);
    assert_eq!(code(&refused), 78);
    let told = err(&refused);
    assert!(told.contains("keypool.toml:1") && told.contains("keypool.toml:2"), "{told}");
    assert_eq!(code(&run(dir.path(), &["check"])), 78);
}

#[test]
fn a_hangup_reloads_the_keys_and_a_bad_file_changes_nothing() {
    let dir = clone();
    let served = Served::start(dir.path(), &[]);
    let keys = dir.path().join("config/keys.json");
    let select = || out(&run(dir.path(), &["--json", "select"]));
    let generation = || {
        let status: Value =
            serde_json::from_str(&out(&run(dir.path(), &["--json", "status"]))).unwrap();
        let errors = status["configuration"]["errors"].as_array().unwrap().len();
        (status["configuration"]["generation"].as_u64().unwrap(), errors)
    };
    fs::write(&keys, "{").unwrap();
    served.signal(Signal::HUP);
    while generation() != (1, 1) {
        std::thread::yield_now();
    }
    assert!(select().contains("pro_01"), "the pool is as it was");
    fs::write(&keys, r#"{"keys": [{"key_id": "pro_05"}]}"#).unwrap();
    served.signal(Signal::HUP);
    while generation() != (2, 0) {
        std::thread::yield_now();
    }
    assert!(select().contains("pro_05"));
}

/// Waits in real time until `dir` serves the key `id`; how long that took.
pub(crate) fn until_served(dir: &Path, id: &str) -> Duration {
    let begin = Clock::System.now().at;
    loop {
        let passed = Clock::System.now().at.since(begin);
        if out(&run(dir, &["--json", "keys"])).contains(&format!("\"{id}\"")) {
            return passed;
        }
        assert!(passed < Duration::from_secs(20), "{id} is not served");
    }
}

#[test]
fn what_an_editor_saves_serves_within_two_seconds() {
    let dir = clone();
    let _served = Served::start(dir.path(), &[]);
    let saved = shell(dir.path(), "sed -i s/pro_05/pro_99/ config/keys.json");
    assert_eq!(code(&saved), 0, "{}", err(&saved));
    let took = until_served(dir.path(), "pro_99");
    assert!(took < Duration::from_secs(2), "{took:?}");

    let unchanged = run(dir.path(), &["reload"]);
    assert_eq!((code(&unchanged), out(&unchanged).starts_with("unchanged")), (0, true));
    fs::write(dir.path().join("config/keys.json"), "{\"keys\": [{\"key_id\": 1}, {}]}").unwrap();
    let kept = run(dir.path(), &["reload"]);
    assert_eq!((code(&kept), err(&kept).matches("config/keys.json:1:").count()), (1, 2));
}

#[test]
fn without_inotify_files_are_looked_at() {
    let dir = clone();
    let without = "echo 0 > /proc/sys/user/max_inotify_instances";
    let run_without = |script: String| {
        // In such a namespace only a socket for its own user is served.
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", &script]);
        command.arg(env!("CARGO_BIN_EXE_keypool")).current_dir(dir.path()).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("KEYPOOL_SERVER_MODE", "0600");
        command
    };
    let tried = run_without(without.to_owned()).output().unwrap();
    assert!(tried.status.success(), "this test needs user namespaces: {}", err(&tried));
    let _served = Served::of(run_without(format!("{without} && exec \"$0\" serve")));
    shell(dir.path(), "sed -i s/pro_05/pro_99/ config/keys.json");
    let took = until_served(dir.path(), "pro_99");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let status: Value =
        serde_json::from_str(&out(&run(dir.path(), &["--json", "status"]))).unwrap();
    assert_eq!(status["configuration"]["watch"], "poll");
}

#[test]
fn no_secret_is_in_the_log_at_any_level() {
    let dir = clone();
    let served = Served::start(dir.path(), &["-vv"]);
    assert_eq!(code(&run(dir.path(), &["select"])), 0);
    assert_eq!(code(&run(dir.path(), &["select", "--model", "nonsense"])), 1);
    let start = served.log.join("\n");
    served.signal(Signal::TERM);
    let (log, _) = served.end();
    assert!(log.contains("selected"), "the log is at its loudest: {log}");
    assert!(!start.contains("fake-secret") && !log.contains("fake-secret"), "{start}\n{log}");
}

#[test]
fn nobody_but_root_can_read_the_memory_of_the_daemon() {
    let dir = clone();
    let binary = dir.path().join("keypool");
    fs::copy(env!("CARGO_BIN_EXE_keypool"), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.arg("serve").current_dir(dir.path()).env_clear();
    if rustix::process::geteuid().is_root() {
        let nobody = 65534;
        let entries = fs::read_dir(dir.path().join("config")).unwrap();
        for path in entries.map(|entry| entry.unwrap().path()).chain([dir.path().to_owned()]) {
            std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).unwrap();
        }
        command.uid(nobody).gid(nobody);
    }
    let served = Served::of(command);
    let process = Path::new("/proc").join(served.child.id().to_string());
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().rev().take(3).collect::<Vec<_>>(), ["bytes", "0", "0"]);
    // The kernel gives what may not be dumped to root.
    assert_eq!(fs::metadata(process.join("environ")).unwrap().uid(), 0);
    for file in ["environ", "mem"] {
        let mut read = Command::new("head");
        read.arg("-c1").arg(process.join(file));
        if rustix::process::geteuid().is_root() {
            read.uid(65534).gid(65534);
        }
        let refused = read.output().unwrap();
        assert!(!refused.status.success() && err(&refused).contains("ermission denied"), "{file}");
    }
}

#[test]
fn a_daemon_that_is_aborted_leaves_no_core() {
    for signal in [Signal::ABORT, Signal::SEGV] {
        let dir = clone();
        let mut served = Served::start(dir.path(), &[]);
        let mut ended = None;
        until("it is dead", || {
            // Rust takes the first SEGV for an overflow of the stack that it was not.
            served.signal(signal);
            ended = served.child.try_wait().unwrap();
            ended.is_some()
        });
        let ended = ended.unwrap();
        assert_eq!(ended.signal(), Some(signal.as_raw()));
        assert!(!ended.core_dumped());
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "config and run alone: {left:?}");
    }
}

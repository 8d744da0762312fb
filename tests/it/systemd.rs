//! What systemd gives to the daemon and is told by it, without a systemd.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keypool::control::Control;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{EIGHT_KEYS, TestDaemon, keys_json, send};

/// A systemd that listens to what it is told.
pub(crate) struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { dir, socket }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn notify_socket(&self) -> String {
        self.path("notify").to_str().unwrap().to_owned()
    }

    /// The next thing it is told.
    #[track_caller]
    pub(crate) fn told(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).expect("the daemon says something");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Reads on until it is told something that begins with `start`.
    #[track_caller]
    pub(crate) fn told_of(&self, start: &str) -> String {
        loop {
            let told = self.told();
            if told.starts_with(start) {
                return told;
            }
        }
    }

    /// Whether nothing is said for a moment.
    fn hears_nothing(&self) -> bool {
        !self.hears("")
    }

    /// Whether something is said in a moment that begins with `start`.
    pub(crate) fn hears(&self, start: &str) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut bytes = [0; 1024];
        let heard = self.socket.recv(&mut bytes);
        self.socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        heard.is_ok_and(|length| bytes[..length].starts_with(start.as_bytes()))
    }

    /// The files of a daemon with one key and a state.
    pub(crate) fn write_config(&self) {
        fs::write(self.path("keys.json"), keys_json(&[("a", "")])).unwrap();
        fs::create_dir_all(self.path("state")).unwrap();
        let toml = format!(
            "socket = {:?}\nkeys = {:?}\nmetrics_addr = \"\"\nstate_dir = {:?}\n[probe]\nenabled = false\n",
            self.path("api.sock"),
            self.path("keys.json"),
            self.path("state"),
        );
        fs::write(self.path("keypool.toml"), toml).unwrap();
    }

    /// The binary, which is told of this systemd; with `socket`, that is passed to it as systemd
    /// would, with `more` variables.
    pub(crate) fn start(&self, socket: Option<&UnixListener>, more: &str) -> Running {
        let pass = match socket {
            Some(_) => format!("exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 {more};"),
            None => String::new(),
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{pass} exec \"$0\" serve"), env!("CARGO_BIN_EXE_keypool")])
            .env_clear()
            .env("KEYPOOL_CONFIG", self.path("keypool.toml"))
            .env("GEMINI_KEY_a", "fake-secret-a")
            .env("NOTIFY_SOCKET", self.notify_socket())
            .stdin(socket.map_or(Stdio::null(), |socket| {
                Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()))
            }))
            .stderr(File::options().create(true).append(true).open(self.path("log")).unwrap());
        Running(command.spawn().unwrap())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }
}

/// A daemon that is killed at the latest when it is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Stops it in order.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn live(socket: &Path) -> u16 {
    send(socket, "GET", "/livez", None).status
}

#[test]
fn systemd_is_told_of_the_start_of_reloads_and_of_the_end() {
    let manager = Manager::new();
    let variables = [("NOTIFY_SOCKET", &*manager.notify_socket())];
    let daemon = TestDaemon::with_variables(EIGHT_KEYS, "", &variables);
    assert_eq!(manager.told(), "READY=1\nSTATUS=8 of 8 keys are ready\n");

    daemon.control(Control::Reload);
    let reloading = manager.told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.told(), "READY=1\nSTATUS=8 of 8 keys are ready\n");

    daemon.control(Control::Stop);
    assert!(manager.told().starts_with("STOPPING=1\n"));
}

#[test]
fn the_watchdog_is_fed_only_while_the_serving_loop_and_the_pool_answer() {
    let manager = Manager::new();
    let variables = [("NOTIFY_SOCKET", &*manager.notify_socket()), ("WATCHDOG_USEC", "20000000")];
    let daemon = TestDaemon::with_variables(EIGHT_KEYS, "", &variables);
    let beat = Duration::from_secs(10);
    manager.told_of("WATCHDOG=1");
    daemon.pass(beat);
    manager.told_of("WATCHDOG=1");
    assert!(manager.hears_nothing(), "fed before it is due");

    // A call of the pool that does not end.
    let pool = daemon.service().pool.clone();
    let (held, stopped) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let now = daemon.clock.now();
    let stuck = thread::spawn(move || {
        pool.call(now, |_, _| {
            held.send(()).unwrap();
            released.recv().ok();
        });
    });
    stopped.recv().unwrap();
    for _ in 0..3 {
        daemon.pass(beat);
    }
    assert!(manager.hears_nothing(), "fed although the pool does not answer");
    drop(release);
    stuck.join().unwrap();
    manager.told_of("WATCHDOG=1");
}

#[test]
fn a_socket_that_is_passed_in_is_served_and_left_for_the_next_daemon() {
    let manager = Manager::new();
    manager.write_config();
    let path = manager.path("api.sock");
    // It blocks, as nothing forbids.
    let socket = UnixListener::bind(&path).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let daemon = manager.start(Some(&socket), "LISTEN_FDNAMES=api");
    manager.told_of("READY=1");
    assert_eq!(live(&path), 200);
    assert!(fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK));
    daemon.stop();
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    assert!(!manager.path("api.sock.lock").exists(), "the lock is for sockets of its own");

    // Who connects meanwhile is served by the next one.
    let asking = thread::spawn(move || live(&path));
    let daemon = manager.start(Some(&socket), "");
    assert_eq!(asking.join().unwrap(), 200);
    daemon.kill();
    assert_eq!(fs::metadata(manager.path("api.sock")).unwrap().ino(), inode);
    UnixStream::connect(manager.path("api.sock")).unwrap();
}

#[test]
fn a_socket_that_is_passed_to_another_process_is_none_of_its_business() {
    let manager = Manager::new();
    manager.write_config();
    let other = UnixListener::bind(manager.path("other.sock")).unwrap();
    let _daemon = manager.start(Some(&other), "LISTEN_PID=1");
    manager.told_of("READY=1");
    assert_eq!(live(&manager.path("api.sock")), 200);
    assert!(!fcntl_getfl(&other).unwrap().contains(OFlags::NONBLOCK));
}

#[test]
fn what_is_passed_in_and_is_no_use_is_an_error_and_not_another_socket() {
    let manager = Manager::new();
    manager.write_config();
    let socket = UnixListener::bind(manager.path("api.sock")).unwrap();
    let mut daemon = manager.start(Some(&socket), "LISTEN_FDS=2 LISTEN_FDNAMES=a:b");
    assert_eq!(daemon.0.wait().unwrap().code(), Some(1));
    assert!(manager.log().contains("FileDescriptorName=api"), "{}", manager.log());
}

#[test]
fn a_start_is_noted_until_an_orderly_stop() {
    let manager = Manager::new();
    manager.write_config();
    let stamp = manager.path("state/last-start");
    let daemon = manager.start(None, "");
    manager.told_of("READY=1");
    assert!(fs::read_to_string(&stamp).unwrap().ends_with(" 0\n"));
    daemon.kill();
    assert!(stamp.exists());

    let daemon = manager.start(None, "");
    manager.told_of("READY=1");
    daemon.stop();
    assert!(!stamp.exists());
}

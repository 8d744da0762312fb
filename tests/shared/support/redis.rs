//! A real Redis, or Valkey, in a directory of its own.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server that listens on a Unix socket, and nowhere else unless its arguments say so.
pub(crate) struct Redis {
    dir: TempDir,
    child: Child,
    program: String,
    arguments: Vec<String>,
    clock: Option<Arc<HandClock>>,
}

/// The wall clock of servers, which moves by hand.
pub(crate) struct HandClock {
    file: File,
    path: PathBuf,
    library: PathBuf,
}

impl HandClock {
    fn new(dir: &Path) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shared/support/clock.c");
        let library = dir.join("clock.so");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
        assert!(compile.status().expect("cc is installed").success());
        let path = dir.join("time");
        let file = File::create(&path).unwrap();
        let clock = Self { file, path, library };
        clock.set(Duration::from_hours(490_908));
        clock
    }

    /// Shows the time so long after the Unix epoch.
    pub(crate) fn set(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap();
        self.file.write_all_at(&micros.to_ne_bytes(), 0).unwrap();
    }
}

impl Redis {
    /// A server whose clock moves by hand.
    pub(crate) fn with_hand_clock() -> Self {
        Self::of("redis-server", &[], true)
    }

    /// The server that `program` is, with more arguments.
    pub(crate) fn of(program: &str, arguments: &[&str], by_hand: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = by_hand.then(|| Arc::new(HandClock::new(dir.path())));
        Self::start(program, arguments, dir, clock)
    }

    /// Another server of the same kind with the same clock.
    pub(crate) fn beside(&self, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start(&self.program, arguments, dir, self.clock.clone())
    }

    fn start(
        program: &str,
        arguments: &[&str],
        dir: TempDir,
        clock: Option<Arc<HandClock>>,
    ) -> Self {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let child = spawn(program, &arguments, dir.path(), clock.as_deref());
        let program = program.to_owned();
        let redis = Self { dir, child, program, arguments, clock };
        redis.until_it_answers();
        redis
    }

    pub(crate) fn clock(&self) -> &HandClock {
        self.clock.as_deref().expect("its clock moves by hand")
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// The port where it listens as well, as those of a cluster do.
    pub(crate) fn port(&self) -> Option<u16> {
        let named = self.arguments.iter().position(|argument| argument == "--port")?;
        self.arguments[named + 1].parse().ok()
    }

    /// What a command answers, as text.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let asked = Command::new("redis-cli").arg("-s").arg(self.socket()).args(command).output();
        String::from_utf8(asked.expect("redis-cli is installed").stdout).unwrap().trim().to_owned()
    }

    /// Has it do something that it agrees to.
    pub(crate) fn order(&self, command: &[&str]) {
        assert_eq!(self.line(command).unwrap(), "+OK", "{command:?}");
    }

    /// The first line that it answers, without another process to ask it: some things are to be
    /// done often.
    fn line(&self, command: &[&str]) -> io::Result<String> {
        let words = command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        let words: String = words.collect();
        let mut connection = UnixStream::connect(self.socket())?;
        write!(connection, "*{}\r\n{words}", command.len())?;
        let mut line = String::new();
        BufReader::new(connection).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Has it answer nobody until its clock has moved on by `span`.
    pub(crate) fn pause(&self, span: Duration) {
        self.order(&["CLIENT", "PAUSE", &span.as_millis().to_string()]);
    }

    /// Ends it at once. What it held in memory is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        fs::remove_file(self.socket()).ok();
    }

    /// Starts it again, with what it has last saved; empty if it has not.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.program, &self.arguments, self.dir.path(), self.clock.as_deref());
        self.until_it_answers();
    }

    /// Stops it from doing anything, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits until its scripts see the clock show `time`, or a little more: Valkey looks at the wall
    /// clock now and then, and goes by another one in between.
    pub(crate) fn until_it_shows(&self, time: Duration) {
        let script = "local now = redis.call('TIME') return now[1] * 1000000 + now[2]";
        let shows = || {
            let told = self.line(&["EVAL", script, "0"]).unwrap();
            told.strip_prefix(':').and_then(|micros| micros.parse().ok()).unwrap_or(0_u64)
        };
        while u128::from(shows()) < time.as_micros() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn until_it_answers(&self) {
        while self.line(&["PING"]).ok().as_deref() != Some("+PONG") {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn spawn(program: &str, arguments: &[String], dir: &Path, clock: Option<&HandClock>) -> Child {
    let mut server = Command::new(program);
    server.args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"]);
    // By a clock that moves by hand this thread would never sleep.
    server.args(["--jemalloc-bg-thread", "no"]);
    server.args(arguments).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(clock) = clock {
        server.env("LD_PRELOAD", &clock.library).env("HAND_CLOCK", &clock.path);
    }
    server.spawn().unwrap_or_else(|error| panic!("{program} is not to be had: {error}"))
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

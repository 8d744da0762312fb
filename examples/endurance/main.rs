//! A daemon under load for long: whether its memory stays flat over a million selects and ten
//! thousand reloads, and what one client with 64 connections takes from another.
//!
//! `cargo run --release --example endurance`, or with other numbers: `-- SELECTS RELOADS`.

#![allow(clippy::cast_precision_loss, reason = "memory is less than a petabyte")]
#![allow(clippy::unwrap_used, reason = "what fails here is for a person to see")]
#![allow(clippy::print_stdout, reason = "a table is what it is for")]
#![allow(clippy::disallowed_methods, reason = "it takes arguments")]
#![allow(clippy::unnecessary_debug_formatting, reason = "TOML takes Rust's quotes")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::thread;
use std::time::Duration;

use keypool::clock::Clock;

#[path = "../../tests/support/load.rs"]
mod load;

use self::load::{Client, reload, resident, select_and_report, write_keys};

/// What is bounded by time or number has come to its bound after so long.
const WARM_UP: Duration = Duration::from_secs(62);

/// By how many percent its memory may grow from then on.
const MOST_GROWTH: f64 = 5.0;

/// How many connections select at once, and how many the greedy client has.
const CONNECTIONS: usize = 4;
const GREEDY: usize = 64;

/// How many requests the other client measures.
const MEASURED: usize = 5000;

/// How often it asks.
const PAUSE: Duration = Duration::from_millis(1);

/// A daemon of the same build in a directory of its own.
struct Served {
    dir: PathBuf,
    child: Child,
}

impl Served {
    fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("keypool-endurance-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        write_keys(&dir.join("keys.json"), None);
        let toml = format!(
            "socket = {:?}\nkeys = {:?}\nstate_dir = {:?}\nmetrics_addr = \"\"\nlog = \"error\"\n\
             [probe]\nenabled = false\n",
            dir.join("keypool.sock"),
            dir.join("keys.json"),
            dir.join("state"),
        );
        fs::write(dir.join("keypool.toml"), toml).unwrap();
        let examples = std::env::current_exe().unwrap();
        let binary = examples.parent().and_then(Path::parent).unwrap().join("keypool");
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(dir.join("keypool.toml")).env_clear();
        for id in ["a", "b", "c", "d", "e"] {
            command.env(format!("GEMINI_KEY_{id}"), format!("fake-secret-{id}"));
        }
        let child = command.spawn().expect("cargo build --release comes first");
        let served = Self { dir, child };
        while !served.socket().exists() {
            thread::sleep(Duration::from_millis(10));
        }
        served
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("keypool.sock")
    }

    /// Tells how much memory it has, and returns it.
    fn tell(&self, after: &str) -> u64 {
        let memory = resident(self.child.id());
        println!("{after:<36} {memory:>8} KiB");
        memory
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// What a client that asks now and then waits for an answer: half of the time, and one of 100 times.
fn latency(socket: &Path) -> (Duration, Duration) {
    let mut client = Client::new(socket);
    let now = || Clock::System.now().at;
    let mut spans: Vec<Duration> = (0..MEASURED)
        .map(|_| {
            thread::sleep(PAUSE);
            let begun = now();
            client.ask("POST", "/v1/select", "{\"tokens\": 10}");
            now().since(begun)
        })
        .collect();
    spans.sort_unstable();
    (spans[MEASURED / 2], spans[MEASURED * 99 / 100])
}

/// The same beside `connections` of another client that asks as fast as it can.
fn latency_beside(socket: &Path, connections: usize) -> (Duration, Duration) {
    // Another client is another process.
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.arg("--greedy").arg(socket).arg(connections.to_string());
    let mut other = other.spawn().unwrap();
    let measured = latency(socket);
    other.kill().unwrap();
    other.wait().unwrap();
    measured
}

/// Asks over `connections` as fast as it can, until it is killed.
fn ask_for_ever(socket: &Path, connections: usize) {
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut client = Client::new(socket);
                loop {
                    client.ask("POST", "/v1/select", "{\"tokens\": 10}");
                }
            });
        }
    });
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [greedy, socket, connections] = &*arguments
        && greedy == "--greedy"
    {
        ask_for_ever(Path::new(socket), connections.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let mut numbers = arguments.iter().map(|number| number.parse().expect("a number"));
    let selects: usize = numbers.next().unwrap_or(1_000_000);
    let reloads: usize = numbers.next().unwrap_or(10_000);
    let served = Served::start();
    let socket = served.socket();
    let work = || {
        select_and_report(&socket, CONNECTIONS, selects / 10);
        reload(&socket, &served.dir.join("keys.json"), reloads / 10);
    };
    served.tell("at the start");
    // The windows of a minute fill, and the lists of what was last.
    let begun = Clock::System.now().at;
    while Clock::System.now().at.since(begun) < WARM_UP {
        work();
    }
    let before = served.tell("after a minute of load");
    let mut after = before;
    for tenth in 1..=10 {
        work();
        let (selects, reloads) = (selects / 10 * tenth, reloads / 10 * tenth);
        after = served.tell(&format!("after {selects} selects, {reloads} reloads"));
    }
    let growth = after as f64 / before as f64 * 100.0 - 100.0;
    println!("{:<36} {growth:>8.1} %, at most {MOST_GROWTH} %", "growth since that minute");
    drop(served);

    let served = Served::start();
    let tell = |beside: &str, (half, most): (Duration, Duration)| {
        println!("{beside:<32} p50 {half:>10.1?}  p99 {most:>10.1?}");
    };
    tell("a client alone", latency(&served.socket()));
    for connections in [1, 4, GREEDY] {
        let beside = format!("beside {connections} connections");
        tell(&beside, latency_beside(&served.socket(), connections));
    }
    if growth > MOST_GROWTH { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

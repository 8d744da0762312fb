//! The daemon as a whole: how long it takes to its first grant, the memory it takes, and what a
//! select waits for while the daemon has something else to do.
//!
//! `cargo bench --bench daemon`; with `-- --no-bounds` it only prints. It needs `strace`, which
//! makes a disk slow, and `redis-server`.

#![allow(clippy::unwrap_used, reason = "what fails here is for a person to see")]
#![allow(clippy::print_stdout, reason = "tables are what it is for")]
#![allow(clippy::disallowed_methods, reason = "it reads clocks and takes arguments")]
#![allow(missing_docs, unreachable_pub, reason = "nobody uses it as a library")]

use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/process.rs"]
mod process;

mod busy;

use self::daemon::{Client, Home, Served, connected, select};
use self::figures::{Bounds, median};
use self::process::{processor_time, resident};

/// A pool as most are, and one as few are.
const FEW: usize = 8;
const MANY: usize = 10_000;

/// How often a daemon is started.
const STARTS: usize = 7;

/// What is demanded: from the start of the program to the first grant in milliseconds, and idle in
/// MiB.
const BOUNDS: [(usize, f64, f64); 2] = [(FEW, 50.0, 12.0), (MANY, 300.0, 64.0)];

/// How long a daemon idles before its memory is looked at: it has tended its state by then.
const IDLE: Duration = Duration::from_millis(2500);

/// The same for one that is started again and again.
const TENDED: Duration = Duration::from_millis(1300);

/// As many as one user may have by far, with one request each.
const CONNECTIONS: usize = 1000;

fn main() -> ExitCode {
    let mut bounds = Bounds::default();
    println!(
        "\n| keys | from exec to the first grant | worst of {STARTS} | processor | idle memory |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for (keys, first_grant, idle) in BOUNDS {
        start(keys, first_grant, idle, &mut bounds);
    }
    connections();
    busy::table(&mut bounds);
    bounds.judge()
}

fn start(keys: usize, first_grant: f64, idle: f64, bounds: &mut Bounds) {
    let home = Home::with(keys, "");
    let spans: Vec<(f64, f64)> = (0..STARTS)
        .map(|_| {
            let begun = Instant::now();
            let served = home.start_by(&[], &[]);
            Client::new(&home.socket()).ask(&select());
            let span = begun.elapsed();
            let processor = processor_time(served.pid());
            // It is killed once it has tended its state, which the next one reads.
            thread::sleep(TENDED);
            drop(served);
            (millis(span), millis(processor))
        })
        .collect();
    let (grants, processors): (Vec<f64>, Vec<f64>) = spans.into_iter().unzip();
    let (half, worst) = (median(&grants), grants.iter().copied().fold(0.0, f64::max));

    let served = home.start();
    thread::sleep(IDLE);
    let memory = mebibytes(resident(served.pid()));
    println!(
        "| {keys} | {half:.0} ms | {worst:.0} ms | {:.0} ms | {memory:.1} MiB |",
        median(&processors)
    );
    bounds.at_most(&format!("the first grant with {keys} keys"), half, first_grant, " ms");
    bounds.at_most(&format!("the idle memory with {keys} keys"), memory, idle, " MiB");
}

fn connections() {
    let home = Home::with(FEW, "");
    let served = home.start();
    thread::sleep(IDLE);
    let before = resident(served.pid());
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::new(&home.socket())).collect();
    for client in &mut clients {
        client.ask(&select());
    }
    let after = resident(served.pid());
    println!(
        "\nMemory with {CONNECTIONS} connections that have asked: {:.1} MiB, {:.1} KiB for each.",
        mebibytes(after),
        kibibytes(after - before) / kibibytes(CONNECTIONS as u64),
    );
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

#[allow(clippy::cast_precision_loss, reason = "some millions at most")]
fn kibibytes(kib: u64) -> f64 {
    kib as f64
}

fn mebibytes(kib: u64) -> f64 {
    kibibytes(kib) / 1024.0
}

/// A Redis that keeps nothing, at a socket in `home`; its URL.
fn redis(home: &Home) -> (Served, String) {
    let socket = home.path("redis.sock");
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--loglevel", "warning"]);
    command.arg("--unixsocket").arg(&socket).current_dir(home.path("."));
    command.stdout(Stdio::null());
    let served = Served::of(command);
    connected(&socket);
    (served, format!("unix://{}", socket.display()))
}

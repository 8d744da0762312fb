//! keypool over its socket beside what cannot be faster: a server that sends back what it gets, and
//! hyper giving the same bytes for the same request, the latter also with a record of each on the
//! disk. Each is a process of its own; short rounds of each take turns, so that whatever else the
//! machine does is the same for all.
//!
//! `cargo bench --bench socket`; with `-- --no-bounds` it only prints, and `-- --rounds N` says how
//! often everybody has its turn.

#![allow(clippy::unwrap_used, reason = "what fails here is for a person to see")]
#![allow(clippy::print_stdout, reason = "tables are what it is for")]
#![allow(clippy::disallowed_methods, reason = "it reads clocks and takes arguments")]
#![allow(missing_docs, unreachable_pub, reason = "nobody uses it as a library")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/figures.rs"]
mod figures;
#[path = "../support/process.rs"]
mod process;

mod floor;
mod load;

use self::daemon::{Client, Home, Served, connected, select};
use self::figures::{Bounds, median, percentile};
use self::load::{Asked, load};

const CONNECTIONS: [usize; 3] = [1, 8, 64];

/// What is demanded beside hyper, and from how many connections on: with one connection, what is
/// measured is how long the kernel takes to wake a thread.
const LEAST_RATE: f64 = 0.85;
const MOST_P99: f64 = 1.3;
const BOUND_FROM: usize = 8;

const ROUNDS: usize = 9;
const SPANS: [Duration; 2] = [Duration::from_millis(60), Duration::from_millis(400)];

/// A server that is measured.
struct Server {
    name: &'static str,
    asked: Asked,
    socket: PathBuf,
    pid: u32,
}

/// What came of one server with so many connections, round by round.
#[derive(Default)]
struct Measured {
    rate: Vec<f64>,
    half: Vec<f64>,
    most: Vec<f64>,
    processor: Vec<f64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &*arguments {
        [serve, socket] if serve == "--echo" => floor::echo(Path::new(socket)),
        [serve, socket, answer] if serve == "--hyper" => {
            floor::hyper(Path::new(socket), Path::new(answer), &floor::no_work());
        }
        [serve, socket, answer, log] if serve == "--recording" => {
            floor::hyper(Path::new(socket), Path::new(answer), &floor::record(Path::new(log)));
        }
        _ => return measure(&arguments),
    }
    ExitCode::SUCCESS
}

fn measure(arguments: &[String]) -> ExitCode {
    let rounds = arguments.iter().skip_while(|argument| *argument != "--rounds").nth(1);
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let home = Home::with(8, "");
    let keypool = home.start();
    let answer = home.path("answer.json");
    fs::write(&answer, Client::new(&home.socket()).ask(&select())).unwrap();
    let echo = beside(&home, "--echo", &[]);
    let hyper = beside(&home, "--hyper", &[&answer]);
    let recording = beside(&home, "--recording", &[&answer, &home.path("records")]);
    let server =
        |name, asked, socket, served: &Served| Server { name, asked, socket, pid: served.pid() };
    let plain = |echoed| Asked::Select { echoed };
    let servers = [
        server("echo", plain(true), home.path("--echo"), &echo),
        server("hyper, the same bytes", plain(false), home.path("--hyper"), &hyper),
        server("hyper, and a record of each", plain(false), home.path("--recording"), &recording),
        server("keypool, select", plain(false), home.socket(), &keypool),
        server("keypool, select and report", Asked::SelectAndReport, home.socket(), &keypool),
    ];
    println!(
        "\n| connections | server | requests/s | p50 | p99 | server CPU per request | rate beside \
         hyper | p99 beside hyper |\n| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let mut bounds = Bounds::default();
    for connections in CONNECTIONS {
        let mut measured: [Measured; 5] = std::array::from_fn(|_| Measured::default());
        for _ in 0..rounds {
            for (server, measured) in servers.iter().zip(&mut measured) {
                measured.add(server, connections);
            }
        }
        for (server, own) in servers.iter().zip(&measured) {
            own.tell(server, &measured[1], connections, &mut bounds);
        }
    }
    println!("\nMedians of {rounds} rounds of {} ms each.", SPANS[1].as_millis());
    bounds.judge()
}

/// Starts this program in another role; it listens at a socket of that name.
fn beside(home: &Home, role: &str, more: &[&Path]) -> Served {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(role).arg(home.path(role)).args(more);
    let served = Served::of(command);
    connected(&home.path(role));
    served
}

impl Measured {
    fn add(&mut self, server: &Server, connections: usize) {
        let mut round = load(&server.socket, server.pid, connections, server.asked, SPANS);
        round.report(&server.socket);
        #[allow(clippy::cast_precision_loss, reason = "some millions at most")]
        let requests = round.took.len() as f64;
        let micros = |span: Duration| span.as_secs_f64() * 1e6;
        self.rate.push(requests / round.span.as_secs_f64());
        self.half.push(micros(percentile(&round.took, 0.5)));
        self.most.push(micros(percentile(&round.took, 0.99)));
        self.processor.push(micros(round.processor) / requests);
    }

    fn tell(&self, server: &Server, hyper: &Self, connections: usize, bounds: &mut Bounds) {
        // Of each round beside the same round: what disturbed one disturbed the other.
        let beside = |own: &[f64], its: &[f64]| {
            median(&own.iter().zip(its).map(|(own, its)| own / its).collect::<Vec<_>>())
        };
        let (rate, most) = (beside(&self.rate, &hyper.rate), beside(&self.most, &hyper.most));
        let name = server.name;
        println!(
            "| {connections} | {name} | {:.0} | {:.0} µs | {:.0} µs | {:.2} µs | {rate:.2} | \
             {most:.2} |",
            median(&self.rate),
            median(&self.half),
            median(&self.most),
            median(&self.processor),
        );
        if name == "keypool, select" && connections >= BOUND_FROM {
            let of = |what: &str| format!("the {what} of {name} beside hyper at {connections}");
            bounds.at_least(&of("rate"), rate, LEAST_RATE, "");
            bounds.at_most(&of("p99"), most, MOST_P99, "");
        }
    }
}

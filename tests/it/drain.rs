//! A daemon that stops cuts nobody off: who was heard is answered, and who was not is told so.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use keypool::control::Control;
use serde_json::json;

use crate::support::{EIGHT_KEYS, TestDaemon, keys_json, until};
use crate::systemd::Manager;

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
const LIVE: &[u8] = b"{\"live\":true}";

/// A connection that is kept.
fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// The same, and something was answered on it already.
fn connect_and_ask(socket: &Path) -> UnixStream {
    let mut stream = connect(socket);
    stream.write_all(LIVEZ).unwrap();
    assert!(answered(&mut stream).starts_with("http/1.1 200 "));
    stream
}

/// The head of the answer to `LIVEZ`; empty if the connection ends before it does.
fn answered(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    while !answer.ends_with(LIVE) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return String::new(),
            Ok(length) => answer.extend_from_slice(&piece[..length]),
        }
    }
    String::from_utf8(answer).unwrap().to_lowercase()
}

/// What is left to read on a connection that the daemon ends.
fn rest(mut stream: UnixStream) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    rest
}

#[test]
fn requests_that_wait_and_one_that_has_begun_are_answered_and_idle_connections_end() {
    let pace = keys_json(&[("a", r#""rpm": 600, "burst_capacity": 1"#)]);
    let daemon = TestDaemon::of(&pace);
    let idle: Vec<UnixStream> = (0..10).map(|_| connect_and_ask(&daemon.socket())).collect();
    let mut half = connect(&daemon.socket());
    half.write_all(&LIVEZ[..10]).unwrap();
    daemon.select(&json!({}));
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let ask = || daemon.post("/v1/select", &json!({"wait_ms": 30_000})).status;
                scope.spawn(ask)
            })
            .collect();
        until("fifty wait", || daemon.get("/metrics").body.contains("\nkeypool_waiters 50\n"));
        daemon.control(Control::Stop);
        for stream in idle {
            assert_eq!(rest(stream), "");
        }
        half.write_all(&LIVEZ[10..]).unwrap();
        let answer = rest(half).to_lowercase();
        assert!(answer.starts_with("http/1.1 200 ") && answer.contains("connection: close"));
        for served in 1..=50 {
            daemon.pass(Duration::from_millis(100));
            until("the next one is served", || {
                waiting.iter().filter(|waiting| waiting.is_finished()).count() >= served
            });
        }
        for waiting in waiting {
            assert_eq!(waiting.join().unwrap(), 200);
        }
    });
}

#[test]
fn who_asks_on_an_open_connection_while_the_daemon_stops_is_answered_or_not_heard() {
    for _ in 0..20 {
        let daemon = TestDaemon::of(EIGHT_KEYS);
        let served = AtomicUsize::new(0);
        let ask_on = |mut stream: UnixStream| {
            // Who cannot send knows that nobody has heard.
            while stream.write_all(LIVEZ).is_ok() {
                let answer = answered(&mut stream);
                assert!(answer.starts_with("http/1.1 200 "), "heard, and cut off: {answer}");
                served.fetch_add(1, Ordering::Relaxed);
                if answer.contains("connection: close") {
                    break;
                }
            }
        };
        thread::scope(|scope| {
            // All of them, before the daemon stops because some were served often.
            for stream in [(); 4].map(|()| connect_and_ask(&daemon.socket())) {
                let ask_on = &ask_on;
                scope.spawn(move || ask_on(stream));
            }
            until("they are served", || served.load(Ordering::Relaxed) > 20);
            daemon.control(Control::Stop);
        });
    }
}

/// What became of the connections to a daemon that is started again and again.
#[derive(Debug, Default)]
struct Counted {
    served: AtomicUsize,
    cut: AtomicUsize,
    refused: AtomicUsize,
}

impl Counted {
    fn ask(&self, socket: &Path) {
        let counter = match UnixStream::connect(socket) {
            Err(_) => &self.refused,
            Ok(mut stream) => match ask_last(&mut stream) {
                Ok(true) => &self.served,
                Ok(false) | Err(_) => &self.cut,
            },
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn ask_last(stream: &mut UnixStream) -> io::Result<bool> {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200 "))
}

#[test]
fn restarts_behind_a_socket_that_is_kept_cut_nobody() {
    let manager = Manager::new();
    manager.write_config();
    let path = manager.path("api.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let counted = Counted::default();
    let over = AtomicBool::new(false);
    let last = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    counted.ask(&path);
                }
            });
        }
        for _ in 0..30 {
            let served = counted.served.load(Ordering::Relaxed);
            let daemon = manager.start(Some(&socket), "");
            until("it serves", || counted.served.load(Ordering::Relaxed) > served + 20);
            daemon.stop();
        }
        over.store(true, Ordering::Relaxed);
        // It serves who has connected already.
        manager.start(Some(&socket), "")
    });
    drop(last);
    assert_eq!(counted.cut.into_inner(), 0, "cut");
    assert_eq!(counted.refused.into_inner(), 0, "refused");
}

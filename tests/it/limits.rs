//! What one client may take: connections, descriptors, memory and the turns of others. Some of
//! these tests connect as other users, so they need root, and fail without it.

use std::cell::Cell;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use keypool::control::Control;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};
use rustix::thread::{Uid, set_thread_res_uid};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::command::{Served, clone};
use crate::support::{EIGHT_KEYS, Scrape, TestDaemon, keys_json, until};

#[path = "../support/load.rs"]
mod load;

use self::load::{Client, reload, request, resident, select_and_report, write_keys};

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

/// The user of an application, and that of another one.
const APPLICATION: u32 = 4242;
const ANOTHER: u32 = 4243;

/// Connections that are made by the user `uid`.
fn connect_as(uid: u32, socket: &Path, count: usize) -> Vec<UnixStream> {
    let connect = || {
        // Of this thread alone, which ends with it.
        let uid = Uid::from_raw(uid);
        set_thread_res_uid(uid, uid, uid).expect("this test runs as root");
        (0..count).map(|_| UnixStream::connect(socket).unwrap()).collect()
    };
    thread::scope(|scope| scope.spawn(connect).join().unwrap())
}

/// Whether the daemon answers on `stream`.
fn is_served(stream: &mut UnixStream) -> bool {
    stream.write_all(LIVEZ.as_bytes()).is_ok() && is_answered(stream)
}

fn is_answered(stream: &mut UnixStream) -> bool {
    let mut answer = vec![0; 15];
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let answered = stream.read_exact(&mut answer).is_ok() && answer == *b"HTTP/1.1 200 OK";
    let mut rest = [0];
    while answered && rest != *b"}" {
        stream.read_exact(&mut rest).unwrap();
    }
    answered
}

/// Whether the daemon has closed `stream`.
fn is_closed(stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = (&*stream).read(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    match read {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn number(client: &mut Client, series: &str) -> Option<f64> {
    Scrape::of(&client.ask("GET", "/metrics", "")).number(series)
}

/// A daemon that every user of the machine may call.
fn open_daemon(server: &str) -> TestDaemon {
    let daemon = TestDaemon::with(
        EIGHT_KEYS,
        &format!("[server]\nmode = \"0666\"\nallow_uids = [{APPLICATION}, {ANOTHER}]\n{server}"),
    );
    fs::set_permissions(daemon.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    daemon
}

/// The binary in a directory of its own, for every user of the machine, started by the words of
/// `shell` before it.
fn open_binary(shell: &str) -> (TempDir, Served) {
    let dir = clone();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = dir.path().join("config/keypool.toml");
    let section = format!("[server]\nmode = \"0666\"\nallow_uids = [{APPLICATION}, {ANOTHER}]\n");
    let toml =
        fs::read_to_string(&config).unwrap().replace("state_dir = \"\"", "state_dir = \"state\"");
    fs::write(&config, toml + "\n" + &section).unwrap();
    let mut command = Command::new("sh");
    let script = format!("{shell} exec \"$0\" serve");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_keypool")]);
    command.current_dir(dir.path()).env_clear().env("PATH", "/usr/bin:/bin");
    let served = Served::of(command);
    (dir, served)
}

fn socket(dir: &TempDir) -> PathBuf {
    dir.path().join("run/keypool.sock")
}

fn most_open_files(most: u64) {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= most);
    if !enough(limit.current) {
        let maximum = if enough(limit.maximum) { limit.maximum } else { Some(most) };
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).unwrap();
    }
}

#[test]
fn a_client_that_never_reads_is_cut_and_holds_little_meanwhile() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let some = "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let mut sent = 0;
    while let Ok(length) = stream.write(some.as_bytes()) {
        sent += length;
        // Two buffers of the kernel's, and a little of hyper's.
        assert!(sent < 2 * 1024 * 1024, "the daemon goes on reading");
    }
    let mut other = Client::new(&daemon.socket());
    let slow = "keypool_connections_cut_total{reason=\"slow_reader\"}";
    assert_eq!(number(&mut other, slow), Some(0.0));
    let cut = || {
        daemon.pass(Duration::from_secs(1));
        let seen = Scrape::of(&daemon.get("/metrics").body);
        seen.number(slow) == Some(1.0) && seen.number("keypool_connections") == Some(2.0)
    };
    until("the slow reader is cut", cut);
    assert!(stream.write_all(some.as_bytes()).is_err());
}

#[test]
fn a_live_reader_that_never_reads_is_cut() {
    let daemon = TestDaemon::of(&keys_json(&[("a", "")]));
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream
        .write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        .unwrap();
    let mut administrator = Client::new(&daemon.socket());
    let slow = "keypool_connections_cut_total{reason=\"slow_reader\"}";
    let mut active = false;
    while number(&mut administrator, slow) == Some(0.0) {
        for _ in 0..100 {
            administrator.ask("PATCH", "/v1/keys/a", &format!("{{\"active\": {active}}}"));
            active = !active;
        }
        daemon.pass(Duration::from_secs(1));
    }
}

#[test]
fn thousands_of_pipelined_requests_are_answered_in_order() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let ids = ["flash_01", "flash_02", "flash_03", "pro_01"];
    let id = |n: usize| ids[n % 3 + usize::from(n.is_multiple_of(7))];
    let requests: String = (0..5000)
        .map(|n| {
            let report = "{\n\"lease_id\":\n\"x\"\n}\n";
            let key = format!("GET /v1/keys/{} HTTP/1.1\r\nHost: x\r\n\r\n", id(n));
            if n.is_multiple_of(2) { key } else { key + &request("POST", "/v1/clear", report) }
        })
        .collect();
    let last = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let answers = thread::scope(|scope| {
        // Pieces that end anywhere.
        scope.spawn(move || {
            for piece in (requests + last).as_bytes().chunks(997) {
                stream.write_all(piece).unwrap();
            }
        });
        let mut answers = String::new();
        reader.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        reader.read_to_string(&mut answers).unwrap();
        answers
    });
    assert!(!answers.contains("HTTP/1.1 400"), "a sound request is refused");
    let told: Vec<&str> = answers
        .split("{\"key_id\":\"")
        .skip(1)
        .map(|answer| answer.split('"').next().unwrap())
        .collect();
    assert_eq!(told, (0..5000).map(id).collect::<Vec<_>>());
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 2500);
    assert!(answers.ends_with("{\"live\":true}"));
}

/// Asks again and again, `pipelined` requests at a time, and counts the answers, until the daemon
/// ends.
async fn ask(stream: UnixStream, pipelined: usize, answers: Rc<Cell<usize>>) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut stream = tokio::net::UnixStream::from_std(stream)?;
    let mut answer = Vec::new();
    stream.write_all(LIVEZ.as_bytes()).await?;
    while !answer.ends_with(b"}") {
        stream.read_buf(&mut answer).await?;
    }
    let requests = LIVEZ.repeat(pipelined);
    loop {
        stream.write_all(requests.as_bytes()).await?;
        for _ in 0..pipelined {
            stream.read_exact(&mut answer).await?;
            answers.set(answers.get() + 1);
        }
    }
}

/// The most answers that other connections get between a request of a quiet client and its answer,
/// of a daemon that shares one thread with its clients.
fn most_answers_to_others(connections: usize, pipelined: usize) -> usize {
    let toml = format!("[server]\nmode = \"0666\"\nallow_uids = [{APPLICATION}, {ANOTHER}]");
    let (dir, daemon) = TestDaemon::not_yet_running(EIGHT_KEYS, &toml);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (controls, socket) = (daemon.controls(), dir.path().join("keypool.sock"));
    let tasks = tokio::task::LocalSet::new();
    let running = tasks.spawn_local(daemon.run());
    let others = Rc::new(Cell::new(0));
    let quiet = connect_as(ANOTHER, &socket, 1).remove(0);
    for stream in connect_as(APPLICATION, &socket, connections) {
        let others = others.clone();
        tasks.spawn_local(async move { ask(stream, pipelined, others).await.ok() });
    }
    let most = tasks.block_on(&runtime, async {
        let own = Rc::new(Cell::new(0));
        let quiet = ask(quiet, 1, own.clone());
        tokio::pin!(quiet);
        let (mut before, mut most) = ((0, 0), 0);
        std::future::poll_fn(|context| {
            // It asks on at once, so an answer is a turn of the others.
            let polled = quiet.as_mut().poll(context).is_ready();
            if own.get() > before.0 {
                if own.get() > 100 {
                    most = most.max(others.get() - before.1);
                }
                before = (own.get(), others.get());
            }
            assert!(!polled);
            if own.get() < 1000 { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
        })
        .await;
        most
    });
    controls.send(Control::Stop);
    tasks.block_on(&runtime, running).ok();
    most
}

#[test]
fn a_client_of_many_connections_leaves_others_their_turn() {
    let most = most_answers_to_others(64, 1);
    assert!(most <= 32, "{most} answers to 64 connections before one to another");
}

#[test]
fn a_client_that_pipelines_leaves_others_their_turn() {
    let most = most_answers_to_others(1, 1000);
    assert!(most <= 16, "{most} answers to one connection before one to another");
}

#[test]
fn an_application_that_has_all_it_may_does_not_shut_out_the_operator() {
    let daemon = open_daemon("max_connections = 16");
    let mut served = connect_as(APPLICATION, &daemon.socket(), 15);
    assert!(served.iter_mut().all(is_served));
    let mut line = connect_as(APPLICATION, &daemon.socket(), 8);
    let refused = connect_as(APPLICATION, &daemon.socket(), 5);
    until("those beyond the line are refused", || refused.iter().all(is_closed));
    let mut another = connect_as(ANOTHER, &daemon.socket(), 1);

    // The last place is for those who may administer.
    let mut operator = Client::new(&daemon.socket());
    assert!(operator.ask("GET", "/v1/status", "").contains("\"version\""));
    assert_eq!(number(&mut operator, "keypool_connections"), Some(16.0));
    assert_eq!(number(&mut operator, "keypool_connections_waiting"), Some(9.0));
    let full = "keypool_connections_cut_total{reason=\"line_full\"}";
    assert_eq!(number(&mut operator, full), Some(5.0));

    // A place that is free goes to who has the fewest, and then in turn.
    for stream in line.iter_mut().chain(&mut another) {
        stream.write_all(LIVEZ.as_bytes()).unwrap();
    }
    served.pop();
    assert!(is_answered(&mut another[0]));
    served.pop();
    assert!(is_answered(&mut line[0]));
    drop((served, line));
    until("all places are free", || number_of(&daemon, "keypool_connections_waiting") == Some(0.0));
}

fn number_of(daemon: &TestDaemon, series: &str) -> Option<f64> {
    Scrape::of(&daemon.get("/metrics").body).number(series)
}

#[test]
fn a_user_has_no_more_connections_than_it_may_and_the_next_waits() {
    let daemon = open_daemon("max_connections = 300\nmax_connections_per_uid = 256");
    let mut served = connect_as(APPLICATION, &daemon.socket(), 256);
    assert!(served.iter_mut().all(is_served));
    let mut next = connect_as(APPLICATION, &daemon.socket(), 1).remove(0);
    next.write_all(LIVEZ.as_bytes()).unwrap();
    assert!(connect_as(ANOTHER, &daemon.socket(), 20).iter_mut().all(is_served));
    assert_eq!(number_of(&daemon, "keypool_connections_waiting"), Some(1.0));
    served.pop();
    assert!(is_answered(&mut next));
}

#[test]
fn idle_connections_end_and_leave_their_places() {
    let daemon = open_daemon("max_connections = 16");
    let mut idle = connect_as(APPLICATION, &daemon.socket(), 23);
    assert!(idle[..15].iter_mut().all(is_served));
    until("the rest waits", || number_of(&daemon, "keypool_connections_waiting") == Some(8.0));
    let passed = || {
        daemon.pass(Duration::from_secs(1));
        number_of(&daemon, "keypool_connections") == Some(1.0) && idle.iter().all(is_closed)
    };
    until("all are closed, those who waited as well", passed);
}

#[test]
fn ten_thousand_idle_connections_are_held_or_refused_and_others_served() {
    most_open_files(16384);
    let (dir, served) = open_binary("");
    let mut another = Client::of(connect_as(ANOTHER, &socket(&dir), 1).remove(0));
    another.ask("POST", "/v1/select", "{}");
    let before = resident(served.pid());
    let idle = connect_as(APPLICATION, &socket(&dir), 10_000);

    another.ask("GET", "/livez", "");
    let mut operator = Client::new(&socket(&dir));
    operator.ask("GET", "/v1/status", "");
    until("all are held or refused", || {
        let held = idle.iter().filter(|stream| !is_closed(stream)).count();
        assert!(held >= 1007 + 512, "{held} are held");
        held == 1007 + 512
    });
    assert_eq!(number(&mut operator, "keypool_connections"), Some(1007.0 + 2.0));
    assert_eq!(number(&mut operator, "keypool_connections_waiting"), Some(512.0));
    let full = "keypool_connections_cut_total{reason=\"line_full\"}";
    assert_eq!(number(&mut operator, full), Some(10_000.0 - 1007.0 - 512.0));
    let grown = resident(served.pid()) - before;
    assert!(grown < 32 * 1024, "{grown} KiB for 1,519 connections");

    drop(idle);
    let gone =
        || Client::new(&socket(&dir)).ask("GET", "/metrics", "").contains("keypool_connections 3");
    until("all have gone", gone);
    another.ask("POST", "/v1/select", "{}");
}

#[test]
fn few_descriptors_are_told_and_leave_enough_for_everything_else() {
    let (dir, served) = open_binary("ulimit -n 300 &&");
    let told = "only 33 connections are served at once instead of 1024: the process may have 300";
    assert!(served.log().iter().any(|line| line.contains(told)), "{:?}", served.log());
    let mut streams = connect_as(APPLICATION, &socket(&dir), 400);
    assert!(streams[..32].iter_mut().all(is_served));
    let mut operator = Client::new(&socket(&dir));
    let keys = dir.path().join("config/keys.json");
    let text = fs::read_to_string(&keys).unwrap().replacen("\"rpm\": 15", "\"rpm\": 14", 1);
    fs::write(&keys, text).unwrap();
    operator.ask("POST", "/v1/reload", "");
    let limit = "keypool_quota_limit{key_id=\"flash_01\",provider=\"gemini\",limit=\"rpm\"}";
    assert_eq!(number(&mut operator, limit), Some(14.0));
    for series in ["keypool_accept_errors_total", "keypool_state_write_errors_total"] {
        assert_eq!(number(&mut operator, series), Some(0.0));
    }
}

#[test]
fn a_want_of_descriptors_is_told_once_and_passes() {
    let (dir, served) = open_binary("");
    let pid = Pid::from_raw(i32::try_from(served.pid()).unwrap());
    let usual = getrlimit(Resource::Nofile);
    let mut held = Client::new(&socket(&dir));
    held.ask("GET", "/livez", "");
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(3), ..usual }).unwrap();

    let mut waiting = UnixStream::connect(socket(&dir)).unwrap();
    waiting.write_all(LIVEZ.as_bytes()).unwrap();
    until_counted(&mut held, "keypool_accept_errors_total", 5.0);
    held.ask("POST", "/v1/select", "{}");

    prlimit(pid, Resource::Nofile, usual).unwrap();
    assert!(is_answered(&mut waiting));
    assert!(is_served(&mut waiting));
    let errors = number(&mut held, "keypool_accept_errors_total");
    assert!(errors < Some(200.0), "{errors:?}: it rests between two tries");
    served.signal(Signal::TERM);
    drop((held, waiting));
    let (log, _) = served.end();
    assert_eq!(log.matches("cannot accept connections").count(), 1, "{log}");
    assert_eq!(log.matches("connections are accepted again").count(), 1, "{log}");
}

fn until_counted(client: &mut Client, series: &str, least: f64) {
    while number(client, series).is_none_or(|number| number < least) {
        thread::yield_now();
    }
}

#[test]
fn memory_stays_flat_over_selects_and_reloads() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    write_keys(&path("keys.json"), None);
    let toml = "socket = \"keypool.sock\"\nkeys = \"keys.json\"\nstate_dir = \"state\"\n\
                metrics_addr = \"\"\nlog = \"error\"\n[probe]\nenabled = false\n";
    fs::write(path("keypool.toml"), toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keypool"));
    command.args(["serve", "--config", "keypool.toml"]).current_dir(dir.path()).env_clear();
    for id in ["a", "b", "c", "d", "e"] {
        command.env(format!("GEMINI_KEY_{id}"), "fake-secret-flash-01");
    }
    let served = Served::silently(command, &path("keypool.sock"));
    let work = |selects, reloads| {
        select_and_report(&path("keypool.sock"), 4, selects);
        reload(&path("keypool.sock"), &path("keys.json"), reloads);
        resident(served.pid())
    };
    let before = work(20_000, 100);
    let after = work(60_000, 400);
    // What the allocator keeps for itself is no more than this.
    let slack = 512;
    assert!(after <= before * 105 / 100 + slack, "{before} KiB have become {after} KiB");
}

#[test]
fn a_byte_a_second_does_not_outlast_the_deadlines() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let body = "POST /v1/select HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    for (beginning, answer) in [("GET /livez HTTP/1.1\r\n", None), (body, Some("HTTP/1.1 408"))] {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.write_all(beginning.as_bytes()).unwrap();
        let mut sent = 0;
        while stream.write_all(b" ").is_ok() && !has_something(&stream) {
            sent += 1;
            assert!(sent < 100_000);
            daemon.pass(Duration::from_millis(100));
            thread::sleep(Duration::from_millis(1));
        }
        let mut told = String::new();
        stream.read_to_string(&mut told).ok();
        assert!(told.starts_with(answer.unwrap_or_default()), "{told}");
        assert!(!told.contains(" 200 "), "{told}");
    }
}

/// Whether there is something to read, or nothing more will come.
fn has_something(stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = rustix::net::recv(stream, &mut [0; 1], rustix::net::RecvFlags::PEEK);
    stream.set_nonblocking(false).unwrap();
    peeked.is_ok()
}

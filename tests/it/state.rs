//! What outlives the process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{TestDaemon, keys_json, send};

fn drain(daemon: &TestDaemon) -> usize {
    (0..1000).take_while(|_| daemon.post("/v1/select", &json!({})).status == 200).count()
}

#[test]
fn minute_and_day_go_on_where_they_were() {
    let daemon = TestDaemon::keeping_state(&keys_json(&[("a", r#""rpm": 10, "rpd": 14"#)]));
    for _ in 0..7 {
        daemon.select(&json!({}));
    }
    daemon.pass(Duration::from_secs(10));
    let next = daemon.after_a_kill(|_| {});
    assert_eq!(drain(&next), 3);
    next.pass(Duration::from_millis(50_500));
    assert_eq!(drain(&next), 4, "the day's are used up");
}

#[test]
fn cooldowns_deaths_levels_totals_and_leases_go_on() {
    let daemon = TestDaemon::keeping_state(&keys_json(&[("a", ""), ("b", ""), ("c", "")]));
    let dead = daemon.select(&json!({"exclude": ["b", "c"]}));
    daemon.report(&dead, "auth_failed");
    for seconds in [30, 60] {
        let lease = daemon.select(&json!({"exclude": ["c"]}));
        daemon.report(&lease, "rate_limited");
        daemon.pass(Duration::from_secs(seconds));
    }
    let trial = daemon.select(&json!({"exclude": ["c"]}));
    let open = daemon.select(&json!({"tokens": 7}));
    let next = daemon.after_a_kill(|_| {});
    assert_eq!(next.state("a"), "dead");
    let refused = next.post("/v1/select", &json!({"exclude": ["c"]}));
    assert_eq!(refused.json()["waits_for"], "trial");
    next.report(&trial, "rate_limited");
    assert_eq!(next.state("b"), "cooling");
    assert_eq!(next.get("/v1/keys/b").json()["backoff_level"], 3);
    assert_eq!(next.report(&open, "success")["key_id"], "c");
    let usage = next.get("/v1/usage").json();
    let grants: Vec<&Value> =
        usage["keys"].as_array().unwrap().iter().map(|k| &k["grants"]).collect();
    assert_eq!(grants, [1, 3, 1]);
}

#[test]
fn round_robin_goes_on_with_the_next_key() {
    let keys = [("a", ""), ("b", ""), ("c", "")];
    let daemon = TestDaemon::keeping_state(&keys_json(&keys).replace("\n]", "]").replacen(
        '{',
        "{\"rotation_strategy\": \"round_robin\",",
        1,
    ));
    assert_eq!(daemon.select(&json!({}))["key_id"], "a");
    let next = daemon.after_a_kill(|_| {});
    assert_eq!(next.select(&json!({}))["key_id"], "b");
    let last = next.after_a_kill(|_| {});
    assert_eq!(last.select(&json!({}))["key_id"], "c");
}

#[test]
fn the_learnt_pace_goes_on() {
    let daemon = TestDaemon::keeping_state(&keys_json(&[("a", r#""rpm": 60"#)]));
    let lease = daemon.select(&json!({}));
    daemon.report(&lease, "rate_limited");
    let next = daemon.after_a_kill(|_| {});
    let pace = next.get("/v1/keys/a").json()["pace"].clone();
    assert_eq!(pace, json!({"burst": 30, "spacing_ms": 0}));
}

#[test]
fn no_secret_is_in_the_state() {
    let daemon = TestDaemon::keeping_state(&keys_json(&[("a", "")]));
    let lease = daemon.select(&json!({}));
    daemon.post(
        "/v1/report",
        &json!({"lease_id": lease["lease_id"], "status": 403,
        "body": "Consumer 'api_key:fake-secret-a' has been suspended"}),
    );
    daemon.after_a_kill(|state| {
        for entry in fs::read_dir(state).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("fake-secret"));
        }
    });
}

/// What a way of spoiling the state leads to: how many requests are granted at once, and after
/// the minute.
fn after_spoiling(spoil: impl FnOnce(&Path)) -> (usize, usize) {
    let daemon = TestDaemon::keeping_state(&keys_json(&[("a", r#""rpm": 10, "rpd": 16"#)]));
    daemon.select(&json!({}));
    // The files have the machine's time; the daemon is told that it is the same.
    let wall = fs::metadata(daemon.state_dir().join("keypool.state")).unwrap().modified().unwrap();
    let millis = wall.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    daemon.clock.set_wall(keypool::pool::WallTime::from_millis(u64::try_from(millis).unwrap()));
    let next = daemon.after_a_kill(spoil);
    let at_once = drain(&next);
    next.pass(Duration::from_millis(61_500));
    let set_aside = fs::read_dir(next.state_dir()).unwrap();
    let set_aside = set_aside.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("damaged-")
    });
    assert!(set_aside.count() <= 1);
    (at_once, drain(&next))
}

fn write(state: &Path, bytes: &[u8]) {
    fs::write(state.join("keypool.state"), bytes).unwrap();
}

fn changed(state: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(state.join("keypool.state")).unwrap();
    change(&mut bytes);
    write(state, &bytes);
}

#[test]
fn a_state_that_cannot_be_read_is_set_aside_and_limits_start_conservatively() {
    let conservative = (0, 8);
    assert_eq!(after_spoiling(|state| write(state, b"")), conservative, "empty");
    assert_eq!(after_spoiling(|state| write(state, &[0x5a; 999])), conservative, "noise");
    let flip = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(after_spoiling(|state| changed(state, flip)), conservative, "a wrong checksum");
    let newer = |bytes: &mut Vec<u8>| bytes[14] = 99;
    assert_eq!(after_spoiling(|state| changed(state, newer)), conservative, "a newer version");
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    assert_eq!(after_spoiling(|state| changed(state, cut)), conservative, "half of it");
    let gone = |state: &Path| fs::remove_file(state.join("keypool.state")).unwrap();
    assert_eq!(after_spoiling(gone), conservative, "missing beside its log");
    let directory = |state: &Path| {
        gone(state);
        fs::create_dir(state.join("keypool.state")).unwrap();
    };
    assert_eq!(after_spoiling(directory), conservative, "a directory");
    let unreadable = |state: &Path| {
        gone(state);
        // Not even root can open it.
        std::os::unix::fs::symlink("keypool.state", state.join("keypool.state")).unwrap();
    };
    assert_eq!(after_spoiling(unreadable), conservative, "unreadable");
    let huge = |state: &Path| {
        let file = fs::File::options().write(true).open(state.join("keypool.state")).unwrap();
        file.set_len(1 << 30).unwrap();
    };
    assert_eq!(after_spoiling(huge), conservative, "sparse and huge");
}

#[test]
fn a_state_that_is_sound_or_was_never_there_is_no_cause_for_caution() {
    assert_eq!(after_spoiling(|_| {}).0, 9);
    let all_gone = |state: &Path| {
        for entry in fs::read_dir(state).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    };
    assert_eq!(after_spoiling(all_gone).0, 10);
}

#[test]
fn a_log_that_is_cut_anywhere_gives_what_is_before_the_cut() {
    let daemon = TestDaemon::keeping_state(&keys_json(&[("a", r#""rpm": 1000"#)]));
    for _ in 0..20 {
        daemon.select(&json!({}));
    }
    for part in 1..10 {
        let next = daemon.after_a_kill(|state| {
            let log = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().path());
            let log = { log }.find(|path| path.to_string_lossy().contains("keypool.log.")).unwrap();
            let length = fs::metadata(&log).unwrap().len();
            fs::File::options()
                .write(true)
                .open(log)
                .unwrap()
                .set_len(18 + (length - 18) * part / 10)
                .unwrap();
        });
        let grants = next.get("/v1/usage").json()["keys"][0]["grants"].as_u64().unwrap();
        assert!((2 * part - 2..=2 * part).contains(&grants), "{part}: {grants}");
    }
}

#[test]
fn a_kill_at_any_step_of_a_snapshot_loses_nothing_and_counts_nothing_twice() {
    let first = TestDaemon::keeping_state(&keys_json(&[("a", r#""rpm": 1000"#)]));
    for _ in 0..5 {
        first.select(&json!({}));
    }
    // The second daemon has made a snapshot of its own, and begun a log.
    let second = first.after_a_kill(|_| {});
    for _ in 0..3 {
        second.select(&json!({}));
    }
    let copy = |state: &Path, name: &str| {
        fs::copy(first.state_dir().join(name), state.join(name)).unwrap();
    };
    let grants = |spoil: &dyn Fn(&Path)| {
        let next = second.after_a_kill(spoil);
        next.get("/v1/usage").json()["keys"][0]["grants"].as_u64().unwrap()
    };
    assert_eq!(grants(&|state| fs::write(state.join("keypool.state.tmp"), "half").unwrap()), 8);
    let before_the_rename = |state: &Path| {
        copy(state, "keypool.state");
        copy(state, "keypool.log.1");
    };
    assert_eq!(grants(&before_the_rename), 8, "the new log is begun, the snapshot is not there");
    assert_eq!(grants(&|state| copy(state, "keypool.log.1")), 8, "the old log is still there");
}

#[test]
fn serving_goes_on_while_the_state_cannot_be_written_and_it_is_kept_again_after() {
    let daemon = TestDaemon::keeping_state(&keys_json(&[("a", r#""rpm": 100"#)]));
    let state = daemon.state_dir();
    let moved = state.with_extension("moved");
    let status = || daemon.get("/v1/status").json()["state_file"].clone();
    // The log can be written on, but no snapshot can be made: the next one fails.
    fs::rename(&state, &moved).unwrap();
    fs::write(&state, "in the way").unwrap();
    let filler = "x".repeat(200 * 1024);
    while status()["error"].is_null() {
        daemon.select(&json!({"user": filler}));
        daemon.pass(Duration::from_secs(2));
    }
    daemon.select(&json!({}));
    assert!(status()["write_errors"].as_u64().unwrap() >= 1);
    fs::remove_file(&state).unwrap();
    fs::rename(&moved, &state).unwrap();
    while !status()["error"].is_null() {
        daemon.pass(Duration::from_secs(1));
        thread::yield_now();
    }
    let before = daemon.get("/v1/usage").json()["keys"][0]["grants"].clone();
    let next = daemon.after_a_kill(|_| {});
    assert_eq!(next.get("/v1/usage").json()["keys"][0]["grants"], before);
}

#[test]
fn a_directory_that_cannot_be_used_stops_nothing() {
    let keys = keys_json(&[("a", r#""rpm": 3"#)]);
    let daemon = TestDaemon::with(&keys, "state_dir = \"/proc/nothing\"");
    assert_eq!(drain(&daemon), 3);
    assert_eq!(daemon.get("/v1/status").json()["state_file"]["on"], false);
    let first = TestDaemon::keeping_state(&keys);
    let toml = format!("state_dir = {:?}", first.state_dir());
    let second = TestDaemon::with(&keys, &toml);
    assert_eq!(second.get("/v1/status").json()["state_file"]["on"], false, "the first one has it");
    assert_eq!(drain(&second), 3);
}

/// A daemon in a process of its own, which can be killed.
fn serve(dir: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keypool"));
    command.arg("serve").current_dir(dir).env_clear().stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next().expect("the daemon says that it listens").unwrap().contains("listening on")
    {
    }
    thread::spawn(move || lines.for_each(drop));
    child
}

/// One select on a connection of its own; `None` if the daemon was killed meanwhile.
fn select(socket: &Path) -> Option<Value> {
    let mut stream = UnixStream::connect(socket).ok()?;
    let request =
        b"POST /v1/select HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| serde_json::from_str(body).ok())?
}

#[test]
fn two_hundred_kills_forget_nothing_that_was_answered() {
    const KILLS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let toml = "socket = \"keypool.sock\"\nkeys = \"keys.json\"\nenv_files = [\"keys.env\"]\n\
                state_dir = \"state\"\nlog = \"info\"\nmetrics_addr = \"\"\n[probe]\nenabled = false\n";
    fs::write(dir.path().join("keypool.toml"), toml).unwrap();
    let keys = keys_json(&[("minute", r#""rpm": 900"#), ("day", r#""rpd": 1500"#), ("free", "")]);
    let keys = keys.replacen('{', "{\"rotation_strategy\": \"random\",", 1);
    fs::write(dir.path().join("keys.json"), keys).unwrap();
    let secrets = "GEMINI_KEY_minute=fake-1\nGEMINI_KEY_day=fake-2\nGEMINI_KEY_free=fake-3\n";
    fs::write(dir.path().join("keys.env"), secrets).unwrap();
    let config = dir.path().join("config");
    fs::create_dir(&config).unwrap();
    fs::rename(dir.path().join("keypool.toml"), config.join("keypool.toml")).unwrap();
    let socket = dir.path().join("keypool.sock");

    let answered: Mutex<BTreeMap<String, Vec<Instant>>> = Mutex::default();
    let count = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    match select(&socket) {
                        Some(granted) => {
                            #[expect(clippy::disallowed_methods, reason = "when it was answered")]
                            let now = Instant::now();
                            let key = granted["key_id"].as_str().unwrap().to_owned();
                            answered.lock().unwrap().entry(key).or_default().push(now);
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                        None => thread::yield_now(),
                    }
                }
            });
        }
        for kill in 0..KILLS {
            let mut daemon = serve(dir.path());
            // Between one and some hundred answers, never at the same place.
            let until = count.load(Ordering::SeqCst) + 1 + kill * 37 % 101;
            while count.load(Ordering::SeqCst) < until {
                thread::yield_now();
            }
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
        over.store(true, Ordering::SeqCst);
    });

    let mut daemon = serve(dir.path());
    let usage = send(&socket, "GET", "/v1/usage", None).json();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let answered = answered.into_inner().unwrap();
    for key in usage["keys"].as_array().unwrap() {
        let known = usize::try_from(key["grants"].as_u64().unwrap()).unwrap();
        let told = answered.get(key["key_id"].as_str().unwrap()).map_or(0, Vec::len);
        assert!(known >= told, "{} of {told} grants of {} are known", known, key["key_id"]);
    }
    let minute = &answered["minute"];
    for (n, start) in minute.iter().enumerate() {
        let within = minute[n..].iter().filter(|at| **at - *start < Duration::from_mins(1)).count();
        assert!(within <= 900, "{within} grants in a minute");
    }
    assert!(answered["day"].len() <= 1500);
    assert!(answered["free"].len() > KILLS / 2, "the daemon was at work between the kills");
}

//! Many clients at once, and waiting.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use keypool::control::Control;
use serde_json::json;

use crate::support::{TestDaemon, keys_json, until};

/// How many of a thousand concurrent requests are granted.
fn granted_of_a_thousand(daemon: &TestDaemon, request: &serde_json::Value) -> usize {
    let granted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..1000 {
            let spawned = thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, || {
                let answer = daemon.post("/v1/select", request);
                match answer.status {
                    200 => drop(granted.fetch_add(1, Ordering::SeqCst)),
                    429 => assert_eq!(answer.code(), "exhausted"),
                    status => panic!("{status}: {}", answer.body),
                }
            });
            spawned.unwrap();
        }
    });
    granted.into_inner()
}

#[test]
fn a_thousand_clients_get_the_limit_to_the_unit() {
    let keys = [
        ("a", r#""rpm": 150"#),
        ("b", r#""rpm": 100, "rpd": 77"#),
        ("c", r#""max_concurrent": 40"#),
        ("d", r#""rpm": 60, "quota_group": "g""#),
        ("e", r#""rpm": 60, "quota_group": "g""#),
        ("f", r#""tpm": 1000"#),
    ];
    let daemon = TestDaemon::of(&keys_json(&keys));
    assert_eq!(granted_of_a_thousand(&daemon, &json!({"tokens": 50})), 150 + 77 + 40 + 60 + 20);
    daemon.pass(Duration::from_millis(60_500));
    assert_eq!(granted_of_a_thousand(&daemon, &json!({"tokens": 50})), 150 + 60 + 20);
}

#[test]
fn a_thousand_waiting_clients_are_served_a_window_at_a_time() {
    let daemon = TestDaemon::with(&keys_json(&[("a", r#""rpm": 300"#)]), "[wait]\nmax = \"5m\"");
    let request = json!({"wait_ms": 300_000});
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..1000 {
            let spawned = thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, || {
                assert_eq!(daemon.post("/v1/select", &request).status, 200);
                served.fetch_add(1, Ordering::SeqCst);
            });
            spawned.unwrap();
        }
        let waiting = || daemon.get("/v1/status").json()["waiting"].as_u64().unwrap();
        let reach = |expected: usize| {
            while served.load(Ordering::SeqCst) < expected {
                thread::yield_now();
            }
        };
        for (in_all, left) in [(300, 700), (600, 400), (900, 100), (1000, 0)] {
            reach(in_all);
            while waiting() != left {
                thread::yield_now();
            }
            assert_eq!(served.load(Ordering::SeqCst), in_all, "not one more than the limit");
            daemon.pass(Duration::from_millis(60_500));
        }
    });
}

#[test]
fn a_waiting_client_that_goes_leaves_the_line() {
    use std::io::Write;
    let daemon = TestDaemon::of(&keys_json(&[("a", r#""max_concurrent": 1"#)]));
    let lease = daemon.select(&json!({}));
    let waiting = || daemon.get("/v1/status").json()["waiting"].as_u64().unwrap();
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let request =
        b"POST /v1/select HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n{\"wait_ms\": 30000}";
    stream.write_all(request).unwrap();
    while waiting() != 1 {
        thread::yield_now();
    }
    drop(stream);
    while waiting() != 0 {
        thread::yield_now();
    }
    daemon.report(&lease, "success");
    daemon.select(&json!({}));
}

#[test]
fn a_wait_is_cut_to_the_longest_and_refused_when_it_would_be_in_vain() {
    let daemon = TestDaemon::with(&keys_json(&[("a", r#""rpm": 1"#)]), "[wait]\nmax = \"30s\"");
    daemon.select(&json!({}));
    let refused = daemon.post("/v1/select", &json!({"wait_ms": 10_000_000}));
    assert_eq!(refused.json()["retry_after_ms"], 60_500, "at once, without waiting 30 s");
    assert_eq!(refused.header("retry-after"), Some("61"));
    assert_eq!(refused.json()["resets_at"], "2026-01-01T12:01:00.500Z");
    assert_eq!(refused.json()["waits_for"], "rpm");
}

#[test]
fn a_daemon_that_is_told_to_stop_ends_the_waits_after_the_grace() {
    let toml = "[server]\ngrace = \"10s\"\n[wait]\nmax = \"5m\"";
    let daemon = TestDaemon::with(&keys_json(&[("a", r#""max_concurrent": 1"#)]), toml);
    daemon.select(&json!({}));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| daemon.post("/v1/select", &json!({"wait_ms": 300_000})));
        while daemon.get("/v1/status").json()["waiting"] != 1 {
            thread::yield_now();
        }
        daemon.control(Control::Stop);
        while daemon.get("/readyz").status != 503 {
            thread::yield_now();
        }
        assert_eq!(daemon.get("/livez").status, 200, "new connections are still served");
        // The grace begins a moment later, and what it ends would go on for minutes.
        until("the wait has ended", || {
            daemon.pass(Duration::from_secs(1));
            waiter.is_finished()
        });
        assert_eq!(waiter.join().unwrap().code(), "draining");
    });
    while daemon.socket().exists() {
        thread::yield_now();
    }
}

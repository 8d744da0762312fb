//! Metrics: what is scraped is what has happened, wherever it is scraped.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use keypool::telemetry::metrics::{CATALOGUE, PROCESS};
use serde_json::{Value, json};

use crate::support::{
    EIGHT_KEYS, FakeProvider, FakeVault, Manner, Scrape, TestDaemon, exchange, exchange_over,
    keys_json, send, until,
};

/// A daemon that serves metrics at a port of its own.
const OVER_TCP: &str = "metrics_addr = \"127.0.0.1:0\"";

fn scrape(daemon: &TestDaemon) -> Scrape {
    let answer = daemon.get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.body);
    Scrape::of(&answer.body)
}

/// Where `daemon` serves metrics, once it does.
fn address(daemon: &TestDaemon) -> SocketAddr {
    let metrics = || daemon.get("/v1/status").json()["metrics"].clone();
    until("the metrics listener is up", || {
        let metrics = metrics();
        metrics["error"].is_null() && !metrics["address"].as_str().unwrap().ends_with(":0")
    });
    metrics()["address"].as_str().unwrap().parse().unwrap()
}

/// The answer to a request line over TCP with `headers`.
fn over_tcp(address: SocketAddr, line: &str, headers: &str) -> crate::support::Answer {
    let request = format!("{line} HTTP/1.1\n{headers}Connection: close\n\n");
    exchange_over(address, request.replace('\n', "\r\n").as_bytes())
}

#[test]
fn the_socket_and_the_listener_serve_the_same_text() {
    let daemon = TestDaemon::with(EIGHT_KEYS, OVER_TCP);
    let address = address(&daemon);
    daemon.select(&json!({}));
    let answer = over_tcp(address, "GET /metrics", "Host: localhost\n");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let of_keys = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("keypool_key_"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(of_keys(&answer.body), of_keys(&scrape(&daemon).text));
    assert_eq!(over_tcp(address, "GET /livez", "Host: localhost\n").status, 200);
    assert_eq!(over_tcp(address, "GET /readyz", "Host: localhost\n").status, 200);
}

#[test]
fn the_listener_serves_three_paths_and_nothing_else() {
    let daemon = TestDaemon::with(EIGHT_KEYS, OVER_TCP);
    let address = address(&daemon);
    let status = |line: &str| over_tcp(address, line, "Host: 127.0.0.1\n").status;
    for path in
        ["/v1/keys", "/v1/status", "/v1/events", "/v1/select", "/", "/metrics/", "/openapi.json"]
    {
        assert_eq!(status(&format!("GET {path}")), 404, "{path}");
    }
    assert_eq!(status("POST /v1/select"), 404);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = over_tcp(address, &format!("{method} /metrics"), "Host: 127.0.0.1\n");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("get, head")), "{method}");
    }
    assert_eq!(status("GET http://169.254.169.254/metrics"), 400);
    let bare = exchange_over(address, b"GET /metrics HTTP/1.1\nHost: localhost\n\n");
    assert_eq!(bare.status, 400, "a line feed without a carriage return");
}

#[test]
fn the_listener_answers_no_name_that_dns_may_have_rebound() {
    let daemon = TestDaemon::with(EIGHT_KEYS, OVER_TCP);
    let address = address(&daemon);
    let status = |host: &str| over_tcp(address, "GET /metrics", &format!("Host: {host}\n")).status;
    for host in ["attacker.example", "attacker.example:9464", "127.0.0.1.attacker.example", ""] {
        assert_eq!(status(host), 403, "{host}");
    }
    for host in ["127.0.0.1:9090", "localhost", "[::1]:9464", "10.0.0.7:1"] {
        assert_eq!(status(host), 200, "{host}");
    }
    let without = exchange_over(address, b"GET /livez HTTP/1.0\r\n\r\n");
    assert_eq!(without.status, 200, "HTTP/1.0 needs no Host");
    let two = over_tcp(address, "GET /metrics", "Host: localhost\nHost: attacker.example\n");
    assert_eq!(two.status, 403);
    let seen = scrape(&daemon);
    assert_eq!(seen.number("keypool_peer_denied_total{reason=\"host\"}"), Some(5.0));
}

#[test]
fn head_is_get_without_the_body() {
    let daemon = TestDaemon::with(EIGHT_KEYS, OVER_TCP);
    let address = address(&daemon);
    for path in ["/metrics", "/livez", "/readyz"] {
        let answer = over_tcp(address, &format!("HEAD {path}"), "Host: localhost\n");
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
        assert!(answer.header("content-length").is_some());
    }
    assert_eq!(send(&daemon.socket(), "HEAD", "/metrics", None).status, 200);
}

#[test]
fn the_listener_says_that_no_key_is_usable_and_not_why() {
    let daemon =
        TestDaemon::with(r#"{"keys": [{"key_id": "a", "secret_name": "away"}]}"#, OVER_TCP);
    let address = address(&daemon);
    let answer = over_tcp(address, "GET /readyz", "Host: localhost\n");
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_usable_key"));
    assert!(!answer.body.contains("away") && daemon.get("/readyz").body.contains("away"));
    assert_eq!(scrape(&daemon).number("keypool_ready"), Some(0.0));
}

#[test]
fn keys_are_served_while_the_address_is_taken_and_metrics_once_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let daemon = TestDaemon::with(EIGHT_KEYS, &format!("metrics_addr = \"{address}\""));
    let metrics = || daemon.get("/v1/status").json()["metrics"].clone();
    until("the daemon has tried", || !metrics()["error"].is_null());
    assert!(metrics()["error"].as_str().unwrap().contains("in use"), "{}", metrics());
    daemon.select(&json!({}));
    drop(taken);
    until("the daemon tries again", || {
        daemon.pass(Duration::from_secs(1));
        metrics()["error"].is_null()
    });
    assert_eq!(over_tcp(address, "GET /metrics", "Host: localhost\n").status, 200);
}

#[test]
fn connections_beyond_the_limit_of_the_listener_wait_and_idle_ones_end_with_the_daemon() {
    let daemon = TestDaemon::with(EIGHT_KEYS, OVER_TCP);
    let address = address(&daemon);
    let mut idle: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let ask = |stream: &mut TcpStream| {
        stream.write_all(request).unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).is_ok_and(|()| answer == *b"HTTP/1.1 200 OK")
    };
    assert!(idle.iter_mut().all(ask));
    let mut one_more = TcpStream::connect(address).unwrap();
    one_more.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(!ask(&mut one_more), "every place is taken");
    idle.pop();
    one_more.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = [0; 15];
    one_more.read_exact(&mut answer).unwrap();
    // Dropping the daemon joins it: idle connections must not keep it.
    drop(daemon);
}

#[test]
fn selects_are_counted_to_the_unit() {
    let keys =
        [("a", r#""rpm": 3, "model_name": "m""#), ("b", r#""active": false, "model_name": "n""#)];
    let daemon = TestDaemon::of(&keys_json(&keys));
    let post = |body: Value| daemon.post("/v1/select", &body).status;
    let statuses: Vec<u16> = (0..5).map(|_| post(json!({"model": "m"}))).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(post(json!({"model": "x"})), 404);
    assert_eq!(post(json!({"model": "n"})), 503);
    assert_eq!((post(json!({"modle": "m"})), post(json!({"model": 5}))), (400, 400));
    assert_eq!(send(&daemon.socket(), "POST", "/v1/select", Some("{")).status, 400);
    daemon.get("/v1/select");
    daemon.get("/v1/keys");
    let seen = scrape(&daemon);
    assert_eq!(
        seen.counted("keypool_selects_total"),
        [
            ("{result=\"exhausted\"}", 2.0),
            ("{result=\"granted\"}", 3.0),
            ("{result=\"no_such_model\"}", 1.0),
            ("{result=\"no_usable_key\"}", 1.0),
            ("{result=\"rejected\"}", 3.0),
        ]
    );
    assert_eq!(seen.number("keypool_select_duration_seconds_count"), Some(10.0));
    assert_eq!(seen.number("keypool_wait_duration_seconds_count"), Some(0.0));
}

#[test]
fn grants_reports_and_tokens_of_each_key_are_counted_to_the_unit() {
    let keys = [("a", ""), ("b", r#""provider": "openai""#)];
    let daemon = TestDaemon::of(&keys_json(&keys));
    for (n, outcome) in [
        "success",
        "success",
        "server_error",
        "timeout",
        "client_error",
        "cancelled",
        "auth_failed",
    ]
    .into_iter()
    .enumerate()
    {
        let lease = daemon.select(&json!({"provider": "gemini", "tokens": 7}));
        let report = json!({"lease_id": lease["lease_id"], "outcome": outcome, "tokens_used": n});
        assert_eq!(daemon.post("/v1/report", &report).status, 200);
        assert_eq!(daemon.post("/v1/report", &report).status, 409, "counts once");
    }
    let lease = daemon.select(&json!({"provider": "openai", "tokens": 7}));
    daemon.report(&lease, "success");
    daemon.select(&json!({"provider": "openai"}));
    let seen = scrape(&daemon);
    let (a, b) = ("{key_id=\"a\",provider=\"gemini\"", "{key_id=\"b\",provider=\"openai\"");
    assert_eq!(
        seen.counted("keypool_key_grants_total"),
        [(&*format!("{a}}}"), 7.0), (&*format!("{b}}}"), 2.0)]
    );
    assert_eq!(
        seen.counted("keypool_key_tokens_total"),
        [(&*format!("{a}}}"), 21.0), (&*format!("{b}}}"), 7.0)]
    );
    let of_a = ["auth_failed", "cancelled", "client_error", "server_error", "success", "timeout"];
    let of_a = of_a.map(|name| {
        (format!("{a},outcome=\"{name}\"}}"), if name == "success" { 2.0 } else { 1.0 })
    });
    let of_b = [(format!("{b},outcome=\"success\"}}"), 1.0)];
    let reports: Vec<(&str, f64)> =
        of_a.iter().chain(&of_b).map(|(series, count)| (series.as_str(), *count)).collect();
    assert_eq!(seen.counted("keypool_key_reports_total"), reports);
    assert_eq!(seen.number("keypool_key_in_flight{key_id=\"b\",provider=\"openai\"}"), Some(1.0));
    assert_eq!(
        seen.counted("keypool_key_state"),
        [
            ("{key_id=\"a\",provider=\"gemini\",state=\"dead\"}", 1.0),
            ("{key_id=\"b\",provider=\"openai\",state=\"ready\"}", 1.0)
        ]
    );
}

#[test]
fn rotations_are_counted_by_the_provider_that_failed_and_why() {
    let keys = [("a", r#""priority": 1"#), ("b", r#""priority": 2, "provider": "openai""#)];
    let daemon = TestDaemon::of(&keys_json(&keys));
    let rotate = |outcome: &str| {
        let lease = daemon.select(&json!({}));
        assert_eq!(lease["key_id"], "a");
        let next =
            daemon.post("/v1/rotate", &json!({"lease_id": lease["lease_id"], "outcome": outcome}));
        if next.status == 200 {
            daemon.report(&next.json(), "success");
        }
        next.status
    };
    assert_eq!((rotate("timeout"), rotate("timeout"), rotate("client_error")), (200, 200, 409));
    assert_eq!(rotate("auth_failed"), 200);
    let lease = daemon.select(&json!({}));
    let none =
        daemon.post("/v1/rotate", &json!({"lease_id": lease["lease_id"], "outcome": "timeout"}));
    assert_eq!(none.status, 429, "{}", none.body);
    let seen = scrape(&daemon);
    assert_eq!(
        seen.counted("keypool_rotations_total"),
        [
            ("{provider=\"gemini\",reason=\"auth_failed\"}", 1.0),
            ("{provider=\"gemini\",reason=\"timeout\"}", 2.0)
        ]
    );
    // Five selects and three rotations have a key; one rotation found none, and one made no sense.
    assert_eq!(
        seen.counted("keypool_selects_total"),
        [("{result=\"exhausted\"}", 1.0), ("{result=\"granted\"}", 8.0)]
    );
}

#[test]
fn a_wave_of_429s_is_unexpected_once_and_its_cooldown_is_measured() {
    let daemon = TestDaemon::of(&keys_json(&[("a", "")]));
    let leases: Vec<Value> = (0..3).map(|_| daemon.select(&json!({}))).collect();
    for lease in &leases {
        daemon.report(lease, "rate_limited");
    }
    daemon.pass(Duration::from_secs(10));
    let seen = scrape(&daemon);
    let of_a =
        |name: &str| seen.number(&format!("keypool_{name}{{key_id=\"a\",provider=\"gemini\"}}"));
    assert_eq!(of_a("unexpected_429_total"), Some(1.0));
    assert_eq!(of_a("key_cooldowns_total"), Some(1.0));
    assert_eq!(of_a("key_cooldown_seconds"), Some(20.0));
    let reports =
        "keypool_key_reports_total{key_id=\"a\",provider=\"gemini\",outcome=\"rate_limited\"}";
    assert_eq!(seen.number(reports), Some(3.0));
    daemon.pass(Duration::from_mins(1));
    let later = scrape(&daemon);
    assert_eq!(
        later.number("keypool_key_cooldown_seconds{key_id=\"a\",provider=\"gemini\"}"),
        Some(0.0)
    );
}

#[test]
fn waits_are_measured_and_not_part_of_the_time_of_a_select() {
    let daemon = TestDaemon::of(&keys_json(&[("a", r#""max_concurrent": 1"#)]));
    let lease = daemon.select(&json!({}));
    let waiters = || scrape(&daemon).number("keypool_waiters");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| daemon.select(&json!({"wait_ms": 30_000})));
        until("it waits", || waiters() == Some(1.0));
        daemon.pass(Duration::from_secs(4));
        daemon.report(&lease, "success");
        waiter.join().unwrap();
        let in_vain = scope.spawn(|| daemon.post("/v1/select", &json!({"wait_ms": 2_000})));
        until("it waits", || waiters() == Some(1.0));
        daemon.pass(Duration::from_secs(2));
        assert_eq!(in_vain.join().unwrap().status, 429);
    });
    let seen = scrape(&daemon);
    assert_eq!(seen.number("keypool_wait_duration_seconds_count"), Some(2.0));
    assert!(seen.number("keypool_wait_duration_seconds_sum").unwrap() >= 6.0);
    assert_eq!(seen.number("keypool_wait_duration_seconds_bucket{le=\"2.5\"}"), Some(1.0));
    assert_eq!(
        seen.number("keypool_select_duration_seconds_sum"),
        Some(0.0),
        "the clock stood still"
    );
    assert_eq!(
        seen.counted("keypool_selects_total"),
        [("{result=\"exhausted\"}", 1.0), ("{result=\"granted\"}", 2.0)]
    );
}

#[test]
fn a_waiting_client_that_goes_is_a_rejected_select() {
    let daemon = TestDaemon::of(&keys_json(&[("a", r#""max_concurrent": 1"#)]));
    let lease = daemon.select(&json!({}));
    let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
    let request =
        b"POST /v1/select HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n{\"wait_ms\": 30000}";
    stream.write_all(request).unwrap();
    until("it waits", || scrape(&daemon).number("keypool_waiters") == Some(1.0));
    drop(stream);
    let rejected = "keypool_selects_total{result=\"rejected\"}";
    until("it has gone", || scrape(&daemon).number(rejected) == Some(1.0));
    assert_eq!(scrape(&daemon).number("keypool_wait_duration_seconds_count"), Some(1.0));
    daemon.report(&lease, "success");
}

#[test]
fn quota_is_shown_as_the_pool_counts_it() {
    let keys = [
        ("a", r#""rpm": 10, "tpm": 1000, "rpd": 5, "max_concurrent": 4, "quota_group": "g""#),
        ("b", r#""rpm": 10, "tpm": 1000, "rpd": 5, "max_concurrent": 4, "quota_group": "g""#),
        ("c", ""),
    ];
    let daemon =
        TestDaemon::of(&keys_json(&keys).replacen('{', "{\"quota_warning_threshold\": 0.5,", 1));
    for _ in 0..3 {
        daemon.select(&json!({"exclude": ["c"], "tokens": 100}));
    }
    let seen = scrape(&daemon);
    for key in ["a", "b"] {
        let of = |name: &str, limit: &str| {
            let series = format!(
                "keypool_quota_{name}{{key_id=\"{key}\",provider=\"gemini\",limit=\"{limit}\"}}"
            );
            seen.number(&series)
        };
        for (limit, most, left, used) in [
            ("rpm", 10.0, 7.0, 0.3),
            ("tpm", 1000.0, 700.0, 0.3),
            ("rpd", 5.0, 2.0, 0.6),
            ("concurrency", 4.0, 1.0, 0.75),
        ] {
            assert_eq!(of("limit", limit), Some(most), "{key} {limit}");
            assert_eq!(of("remaining", limit), Some(left), "{key} {limit}");
            assert_eq!(of("used_ratio", limit), Some(used), "{key} {limit}");
        }
        // The clock stands at noon of the first of January, and Pacific midnight is at 8 UTC.
        assert_eq!(of("resets_timestamp_seconds", "rpd"), Some(1_767_340_800.0));
        assert_eq!(of("resets_timestamp_seconds", "rpm"), None);
        let info = format!(
            "keypool_key_info{{key_id=\"{key}\",provider=\"gemini\",model=\"*\",group_key_id=\"a\"}}"
        );
        assert_eq!(seen.number(&info), Some(1.0));
    }
    assert_eq!(seen.number("keypool_quota_warning_threshold_ratio"), Some(0.5));
    let warnings = seen.counted("keypool_quota_warnings_total");
    assert!(matches!(warnings[..], [(_, 1.0)]), "one key crossed one threshold: {warnings:?}");
    assert!(!seen.mentions("keypool_quota_limit{key_id=\"c\""));
    assert!(!seen.mentions("keypool_capacity_requests_per_minute"), "c has no limit");
}

#[test]
fn capacity_falls_with_the_keys() {
    let keys =
        [("a", r#""rpm": 15, "model_name": "m""#), ("b", r#""rpm": 60, "model_name": ["m", "n"]"#)];
    let daemon = TestDaemon::of(&keys_json(&keys));
    let lease = daemon.select(&json!({"model": "n"}));
    daemon.report(&lease, "auth_failed");
    let seen = scrape(&daemon);
    let of = |series: &str| seen.number(&format!("keypool_{series}}}"));
    assert_eq!(of("capacity_requests_per_minute{provider=\"gemini\""), Some(75.0));
    assert_eq!(of("capacity_ready_requests_per_minute{provider=\"gemini\""), Some(15.0));
    let model = |name: &str| format!("requests_per_minute{{provider=\"gemini\",model=\"{name}\"");
    assert_eq!(of(&format!("model_capacity_{}", model("m"))), Some(75.0));
    assert_eq!(of(&format!("model_capacity_{}", model("n"))), Some(60.0));
    assert_eq!(of(&format!("model_capacity_ready_{}", model("m"))), Some(15.0));
    assert_eq!(of(&format!("model_capacity_ready_{}", model("n"))), Some(0.0));
}

#[test]
fn series_of_removed_keys_disappear_at_once_and_the_counters_of_others_stay() {
    let keys = [("a", ""), ("b", r#""provider": "openai""#)];
    let daemon = TestDaemon::of(&keys_json(&keys));
    for provider in ["gemini", "openai"] {
        let lease = daemon.select(&json!({"provider": provider}));
        daemon.report(&lease, "success");
    }
    let reload = |keys: &[(&str, &str)]| {
        fs::write(daemon.path("keys.json"), keys_json(keys)).unwrap();
        let answer = daemon.post("/v1/reload", &json!({}));
        assert_eq!(answer.json()["result"], "applied", "{}", answer.body);
        scrape(&daemon)
    };
    let held = daemon.select(&json!({"provider": "openai"}));
    let seen = reload(&keys[..1]);
    assert!(!seen.mentions("key_id=\"b\"") && !seen.mentions("openai"), "{}", seen.text);
    assert_eq!(
        seen.number("keypool_key_grants_total{key_id=\"a\",provider=\"gemini\"}"),
        Some(1.0)
    );
    daemon.report(&held, "success");
    assert!(!scrape(&daemon).mentions("key_id=\"b\""), "not for a late report either");
    let seen = reload(&[("a", ""), ("c", r#""rpm": 5"#)]);
    assert_eq!(
        seen.number("keypool_key_grants_total{key_id=\"c\",provider=\"gemini\"}"),
        Some(0.0)
    );
    assert_eq!(
        seen.number("keypool_key_grants_total{key_id=\"a\",provider=\"gemini\"}"),
        Some(1.0)
    );
}

#[test]
fn reloads_secrets_and_leases_without_a_report_are_counted() {
    let daemon = TestDaemon::with(&keys_json(&[("a", "")]), "[lease]\nttl = \"1m\"");
    let reload = || daemon.post("/v1/reload", &json!({})).json()["result"].clone();
    assert_eq!(reload(), "unchanged");
    daemon.pass(Duration::from_secs(100));
    fs::write(daemon.path("keys.json"), "[]").unwrap();
    assert_eq!(reload(), "kept");
    daemon.select(&json!({}));
    daemon.pass(Duration::from_secs(61));
    let seen = scrape(&daemon);
    assert_eq!(seen.number("keypool_leases_expired_total"), Some(1.0));
    assert_eq!(seen.number("keypool_config_last_reload_successful"), Some(0.0));
    let started = seen.number("keypool_start_time_seconds").unwrap();
    let success = seen.number("keypool_config_last_reload_success_timestamp_seconds").unwrap();
    assert!(success >= started && success < started + 100.0, "{started} {success}");
    assert!(seen.number("keypool_config_reloads_total{result=\"kept\"}").unwrap() >= 1.0);
    assert_eq!(seen.number("keypool_config_reloads_total{result=\"applied\"}"), Some(1.0));
    let age = seen.number("keypool_secret_age_seconds{key_id=\"a\"}").unwrap();
    assert!((161.0..=162.0).contains(&age), "{age}");
    assert!(!seen.mentions("keypool_secret_max_stale_seconds"), "nothing fetches it anew");
}

#[test]
fn probes_are_counted_and_shown_by_key() {
    let provider = FakeProvider::start(Manner::Honest);
    provider.reject("fake-secret-b");
    let toml = format!(
        "[probe]\nallow_private = true\n[providers.gemini]\nbase_url = \"{}\"",
        provider.url()
    );
    let daemon = TestDaemon::with(&keys_json(&[("a", ""), ("b", "")]), &toml);
    until("both keys are probed", || {
        daemon.pass(Duration::from_secs(5));
        scrape(&daemon).counted("keypool_probes_total").len() == 2
    });
    let seen = scrape(&daemon);
    assert_eq!(seen.number("keypool_probe_success{key_id=\"a\",provider=\"gemini\"}"), Some(1.0));
    assert_eq!(seen.number("keypool_probe_success{key_id=\"b\",provider=\"gemini\"}"), Some(0.0));
    assert!(
        seen.number("keypool_probe_duration_seconds{key_id=\"a\",provider=\"gemini\"}").is_some()
    );
}

#[test]
fn an_open_breaker_is_shown_and_is_no_want_of_quota() {
    let daemon = TestDaemon::of(&keys_json(&[("a", ""), ("b", ""), ("c", "")]));
    for key in ["a", "b", "c"] {
        let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|other| *other != key).collect();
        let lease = daemon.select(&json!({"exclude": others}));
        daemon.report(&lease, "server_error");
    }
    assert_eq!(daemon.post("/v1/select", &json!({})).code(), "provider_unavailable");
    let seen = scrape(&daemon);
    assert_eq!(seen.number("keypool_provider_breaker_open{provider=\"gemini\"}"), Some(1.0));
    assert_eq!(seen.number("keypool_selects_total{result=\"no_usable_key\"}"), Some(1.0));
}

#[test]
fn denied_requests_are_counted_by_their_reason() {
    let toml = "[server]\nrequire_header = \"x-keypool: fake-secret-word\"";
    let daemon = TestDaemon::with(EIGHT_KEYS, toml);
    let ask = |headers: &str| {
        let request = format!("GET /metrics HTTP/1.1\nHost: x\nConnection: close\n{headers}\n");
        exchange(&daemon.socket(), request.replace('\n', "\r\n").as_bytes(), false)
    };
    assert!(ask("").starts_with("HTTP/1.1 403"));
    assert!(ask("X-Keypool: fake-secret-word\nVia: 1.1 x\n").starts_with("HTTP/1.1 400"));
    let seen = ask("X-Keypool: fake-secret-word\n");
    let seen = Scrape::of(seen.split_once("\r\n\r\n").unwrap().1);
    assert_eq!(
        seen.counted("keypool_peer_denied_total"),
        [("{reason=\"header\"}", 1.0), ("{reason=\"hygiene\"}", 1.0)]
    );
}

#[test]
fn no_label_is_of_a_clients_making() {
    let daemon = TestDaemon::of(&keys_json(&[("a", "")]));
    let lease = daemon.select(&json!({"model": "canary-model", "user": "canary-user", "tags": {}}));
    let report = json!({"lease_id": lease["lease_id"], "status": 429, "body": "canary-body"});
    daemon.post("/v1/report", &report);
    daemon.get("/canary-path");
    let seen = scrape(&daemon);
    assert!(!seen.text.contains("canary") && !seen.text.contains("fake-secret"));
}

#[test]
fn a_mixed_load_is_clean_to_promtool_and_holds_every_name_of_the_catalogue() {
    let vault = FakeVault::start(&[("far", "fake-secret-far")]);
    let mut keys: Value = serde_json::from_str(EIGHT_KEYS).unwrap();
    let far = json!({"key_id": "far", "secret_store": "vault", "rpm": 15});
    keys["keys"].as_array_mut().unwrap().push(far);
    let variables = vault.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    let daemon = TestDaemon::with_variables(&keys.to_string(), OVER_TCP, &variables);
    until("the secret comes", || daemon.state("far") == "ready");
    let address = address(&daemon);
    let outcomes =
        ["success", "rate_limited", "auth_failed", "server_error", "timeout", "cancelled"];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = [0, 1, 2, 3].map(|client| {
            let daemon = &daemon;
            scope.spawn(move || {
                for turn in 0..60 {
                    let answer =
                        daemon.post("/v1/select", &json!({"tokens": 10, "wait_ms": turn % 2}));
                    if answer.status == 200 {
                        let outcome = outcomes[(client + turn) % outcomes.len()];
                        let body =
                            json!({"lease_id": answer.json()["lease_id"], "outcome": outcome});
                        let path = if turn % 3 == 0 { "/v1/rotate" } else { "/v1/report" };
                        daemon.post(path, &body);
                    }
                }
            })
        });
        scope.spawn(|| {
            for _ in 0..20 {
                Scrape::of(&over_tcp(address, "GET /metrics", "Host: localhost\n").body);
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                daemon.pass(Duration::from_millis(100));
                thread::sleep(Duration::from_millis(1));
            }
        });
        let ended = clients.map(thread::ScopedJoinHandle::join);
        over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok));
    });
    let text = over_tcp(address, "GET /metrics", "Host: localhost\n").body;
    assert_eq!(promtool(&text), (true, String::new()));

    let seen = Scrape::of(&text);
    let exported = seen.families();
    // This daemon shares its limits with nobody.
    let own = CATALOGUE.iter().map(|family| family.name).filter(|name| !name.contains("_shared_"));
    assert_eq!(exported, own.chain(PROCESS).collect());
}

#[test]
fn a_daemon_without_keys_is_clean_to_promtool() {
    let daemon = TestDaemon::of("[]");
    let seen = scrape(&daemon);
    assert_eq!(promtool(&seen.text), (true, String::new()));
    assert_eq!(seen.number("keypool_ready"), Some(0.0));
}

/// Whether `promtool check metrics` likes `text`, and what it says.
fn promtool(text: &str) -> (bool, String) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is in the Debian package prometheus, which tests/run installs");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_thousand_keys_are_scraped_whole() {
    let ids: Vec<String> = (0..1000).map(|n| format!("key_{n:04}")).collect();
    let keys: Vec<(&str, &str)> = ids
        .iter()
        .map(|id| (id.as_str(), r#""rpm": 60, "tpm": 100000, "rpd": 1500, "max_concurrent": 4"#))
        .collect();
    let daemon = TestDaemon::with(&keys_json(&keys), OVER_TCP);
    let address = address(&daemon);
    for _ in 0..100 {
        daemon.select(&json!({}));
    }
    let scrapes = thread::scope(|scope| {
        let scraper = || over_tcp(address, "GET /metrics", "Host: localhost\n").body;
        let scrapers: Vec<_> = (0..8).map(|_| scope.spawn(scraper)).collect();
        scrapers.into_iter().map(|scraper| scraper.join().unwrap()).collect::<Vec<_>>()
    });
    for text in scrapes {
        let seen = Scrape::of(&text);
        assert_eq!(seen.counted("keypool_key_state").len(), 1000);
        assert_eq!(seen.counted("keypool_key_grants_total").len(), 100);
        assert_eq!(
            seen.number("keypool_capacity_requests_per_minute{provider=\"gemini\"}"),
            Some(60_000.0)
        );
    }
    let now = || keypool::clock::Clock::System.now().at;
    let times: Vec<Duration> = (0..10)
        .map(|_| {
            let begun = now();
            over_tcp(address, "GET /metrics", "Host: localhost\n");
            now().since(begun)
        })
        .collect();
    println!("a scrape of 1,000 keys took {:?} at best", times.iter().min().unwrap());
}

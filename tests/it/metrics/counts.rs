//! What is counted.

use super::*;

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

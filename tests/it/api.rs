//! The API as an application meets it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{EIGHT_KEYS, TestDaemon, keys_json};

#[test]
fn a_select_is_answered_with_everything_a_caller_needs() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let answer = daemon.post("/v1/select", &json!({"model": "gemini-2.0-flash"}));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut granted = answer.json();
    let lease_id = granted["lease_id"].take();
    assert!(lease_id.as_str().is_some_and(|id| id.ends_with("-0")), "{lease_id}");
    let expected = json!({
        "lease_id": null, "key_id": "flash_01", "provider": "gemini",
        "model": "gemini-2.0-flash", "secret": "fake-secret-flash_01",
        "header": {"name": "x-goog-api-key", "value": "fake-secret-flash_01"},
        "expires_at": "2026-01-01T12:10:00Z", "use_within_ms": 500,
        "attempt": 1, "attempts_left": 2
    });
    assert_eq!(granted, expected);
}

#[test]
fn each_provider_gets_its_header() {
    let keys = [
        ("o", r#""provider": "openai""#),
        ("a", r#""provider": "anthropic""#),
        ("m", r#""provider": "mine""#),
        ("x", r#""provider": "other""#),
    ];
    let toml = "[providers.mine]\nauth_header = {name = \"x-token\", prefix = \"Token \"}";
    let daemon = TestDaemon::with(&keys_json(&keys), toml);
    let header = |provider: &str| {
        let header = &daemon.select(&json!({"provider": provider}))["header"];
        format!("{}: {}", header["name"], header["value"]).replace('"', "")
    };
    assert_eq!(header("openai"), "Authorization: Bearer fake-secret-o");
    assert_eq!(header("anthropic"), "x-api-key: fake-secret-a");
    assert_eq!(header("mine"), "x-token: Token fake-secret-m");
    assert_eq!(header("other"), "Authorization: Bearer fake-secret-x");
}

#[test]
fn an_empty_request_is_a_request_for_any_key() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let answer = crate::support::send(&daemon.socket(), "POST", "/v1/select", None);
    assert_eq!(answer.json()["key_id"], "pro_01", "the first of priority 1");
}

#[test]
fn a_report_of_the_providers_answer_is_judged_here() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let lease = daemon.select(&json!({"model": "gemini-2.0-flash"}));
    let body = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12s"}]}});
    let report = json!({"lease_id": lease["lease_id"], "status": 429, "headers": {}, "body": body});
    let answer = daemon.post("/v1/report", &report).json();
    let expected = json!({"key_id": "flash_01", "outcome": "rate_limited", "state": "cooling",
        "until": "2026-01-01T12:00:12Z", "retry": true});
    assert_eq!(answer, expected);
    assert_eq!(daemon.state("flash_01"), "cooling");
    daemon.pass(Duration::from_secs(12));
    assert_eq!(daemon.state("flash_01"), "ready");
}

#[test]
fn the_caller_may_judge_himself() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let lease = daemon.select(&json!({}));
    let report =
        json!({"lease_id": lease["lease_id"], "outcome": "rate_limited", "retry_after_ms": 7000});
    assert_eq!(daemon.post("/v1/report", &report).json()["until"], "2026-01-01T12:00:07Z");
    let lease = daemon.select(&json!({}));
    let report = json!({"lease_id": lease["lease_id"], "outcome": "success", "tokens_used": 1234});
    daemon.post("/v1/report", &report);
    let key = daemon.get(&format!("/v1/keys/{}", lease["key_id"].as_str().unwrap())).json();
    assert_eq!((&key["tokens"], &key["quota"]["tpm"]["used"]), (&json!(1234), &json!(1234)));
}

#[test]
fn rotate_goes_on_with_another_key_until_all_eight_are_limited() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let mut lease = daemon.select(&json!({}));
    let mut used = vec![lease["key_id"].clone()];
    for attempt in 2..=8 {
        let delay = 60_000 - attempt * 1000;
        let failure = json!({"lease_id": lease["lease_id"], "outcome": "rate_limited", "retry_after_ms": delay});
        lease = daemon.post("/v1/rotate", &failure).json();
        assert_eq!(
            (&lease["attempt"], &lease["attempts_left"]),
            (&json!(attempt), &json!(8 - attempt))
        );
        assert!(!used.contains(&lease["key_id"]));
        used.push(lease["key_id"].clone());
    }
    let failure =
        json!({"lease_id": lease["lease_id"], "outcome": "rate_limited", "retry_after_ms": 55_000});
    let ninth = daemon.post("/v1/rotate", &failure);
    assert_eq!((ninth.status, ninth.code()), (429, "exhausted".to_owned()));
    assert_eq!(ninth.json()["retry_after_ms"], 52_000, "the earliest recovery");
    assert_eq!(ninth.header("retry-after"), Some("52"));
    let events = daemon.get("/v1/events?limit=3").json();
    let names: Vec<&Value> =
        events["events"].as_array().unwrap().iter().map(|e| &e["event"]).collect();
    assert_eq!(names, ["cooling", "rotated", "cooling"]);
}

#[test]
fn rotate_refuses_what_another_key_cannot_help() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let lease = daemon.select(&json!({}));
    let failure = json!({"lease_id": lease["lease_id"], "status": 404, "body": "{}"});
    let lease_of = |answer: crate::support::Answer| (answer.status, answer.code());
    assert_eq!(
        lease_of(daemon.post(
            "/v1/rotate",
            &json!({"lease_id": lease["lease_id"], "outcome": "client_error"})
        )),
        (409, "not_retryable".into())
    );
    assert_eq!(lease_of(daemon.post("/v1/rotate", &failure)), (409, "already_reported".into()));
}

#[test]
fn a_model_nobody_offers_is_answered_with_those_that_are() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let answer = daemon.post("/v1/select", &json!({"model": "gemini-2.0-flsh"}));
    assert_eq!((answer.status, answer.code()), (404, "no_such_model".into()));
    assert_eq!(answer.json()["offered"], json!(["gemini-2.0-flash", "gemini-2.5-pro"]));
}

#[test]
fn twenty_reports_of_one_wave_are_one_strike() {
    let daemon = TestDaemon::of(&keys_json(&[("a", "")]));
    let leases: Vec<Value> = (0..20).map(|_| daemon.select(&json!({}))).collect();
    std::thread::scope(|scope| {
        for lease in &leases {
            scope.spawn(|| daemon.report(lease, "rate_limited"));
        }
    });
    let until = |daemon: &TestDaemon| daemon.get("/v1/keys/a").json()["until"].clone();
    assert_eq!(until(&daemon), "2026-01-01T12:00:30Z");
    daemon.pass(Duration::from_secs(30));
    let trial = daemon.select(&json!({}));
    assert_eq!(daemon.post("/v1/select", &json!({})).json()["waits_for"], "trial");
    daemon.report(&trial, "rate_limited");
    assert_eq!(until(&daemon), "2026-01-01T12:01:30Z", "the second strike counts double");
    daemon.pass(Duration::from_mins(1));
    let trial = daemon.select(&json!({}));
    daemon.report(&trial, "success");
    let lease = daemon.select(&json!({}));
    daemon.report(&lease, "rate_limited");
    assert_eq!(until(&daemon), "2026-01-01T12:02:30Z", "a success halves the level: 60 s again");
}

#[test]
fn a_user_keeps_his_key_while_it_can_pay() {
    let keys: Vec<(String, &str)> = (1..=8).map(|n| (format!("k{n}"), r#""rpm": 1000"#)).collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(id, more)| (id.as_str(), *more)).collect();
    let daemon = TestDaemon::of(&keys_json(&keys));
    let first = daemon.select(&json!({"user": "u-17"}))["key_id"].clone();
    for _ in 1..1000 {
        assert_eq!(daemon.select(&json!({"user": "u-17"}))["key_id"], first);
    }
    assert_ne!(daemon.select(&json!({"user": "u-17"}))["key_id"], first, "now it cannot pay");
}

#[test]
fn a_lease_that_is_gone_is_said_to_be() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let lease = daemon.select(&json!({}));
    let report = |id: &Value| {
        let answer = daemon.post("/v1/report", &json!({"lease_id": id, "outcome": "success"}));
        (answer.status, answer.code())
    };
    daemon.pass(Duration::from_secs(601));
    assert_eq!(report(&lease["lease_id"]), (410, "lease_expired".into()));
    let id = lease["lease_id"].as_str().unwrap();
    assert_eq!(report(&json!(format!("{}ff", id))), (404, "not_found".into()));
    assert_eq!(report(&json!("nonsense")), (400, "invalid_request".into()));
    assert_eq!(report(&json!(17)), (400, "invalid_request".into()));
}

#[test]
fn every_wrong_field_is_named() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let cases = [
        ("/v1/select", json!({"modle": "x"}), "modle"),
        ("/v1/select", json!({"model": 5}), "model"),
        ("/v1/select", json!({"model": []}), "model"),
        ("/v1/select", json!({"model": ""}), "model"),
        ("/v1/select", json!({"tags": {"a": 1}}), "tags"),
        ("/v1/select", json!({"tokens": -1}), "tokens"),
        ("/v1/select", json!({"tokens": 1.5}), "tokens"),
        ("/v1/select", json!({"tokens": 3_000_000}), "tokens"),
        ("/v1/select", json!({"wait_ms": "5s"}), "wait_ms"),
        ("/v1/select", json!({"exclude": "pro_01"}), "exclude"),
        ("/v1/report", json!({"outcome": "success"}), "lease_id"),
        ("/v1/report", json!({"lease_id": "00000000-0"}), "outcome"),
        ("/v1/report", json!({"lease_id": "00000000-0", "outcome": "fine"}), "outcome"),
        (
            "/v1/report",
            json!({"lease_id": "00000000-0", "outcome": "success", "status": 200}),
            "outcome",
        ),
        ("/v1/report", json!({"lease_id": "00000000-0", "status": 99}), "status"),
        ("/v1/report", json!({"lease_id": "00000000-0", "status": 429, "headers": []}), "headers"),
        (
            "/v1/report",
            json!({"lease_id": "00000000-0", "outcome": "success", "retry_after_ms": 5}),
            "retry_after_ms",
        ),
        (
            "/v1/report",
            json!({"lease_id": "00000000-0", "outcome": "success", "wait_ms": 5}),
            "wait_ms",
        ),
    ];
    for (path, body, field) in cases {
        let answer = daemon.post(path, &body);
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some(field)), "{body}");
    }
    daemon.select(&json!({"model": null, "tags": null, "wait_ms": 0, "exclude": []}));
}

#[test]
fn keys_shows_state_quota_and_record() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let lease = daemon.select(&json!({"model": "gemini-2.0-flash", "tokens": 500}));
    daemon.pass(Duration::from_secs(1));
    daemon.report(&lease, "server_error");
    let keys = daemon.get("/v1/keys").json();
    let ids: Vec<&Value> =
        keys["keys"].as_array().unwrap().iter().map(|key| &key["key_id"]).collect();
    assert_eq!(ids.len(), 8);
    assert_eq!((ids[0], ids[7]), (&json!("flash_01"), &json!("pro_05")));
    let key = &keys["keys"][0];
    assert_eq!(
        key["quota"]["rpm"],
        json!({"limit": 15, "used": 1, "remaining": 14, "resets_at": "2026-01-01T12:01:00.500Z"})
    );
    assert_eq!(key["quota"]["rpd"]["resets_at"], "2026-01-02T08:00:00Z", "midnight in Los Angeles");
    assert_eq!(key["quota"]["tpm"]["used"], 0, "a failed request costs no tokens");
    assert_eq!((&key["error_count"], &key["consecutive_failures"]), (&json!(1), &json!(1)));
    assert_eq!(key["last_error"], json!({"time": "2026-01-01T12:00:01Z", "error": "server_error"}));
    let missing = daemon.get("/v1/keys/nobody");
    assert_eq!((missing.status, missing.code()), (404, "no_such_key".into()));
}

#[test]
fn usage_counts_by_key_and_by_model() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    for outcome in ["success", "success", "server_error"] {
        let lease = daemon.select(&json!({"model": "gemini-2.0-flash"}));
        daemon.report(&lease, outcome);
    }
    let usage = daemon.get("/v1/usage").json();
    let flash =
        usage["models"].as_array().unwrap().iter().find(|m| m["model"] == "gemini-2.0-flash");
    let flash = flash.unwrap();
    assert_eq!((&flash["grants"], &flash["keys"]), (&json!(3), &json!(3)));
    assert_eq!(flash["success_rate"], json!(0.6667));
    assert_eq!(flash["capacity_share"], json!(0.0667));
    assert_eq!(usage["keys"].as_array().unwrap().len(), 8);
}

#[test]
fn status_tells_the_daemon_at_a_glance() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    daemon.select(&json!({}));
    let status = daemon.get("/v1/status").json();
    assert_eq!(status["ready"], true);
    assert_eq!(status["rotation"]["on"], true);
    assert_eq!(status["capacity"]["rpm"], 345);
    assert_eq!(status["capacity"]["models"]["gemini-2.0-flash"], 45);
    assert_eq!(status["keys"]["ready"], 8);
    assert_eq!(status["last_key"], "pro_01");
    assert_eq!(status["configuration"]["generation"], 1);
}

#[test]
fn a_key_without_secret_leaves_the_others_serving() {
    let daemon = TestDaemon::of(&keys_json(&[("a", r#""secret_name": "elsewhere""#), ("b", "")]));
    assert_eq!(daemon.state("a"), "missing_secret");
    let key = daemon.get("/v1/keys/a").json();
    assert_eq!(key["reason"], "GEMINI_KEY_elsewhere or elsewhere is not set");
    assert_eq!(daemon.select(&json!({}))["key_id"], "b");
    let refused = daemon.post("/v1/select", &json!({"exclude": ["b"]}));
    assert_eq!((refused.status, refused.code()), (503, "no_usable_key".into()));
    let why = &refused.json()["keys"];
    assert_eq!(why[0]["reason"], "missing secret: GEMINI_KEY_elsewhere or elsewhere is not set");
    assert_eq!(why[1]["reason"], "excluded by the request");
}

#[test]
fn a_secret_that_turns_up_brings_its_key_in() {
    let toml = "[secrets]\nstore = \"file\"\ndir = \"/nonexistent\"";
    let keys = keys_json(&[("a", "")]);
    let daemon = TestDaemon::with(&keys, toml);
    assert_eq!(daemon.get("/readyz").status, 503);
    drop(daemon);
    let dir = tempfile::tempdir().unwrap();
    let daemon =
        TestDaemon::with(&keys, &format!("[secrets]\nstore = \"file\"\ndir = {:?}", dir.path()));
    assert_eq!(daemon.state("a"), "missing_secret");
    std::fs::write(dir.path().join("a"), "fake-secret-late\n").unwrap();
    while daemon.state("a") != "ready" {
        daemon.pass(Duration::from_secs(5));
        std::thread::yield_now();
    }
    assert_eq!(daemon.select(&json!({}))["secret"], "fake-secret-late");
}

#[test]
fn a_rejected_keys_file_leaves_the_daemon_up_and_explaining() {
    let daemon = TestDaemon::of("{\"keys\": [{\"key_id\": \"a\", \"rpm\": 0}]}");
    assert_eq!(daemon.get("/livez").status, 200);
    assert_eq!(daemon.get("/readyz").status, 503);
    let refused = daemon.post("/v1/select", &json!({"model": "x"}));
    assert_eq!((refused.status, refused.code()), (503, "no_usable_key".into()));
    let error = refused.json()["errors"][0].as_str().unwrap().to_owned();
    assert!(error.contains("keys.json:1:") && error.contains("key a: rpm: expected"), "{error}");
    assert_eq!(daemon.get("/v1/status").json()["configuration"]["errors"][0], error.as_str());
}

#[test]
fn live_events_come_as_they_happen() {
    use std::io::{BufRead, BufReader, Write};
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
    stream
        .write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with(": keypool events")));
    let lease = daemon.select(&json!({}));
    daemon.report(&lease, "auth_failed");
    assert!(lines.any(|line| line == "event: dead"));
    let data = lines.next().unwrap();
    let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&event["event"], &event["key_id"]), (&json!("dead"), &lease["key_id"]));
}

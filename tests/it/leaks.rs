//! A secret is in the answer to select and nowhere else.

use serde_json::json;

use crate::support::{EIGHT_KEYS, TestDaemon, send};

#[test]
fn no_other_answer_holds_a_secret() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    for outcome in ["success", "rate_limited", "auth_failed", "server_error"] {
        let lease = daemon.select(&json!({}));
        assert!(lease["secret"].as_str().unwrap().starts_with("fake-secret-"));
        let answer = daemon.report(&lease, outcome).to_string();
        assert!(!answer.contains("fake-secret"), "{answer}");
    }
    let lease = daemon.select(&json!({}));
    let echo = json!({"error": {"code": 403, "message": "Consumer 'api_key:fake-secret-pro_01' has been suspended",
        "status": lease["secret"], "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "CONSUMER_SUSPENDED", "metadata": {"consumer": "fake-secret-pro_01"}}]}});
    let report = json!({"lease_id": lease["lease_id"], "status": 403, "body": echo});
    let answer = daemon.post("/v1/report", &report);
    assert_eq!(answer.json()["state"], "dead");
    assert!(!answer.body.contains("fake-secret"), "{}", answer.body);
    for path in ["/v1/keys", "/v1/usage", "/v1/events", "/v1/status", "/readyz"] {
        let answer = daemon.get(path);
        assert!(!answer.body.contains("fake-secret"), "{path}: {}", answer.body);
    }
}

#[test]
fn a_secret_that_looks_like_a_code_of_the_provider_is_not_repeated() {
    let keys = r#"{"keys": [{"key_id": "a"}]}"#;
    let daemon = TestDaemon::with_variables(keys, "", &[("GEMINI_KEY_a", "FAKE_SECRET_A")]);
    let lease = daemon.select(&json!({}));
    let body = json!({"error": {"code": 500, "status": lease["secret"]}});
    daemon.post("/v1/report", &json!({"lease_id": lease["lease_id"], "status": 500, "body": body}));
    let told = daemon.get("/v1/keys/a").json()["last_error"]["error"].clone();
    assert_eq!(told, "500 [REDACTED]");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let canary = "fake-secret-canary";
    for keys in [
        format!("{{\"keys\": [{{\"key_id\": \"{canary} \"}}]}}"),
        format!("{{\"keys\": [{{\"key_id\": \"a\", \"rpm\": \"{canary}\"}}]}}"),
        format!("{{\"keys\": [{{\"key_id\": \"a\", \"{canary}\": 1}}]}}"),
        format!("{{\"keys\": [{{\"key_id\": \"a\"}}], \"rotation_strategy\": \"{canary}\"}}"),
        format!("{{\"keys\": [{{\"key_id\": \"a\", \"tags\": {{\"{canary}\""),
    ] {
        let daemon = TestDaemon::of(&keys);
        for path in ["/v1/status", "/readyz", "/v1/events"] {
            let answer = daemon.get(path);
            assert!(!answer.body.contains(canary), "{path} after {keys}: {}", answer.body);
        }
    }
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let wrong = [format!("{{\"model\": {canary}}}"), format!("{{\"wait_ms\": \"{canary}\"}}")];
    for body in wrong {
        let answer = send(&daemon.socket(), "POST", "/v1/select", Some(&body));
        assert!(!answer.body.contains(canary), "{}", answer.body);
    }
}

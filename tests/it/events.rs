//! Events: whatever changes is told to those who follow, as it happens.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{FakeProvider, Manner, TestDaemon, keys_json, until};

/// What a client can bring about over HTTP and by files.
const EVENTS: [&str; 16] = [
    "rotated",
    "quota_warning",
    "cooling",
    "limit_learnt",
    "half_open",
    "recovered",
    "dead",
    "revived",
    "model_refused",
    "provider_down",
    "provider_up",
    "secret_missing",
    "secret_found",
    "reload_failed",
    "reloaded",
    "lease_expired",
];

/// `keypool events --follow` beside a daemon. Dropping it ends it.
struct Follower {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Follower {
    fn of(daemon: &TestDaemon) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keypool"));
        command.arg("--socket").arg(daemon.socket()).args(["events", "--follow"]).env_clear();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (read, shown) = (BufReader::new(child.stdout.take().unwrap()), lines.clone());
        thread::spawn(move || {
            for line in read.lines().map_while(Result::ok) {
                shown.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    /// The lines that tell of `event`.
    fn told(&self, event: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        // After the time, which has fifteen characters and two spaces.
        let of = |line: &&String| line[17..].split(' ').next() == Some(event);
        lines.iter().filter(of).cloned().collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn secret(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn every_change_is_told_to_those_who_follow() {
    let provider = FakeProvider::start(Manner::Honest);
    let ids = ["a", "b", "c", "p", "q", "r"];
    let limits = [
        ("a", r#""rpm": 60, "model_name": ["m", "n"]"#),
        ("b", r#""rpm": 2, "priority": 2"#),
        ("c", r#""priority": 3"#),
        ("p", r#""provider": "mine""#),
        ("q", r#""provider": "mine""#),
        ("r", r#""provider": "mine""#),
    ];
    let daemon = TestDaemon::prepared(&keys_json(&limits), |path| {
        fs::create_dir(path("secrets")).unwrap();
        for id in ids {
            secret(&path("secrets").join(id), &format!("fake-secret-{id}"));
        }
        format!(
            "[secrets]\nstore = \"file\"\ndir = {:?}\n[probe]\nallow_private = true\n\
             [providers.gemini]\nbase_url = \"{}\"\n",
            path("secrets"),
            provider.url()
        )
    });
    let follower = Follower::of(&daemon);
    let only = |key: &str| -> Value {
        let others: Vec<&str> = ids.into_iter().filter(|other| *other != key).collect();
        daemon.select(&json!({"exclude": others}))
    };
    let answered = |lease: &Value, answer: Value| {
        let mut report = json!({"lease_id": lease["lease_id"]});
        report.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
        assert_eq!(daemon.post("/v1/report", &report).status, 200);
    };

    until("it follows, and tells of a rotation", || {
        let lease = daemon.select(&json!({"provider": "gemini", "exclude": ["b"]}));
        let body = json!({"lease_id": lease["lease_id"], "outcome": "timeout"});
        let next = daemon.post("/v1/rotate", &body);
        daemon.report(&next.json(), "success");
        !follower.told("rotated").is_empty()
    });
    for _ in 0..2 {
        daemon.report(&only("b"), "success");
    }
    let refused = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
            {"quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
             "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "15"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12s"}]}});
    answered(&only("a"), json!({"status": 429, "body": refused}));
    daemon.pass(Duration::from_secs(13));
    until("its cooldown is over", || daemon.state("a") == "ready");
    daemon.report(&only("a"), "success");
    // The provider accepts it, so a probe brings it back.
    daemon.report(&only("c"), "auth_failed");
    until("a probe has revived it", || !follower.told("revived").is_empty());
    let lease = daemon.select(&json!({"model": "n", "provider": "gemini", "exclude": ["b", "c"]}));
    answered(
        &lease,
        json!({"status": 404, "body": {"error": {"code": 404, "message": "no such model"}}}),
    );
    for key in ["p", "q", "r"] {
        daemon.report(&only(key), "server_error");
    }
    daemon.pass(Duration::from_secs(6));
    daemon.report(&only("p"), "success");

    fs::remove_file(daemon.path("secrets/q")).unwrap();
    until("its secret is missed", || {
        daemon.pass(Duration::from_secs(1));
        daemon.state("q") == "missing_secret"
    });
    secret(&daemon.path("secrets/q"), "fake-secret-q");
    until("its secret is found", || {
        daemon.pass(Duration::from_secs(1));
        daemon.state("q") == "ready"
    });
    let reload = |text: &str| {
        fs::write(daemon.path("keys.json"), text).unwrap();
        daemon.post("/v1/reload", &json!({}));
    };
    reload("[]]");
    reload(&keys_json(&limits[1..]));
    only("c");
    daemon.pass(Duration::from_mins(11));

    for event in EVENTS {
        until(event, || !follower.told(event).is_empty());
    }
    let one = |event: &str| follower.told(event).pop().unwrap();
    assert!(one("reloaded").contains("keys.json; removed a"), "{}", one("reloaded"));
    assert!(one("dead").ends_with("c dead: the provider rejects the key (auth_failed)"));
    assert!(!follower.lines.lock().unwrap().concat().contains("fake-secret"));
}

#[test]
fn a_setting_that_needs_a_restart_is_an_event() {
    let daemon = TestDaemon::of(&keys_json(&[("a", "")]));
    let toml = fs::read_to_string(daemon.path("keypool.toml")).unwrap();
    fs::write(daemon.path("keypool.toml"), toml.replace("log = \"error\"", "log = \"warn\""))
        .unwrap();
    let latest = || daemon.get("/v1/events?limit=1").json()["events"][0].clone();
    until("it is told", || {
        daemon.post("/v1/reload", &json!({}));
        latest()["event"] == "restart_needed"
    });
    assert_eq!(latest()["message"], "changed, but in use only after a restart: log");
    assert!(latest().get("key_id").is_none(), "it is of no key");
}

//! A secret is in the answer to select and nowhere else.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::thread;

use keypool::pool::Pool;
use serde_json::json;

use crate::support::{EIGHT_KEYS, FakeProvider, Manner, TestDaemon, keys_json, send, until};
use crate::systemd::Manager;

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

#[test]
fn what_is_rejected_and_what_is_probed_with_is_told_to_nobody_however_loud_the_log() {
    let canary = "fake-secret-canary";
    let provider = FakeProvider::start(Manner::Honest);
    let manager = Manager::new();
    manager.write_config();
    let toml = fs::read_to_string(manager.path("keypool.toml")).unwrap();
    let toml = format!(
        "log = \"trace\"\nenv_files = [{:?}]\n{}[probe]\nallow_private = true\n\
         [providers.gemini]\nbase_url = \"{}\"\n",
        manager.path("keys.env"),
        toml.replace("[probe]\nenabled = false\n", ""),
        provider.url()
    );
    let keys = keys_json(&[("a", ""), ("b", "")]);
    let keys = keys.replacen('{', "{\"health_check_interval\": 1,", 1);
    let env = format!("GEMINI_KEY_b={canary}\n");
    let sound = [("keypool.toml", &toml), ("keys.json", &keys), ("keys.env", &env)];
    for (file, text) in sound {
        fs::write(manager.path(file), text).unwrap();
    }
    let daemon = manager.start(None, "");
    let mut said = vec![manager.told_of("READY=1")];
    until("the key is probed", || provider.heads().iter().any(|head| head.contains(canary)));

    let entry = |fields: &str| keys.replacen("\"b\"", &format!("\"b\", {fields}"), 1);
    for (file, text) in [
        ("keys.json", entry(&format!("\"rpm\": \"{canary}\""))),
        ("keys.json", entry(&format!("\"{canary}\": 1"))),
        ("keys.json", entry(&format!("\"secret_store\": \"{canary}\""))),
        ("keys.json", entry(&format!("\"tags\": {{\"x\": \"{canary}"))),
        ("keypool.toml", format!("{canary} {canary}\n{toml}")),
        ("keypool.toml", format!("log_format = \"{canary}\"\n{toml}")),
        ("keys.env", format!("{canary} {canary}\n{env}")),
        ("keys.env", format!("GEMINI_KEY_b=\"{canary}\n")),
    ] {
        fs::write(manager.path(file), &text).unwrap();
        let socket = manager.path("api.sock");
        said.push(send(&socket, "POST", "/v1/reload", Some("{}")).body);
        said.extend([manager.told(), manager.told()]);
        for path in ["/v1/status", "/readyz", "/v1/keys", "/v1/events", "/metrics"] {
            said.push(send(&socket, "GET", path, None).body);
        }
        for (file, text) in sound {
            fs::write(manager.path(file), text).unwrap();
        }
    }
    daemon.stop();
    said.push(manager.told_of("STOPPING=1"));
    said.push(manager.log());
    assert!(said.last().unwrap().contains("TRACE"), "the log is at its loudest");
    for said in said {
        assert!(!said.contains(canary), "{said}");
    }
}

/// How often `text` is in the memory that the process `pid` can write. Only root may look.
fn copies(pid: u32, text: &str) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).expect("this test must run as root");
    let regions = maps.lines().filter(|line| line.contains(" rw"));
    let copies_in = |line: &str| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(number(end) - number(start)).unwrap()];
        // What has gone meanwhile, or was never there, holds nothing.
        memory.read_exact_at(&mut bytes, number(start)).ok();
        bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    };
    regions.map(copies_in).sum()
}

#[test]
fn a_secret_is_once_in_memory_and_after_its_replacement_not_at_all() {
    let manager = Manager::new();
    manager.write_config();
    let toml = fs::read_to_string(manager.path("keypool.toml")).unwrap();
    let toml = format!("env_files = [{:?}]\n{toml}", manager.path("keys.env"));
    fs::write(manager.path("keypool.toml"), toml).unwrap();
    fs::write(manager.path("keys.json"), keys_json(&[("b", "")])).unwrap();
    let secret = |version: usize| format!("fake-secret-{version}-canary");
    let write = |version| {
        let line = format!("GEMINI_KEY_b={}\n", secret(version));
        fs::write(manager.path("keys.env"), line).unwrap();
    };
    write(0);
    let daemon = manager.start(None, "");
    manager.told_of("READY=1");
    let copies = |version| copies(daemon.0.id(), &secret(version));
    assert_eq!(copies(0), 1);
    for version in 1..=5 {
        write(version);
        send(&manager.path("api.sock"), "POST", "/v1/reload", Some("{}"));
        until("the next one is read", || copies(version) == 1);
        // What was freed but not wiped would be found as well.
        assert_eq!((0..version).map(copies).sum::<usize>(), 0, "after {version} replacements");
    }
}

#[test]
fn a_panic_that_holds_the_pool_ends_neither_the_process_nor_the_serving() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let secret = daemon.select(&json!({}))["secret"].as_str().unwrap().to_owned();
    let (pool, now) = (daemon.service().pool.clone(), daemon.clock.now());
    let panicked = thread::spawn(move || {
        let fails = |_: &mut Pool, _| panic!("{secret}");
        pool.call(now, fails);
    });
    assert!(panicked.join().is_err());
    daemon.select(&json!({}));
    assert_eq!(daemon.get("/readyz").status, 200);
}

//! Administration: what is done to keys over the socket, and what becomes of keys.json.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};

use crate::command::{code, err, out};
use crate::support::{Answer, FakeProvider, Manner, TestDaemon, keys_json, until};

/// Written by somebody with a manner of his own.
const FILE: &str = r#"{
  "comment":   "mine",
  "keys": [
    {
      "key_id" : "a",
      "rpm" : 15, "note": [1,  2],
      "active": true
    },
    {"key_id": "b", "rpm": 60, "tags": {"region":"us-east"}}
  ],
  "fallback_order": ["b", "a"]
}
"#;

/// A daemon with [`FILE`], a secret for a key `c`, and a provider that is not there.
fn daemon() -> TestDaemon {
    let toml = "[probe]\nenabled = false\nallow_private = true\n\
                [providers.gemini]\nbase_url = \"http://127.0.0.1:1\"\n";
    TestDaemon::with_variables(FILE, toml, &[("GEMINI_KEY_c", "fake-secret-c")])
}

fn file(daemon: &TestDaemon) -> String {
    fs::read_to_string(daemon.path("keys.json")).unwrap()
}

/// The JSON of an answer that must be 200.
#[track_caller]
fn done(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

#[track_caller]
fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

/// The time of `updated_at` in `text`, so that it can be expected.
fn updated_at(text: &str) -> String {
    let after = text.split("\"updated_at\"").nth(1).unwrap();
    after.split('"').nth(1).unwrap().to_owned()
}

fn keypool(daemon: &TestDaemon, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keypool"));
    command.arg("--socket").arg(daemon.socket()).args(arguments).env_clear().output().unwrap()
}

#[test]
fn a_key_that_is_added_is_in_use_when_it_is_answered() {
    let daemon = daemon();
    let entry = json!({"key_id": "c", "rpm": 5, "model_name": ["m", "n"], "tags": {"x": "y"}});
    let answer = done(&daemon.post("/v1/keys", &entry));
    assert_eq!((&answer["result"], &answer["added"]), (&json!("applied"), &json!(["c"])));
    assert_eq!(answer["key"]["state"], "ready");
    assert_eq!(
        daemon.select(&json!({"model": "m", "tags": {"x": "y"}}))["secret"],
        "fake-secret-c"
    );
    let written = file(&daemon);
    let now = updated_at(&written);
    assert!(now.ends_with('Z') && now.contains('T'), "{now}");
    let line = format!(
        "{{\"key_id\": \"c\", \"model_name\": [\"m\", \"n\"], \"rpm\": 5, \"tags\": {{\"x\": \"y\"}}, \
         \"created_at\": \"{now}\", \"updated_at\": \"{now}\"}}"
    );
    assert_eq!(written, FILE.replace("\"us-east\"}}", &format!("\"us-east\"}}}},\n    {line}")));
}

#[test]
fn a_change_touches_its_entry_alone() {
    let daemon = daemon();
    let answer = done(&daemon.send("PATCH", "/v1/keys/a", &json!({"rpm": 7, "active": false})));
    assert_eq!(answer["changed"], json!(["a"]));
    assert_eq!(answer["key"]["state"], "inactive");
    assert_eq!(answer["key"]["quota"]["rpm"]["limit"], 7);
    let written = file(&daemon);
    let updated = format!("false,\n      \"updated_at\" : \"{}\"", updated_at(&written));
    let expected = FILE.replace("\"rpm\" : 15", "\"rpm\" : 7").replace("true", &updated);
    assert_eq!(written, expected);

    let answer = done(&daemon.send("PATCH", "/v1/keys/a", &json!({"active": null, "rpm": null})));
    assert_eq!(answer["key"]["state"], "ready");
    assert_eq!(answer["key"]["quota"], json!({}));
    let written = file(&daemon);
    let updated = format!(",\n      \"updated_at\" : \"{}\"", updated_at(&written));
    let without = ",\n      \"rpm\" : 15, \"note\"";
    let expected =
        FILE.replace(without, ", \"note\"").replace(",\n      \"active\": true", &updated);
    assert_eq!(written, expected);
}

#[test]
fn a_whole_number_with_a_point_is_written_without() {
    let daemon = daemon();
    done(&daemon.send("PATCH", "/v1/keys/b", &json!({"rpm": 7.0})));
    assert!(file(&daemon).contains("\"rpm\": 7,"), "{}", file(&daemon));
    daemon.select(&json!({"tokens": 5.0, "wait_ms": 0.0}));
    let half = daemon.send("PATCH", "/v1/keys/b", &json!({"rpm": 7.5}));
    assert_eq!(refused(&half), (400, "invalid_request".into()));
}

#[test]
fn a_key_that_is_removed_leaves_the_file_and_the_fallback_order() {
    let daemon = daemon();
    let answer = done(&daemon.send("DELETE", "/v1/keys/b", &json!({})));
    assert_eq!((&answer["removed"], &answer["key"]), (&json!(["b"]), &Value::Null));
    let entry = ",\n    {\"key_id\": \"b\", \"rpm\": 60, \"tags\": {\"region\":\"us-east\"}}";
    assert_eq!(file(&daemon), FILE.replace(entry, "").replace("\"b\", ", ""));
    assert_eq!(refused(&daemon.get("/v1/keys/b")), (404, "no_such_key".into()));
}

#[test]
fn what_would_not_be_valid_changes_nothing_and_is_told_whole() {
    let daemon = daemon();
    let bad = json!({"rpm": 0, "burst_capacity": "x", "tags": 5});
    let answer = daemon.send("PATCH", "/v1/keys/a", &bad);
    assert_eq!(refused(&answer), (400, "invalid_request".into()));
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(
        errors.iter().all(|error| error.as_str().unwrap().contains("keys.json:")),
        "{errors:?}"
    );

    for (method, path, body, status, code) in [
        ("PATCH", "/v1/keys/a", json!({"rmp": 5}), 400, "invalid_request"),
        ("PATCH", "/v1/keys/a", json!({"key_id": "z"}), 400, "invalid_request"),
        ("PATCH", "/v1/keys/a", json!({"updated_at": "x"}), 400, "invalid_request"),
        ("PATCH", "/v1/keys/a", json!({}), 400, "invalid_request"),
        ("PATCH", "/v1/keys/z", json!({"rpm": 5}), 404, "no_such_key"),
        ("DELETE", "/v1/keys/z", json!({}), 404, "no_such_key"),
        ("DELETE", "/v1/keys/a", json!({"x": 1}), 400, "invalid_request"),
        ("POST", "/v1/keys", json!({"key_id": "a"}), 409, "key_exists"),
        ("POST", "/v1/keys", json!({"key_id": "a b"}), 400, "invalid_request"),
        ("POST", "/v1/keys", json!({"rpm": 5}), 400, "invalid_request"),
        (
            "POST",
            "/v1/keys",
            json!({"key_id": "c", "secret": "fake-secret"}),
            400,
            "invalid_request",
        ),
        ("POST", "/v1/keys/z/clear", json!({}), 404, "no_such_key"),
        ("POST", "/v1/keys/z/probe", json!({}), 404, "no_such_key"),
    ] {
        let answer = daemon.send(method, path, &body);
        assert_eq!(refused(&answer), (status, code.into()), "{method} {path} {body}");
        assert!(!answer.body.contains("fake-secret"), "{}", answer.body);
    }
    let unknown = daemon.send("PATCH", "/v1/keys/a", &json!({"rmp": 5})).json();
    assert!(unknown["detail"].as_str().unwrap().contains("rpm"), "{unknown}");
    assert_eq!(file(&daemon), FILE);
    done(&daemon.send("DELETE", "/v1/keys/b", &json!({})));
    let last = daemon.send("DELETE", "/v1/keys/a", &json!({}));
    assert_eq!(refused(&last), (400, "invalid_request".into()), "a file of no keys is not valid");
}

#[test]
fn a_file_that_is_broken_by_hand_is_not_made_worse() {
    let daemon = daemon();
    let broken = FILE.replace("\"rpm\" : 15", "\"rpm\" : 0");
    fs::write(daemon.path("keys.json"), &broken).unwrap();
    let answer = daemon.send("PATCH", "/v1/keys/b", &json!({"rpm": 5}));
    assert_eq!(refused(&answer), (400, "invalid_request".into()));
    assert_eq!(file(&daemon), broken);
    fs::write(daemon.path("keys.json"), "{\"keys\": [").unwrap();
    let answer = daemon.send("PATCH", "/v1/keys/b", &json!({"rpm": 5}));
    assert!(answer.body.contains("keys.json:1"), "{}", answer.body);
    // A change that mends the file is taken.
    fs::write(daemon.path("keys.json"), &broken).unwrap();
    done(&daemon.send("PATCH", "/v1/keys/a", &json!({"rpm": 5})));
}

#[test]
fn an_edit_by_hand_is_never_lost() {
    let daemon = daemon();
    let hand = |n: usize| format!("\"by hand\": {n}");
    let first = FILE.replace("\"comment\":   \"mine\"", &hand(0));
    fs::write(daemon.path("keys.json"), first).unwrap();
    thread::scope(|scope| {
        let by_hand = scope.spawn(|| {
            for n in 1..=60 {
                while !file(&daemon).contains(&hand(n)) {
                    let text = file(&daemon).replace(&hand(n - 1), &hand(n));
                    fs::write(daemon.path("edited"), text).unwrap();
                    let mode = fs::Permissions::from_mode(0o600);
                    fs::set_permissions(daemon.path("edited"), mode).unwrap();
                    fs::rename(daemon.path("edited"), daemon.path("keys.json")).unwrap();
                }
            }
        });
        let mut rpm = 1;
        while !by_hand.is_finished() {
            rpm += 1;
            let answer = daemon.send("PATCH", "/v1/keys/a", &json!({"rpm": rpm}));
            if answer.status != 200 {
                assert_eq!(refused(&answer), (409, "conflict".into()), "{}", answer.body);
            }
        }
    });
    assert!(file(&daemon).contains(&hand(60)), "{}", file(&daemon));
    done(&daemon.send("PATCH", "/v1/keys/a", &json!({"rpm": 5})));
    assert!(file(&daemon).contains(&hand(60)), "{}", file(&daemon));
}

#[test]
fn a_hundred_changes_at_once_are_all_made() {
    let daemon = TestDaemon::of(&keys_json(&[("a", "")]));
    thread::scope(|scope| {
        for n in 0..100 {
            let daemon = &daemon;
            scope.spawn(move || {
                done(&daemon.post("/v1/keys", &json!({"key_id": format!("k{n}"), "rpm": n + 1})));
            });
        }
    });
    let keys = daemon.get("/v1/keys").json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 101);
    let written: Value = serde_json::from_str(&file(&daemon)).unwrap();
    assert_eq!(written["keys"].as_array().unwrap().len(), 101);
    assert_eq!(
        fs::read_dir(daemon.path("."))
            .unwrap()
            .flatten()
            .filter(|entry| { entry.file_name().to_string_lossy().contains("tmp") })
            .count(),
        0
    );
}

#[test]
fn a_link_and_the_mode_and_owner_of_the_file_stay() {
    let daemon = daemon();
    let (link, target) = (daemon.path("keys.json"), daemon.path("real/keys.json"));
    fs::create_dir(daemon.path("real")).unwrap();
    fs::rename(&link, &target).unwrap();
    symlink("real/keys.json", &link).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&target, Some(4242), Some(4343)).expect("this test must run as root");
    done(&daemon.send("PATCH", "/v1/keys/a", &json!({"rpm": 9})));
    assert!(link.is_symlink());
    let found = fs::metadata(&target).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o640, 4242, 4343));
    assert!(fs::read_to_string(&target).unwrap().contains("\"rpm\" : 9"));
}

#[test]
fn keys_that_are_in_no_keys_json_are_not_changed() {
    let plain = daemon();
    let keys = plain.path("keys.txt");
    fs::write(&keys, "fake-secret-one\n").unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    let toml = fs::read_to_string(plain.path("keypool.toml")).unwrap();
    fs::write(plain.path("keypool.toml"), toml.replace("keys.json", "keys.txt")).unwrap();
    assert_eq!(done(&plain.post("/v1/reload", &json!({})))["result"], "applied");
    for answer in [
        plain.send("PATCH", "/v1/keys/key_01", &json!({"rpm": 5})),
        plain.send("DELETE", "/v1/keys/key_01", &json!({})),
        plain.post("/v1/keys", &json!({"key_id": "c"})),
    ] {
        assert_eq!(refused(&answer), (409, "not_editable".into()), "{}", answer.body);
        assert!(answer.body.contains("keypool import"), "{}", answer.body);
    }
    assert_eq!(fs::read_to_string(&keys).unwrap(), "fake-secret-one\n");

    let single = TestDaemon::with_variables(
        &keys_json(&[("a", "")]),
        "",
        &[("ENABLE_KEY_ROTATION", "false"), ("GEMINI_API_KEY", "fake-secret")],
    );
    let answer = single.send("PATCH", "/v1/keys/default", &json!({"rpm": 5}));
    assert_eq!(refused(&answer), (409, "not_editable".into()));
    assert!(answer.body.contains("rotation is off"), "{}", answer.body);
}

#[test]
fn failures_that_are_cleared_stay_so_after_a_kill() {
    let daemon = TestDaemon::keeping_state(&keys_json(&[("a", ""), ("b", "")]));
    let lease = daemon.select(&json!({"exclude": ["b"]}));
    assert_eq!(daemon.report(&lease, "auth_failed")["state"], "dead");
    let lease = daemon.select(&json!({"exclude": ["a"]}));
    assert_eq!(daemon.report(&lease, "rate_limited")["state"], "cooling");
    for key in ["a", "b"] {
        let answer = done(&daemon.post(&format!("/v1/keys/{key}/clear"), &json!({})));
        assert_eq!(answer["state"], "ready", "{answer}");
    }
    let events = daemon.get("/v1/events").body;
    assert!(events.contains("a revived: cleared by an administrator"), "{events}");
    let next = daemon.after_a_kill(|_| {});
    assert_eq!((next.state("a"), next.state("b")), ("ready".into(), "ready".into()));
}

#[test]
fn a_probe_is_asked_for_at_once_and_answers_with_the_verdict() {
    let provider = FakeProvider::start(Manner::Honest);
    let url = provider.url();
    let toml = format!(
        "[probe]\nenabled = false\nallow_private = true\n[providers.gemini]\nbase_url = \"{url}\"\n"
    );
    let keys = [("a", ""), ("x", r#""provider": "other""#), ("n", r#""secret_name": "none""#)];
    let daemon = TestDaemon::with(&keys_json(&keys), &toml);
    let probe = |key: &str| daemon.post(&format!("/v1/keys/{key}/probe"), &json!({}));
    let answer = done(&probe("a"));
    assert_eq!((&answer["result"], &answer["state"]), (&json!("accepted"), &json!("ready")));
    assert!(answer["duration_ms"].is_u64(), "{answer}");
    provider.reject("fake-secret-a");
    let answer = done(&probe("a"));
    assert_eq!((&answer["result"], &answer["state"]), (&json!("rejected"), &json!("dead")));
    assert_eq!(answer["detail"], "400 INVALID_ARGUMENT API_KEY_INVALID");
    provider.accept_all();
    assert_eq!(done(&probe("a"))["state"], "ready");
    assert_eq!(provider.asked().len(), 3, "one probe each");
    assert_eq!(refused(&probe("x")), (409, "no_probe".into()));
    assert_eq!(refused(&probe("n")), (409, "missing_secret".into()));
}

#[test]
fn what_is_written_and_cannot_be_in_use_is_told() {
    let daemon = daemon();
    fs::write(daemon.path("keypool.toml"), "nonsense").unwrap();
    let answer = done(&daemon.send("PATCH", "/v1/keys/a", &json!({"rpm": 9})));
    assert_eq!(answer["result"], "kept");
    assert!(answer["errors"].to_string().contains("keypool.toml"), "{answer}");
    assert!(file(&daemon).contains("\"rpm\" : 9"));
}

#[test]
fn the_commands_do_what_the_api_does() {
    let daemon = daemon();
    let told = |arguments: &[&str]| {
        let output = keypool(&daemon, arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}{}", out(&output), err(&output));
        out(&output)
    };
    assert_eq!(told(&["add", "c", "--rpm", "5", "--tag", "x=y"]), "applied\nadded: c\nc: ready\n");
    assert_eq!(told(&["disable", "c"]), "applied\nchanged: c\nc: inactive\n");
    assert_eq!(told(&["enable", "c"]), "applied\nchanged: c\nc: ready\n");
    assert_eq!(told(&["clear", "c"]), "c: ready\n");
    assert_eq!(told(&["remove", "c"]), "applied\nremoved: c\n");
    assert_eq!(file(&daemon), FILE);
    assert!(told(&["--json", "disable", "b"]).contains("\"result\":\"applied\""));

    let missing = keypool(&daemon, &["remove", "bb"]);
    assert_eq!(code(&missing), 1);
    assert!(err(&missing).contains("the keys are a, b"), "{}", err(&missing));
    let invalid = keypool(&daemon, &["add", "d", "--rpm", "0", "--priority", "0"]);
    assert_eq!(code(&invalid), 1);
    assert!(
        err(&invalid).contains("rpm") && err(&invalid).contains("priority"),
        "{}",
        err(&invalid)
    );
    let probe = keypool(&daemon, &["probe", "b"]);
    assert_eq!(code(&probe), 1);
    assert!(out(&probe).contains("b: the provider was not reached"), "{}", out(&probe));
    until("the journal has the changes", || daemon.get("/v1/events").body.contains("changed b"));
}

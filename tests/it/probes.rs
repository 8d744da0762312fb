//! Health probes against a provider on loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use keypool::clock::Clock;
use serde_json::{Value, json};

use crate::support::{FakeProvider, Manner, TestDaemon, keys_json, until};

const INTERVAL: Duration = Duration::from_mins(1);

const FREE: &str = "GET /v1beta/models?pageSize=1 HTTP/1.1";

/// A daemon that finds `gemini` at `provider`, with more lines in `[probe]`.
fn daemon(keys: &[(&str, &str)], provider: &FakeProvider, more: &str) -> TestDaemon {
    let url = provider.url();
    let toml = format!(
        "[probe]\nallow_private = true\n{more}\n[providers.gemini]\nbase_url = \"{url}\"\n"
    );
    TestDaemon::with(&keys_json(keys), &toml)
}

fn last_probe(daemon: &TestDaemon, key_id: &str) -> Value {
    daemon.get(&format!("/v1/keys/{key_id}")).json()["last_probe"].clone()
}

/// Lets an interval pass until the first probe of a key has come to its end; what it says.
fn first_probe(daemon: &TestDaemon, key_id: &str) -> Value {
    until("the first probe has ended", || {
        daemon.pass(INTERVAL);
        !last_probe(daemon, key_id).is_null()
    });
    last_probe(daemon, key_id)
}

#[test]
fn a_rejected_key_is_dead_after_one_report_and_back_within_an_interval_of_becoming_valid() {
    let provider = FakeProvider::start(Manner::Honest);
    provider.reject("fake-secret-a");
    let daemon = daemon(&[("a", r#""priority": 1"#), ("b", "")], &provider, "");
    let lease = daemon.select(&json!({}));
    assert_eq!(lease["key_id"], "a");
    assert_eq!(daemon.report(&lease, "auth_failed")["state"], "dead");
    until("the death is confirmed", || last_probe(&daemon, "a")["result"] == "rejected");
    let probe = last_probe(&daemon, "a");
    assert_eq!(probe["detail"], "400 INVALID_ARGUMENT API_KEY_INVALID");
    assert!(probe["time"].is_string() && probe["duration_ms"].is_u64(), "{probe}");
    for interval in 2..5 {
        assert_eq!(daemon.select(&json!({}))["key_id"], "b");
        daemon.pass(INTERVAL);
        let of_a = |head: &&String| head.contains("fake-secret-a");
        until("it is asked about again", || {
            provider.heads().iter().filter(of_a).count() >= interval
        });
        assert_eq!(daemon.state("a"), "dead");
    }
    provider.accept_all();
    daemon.pass(INTERVAL);
    until("it is back", || daemon.state("a") == "ready");
    assert_eq!(daemon.select(&json!({}))["key_id"], "a");
    let events = daemon.get("/v1/events").body;
    assert!(events.contains("a revived: probe succeeded"), "{events}");
    assert!(provider.asked().iter().all(|asked| asked == FREE), "{:?}", provider.asked());
}

#[test]
fn a_wrong_report_is_put_right_at_once() {
    let provider = FakeProvider::start(Manner::Honest);
    let daemon = daemon(&[("a", "")], &provider, "");
    let lease = daemon.select(&json!({}));
    assert_eq!(daemon.report(&lease, "auth_failed")["state"], "dead");
    until("it is back", || daemon.state("a") == "ready");
    assert_eq!(provider.asked(), [FREE]);
}

#[test]
fn a_key_that_nobody_uses_is_found_to_be_rejected() {
    let provider = FakeProvider::start(Manner::Honest);
    provider.reject("fake-secret-a");
    let daemon = daemon(&[("a", ""), ("b", "")], &provider, "");
    first_probe(&daemon, "a");
    first_probe(&daemon, "b");
    assert_eq!((daemon.state("a"), daemon.state("b")), ("dead".to_owned(), "ready".to_owned()));
}

#[test]
fn only_the_free_endpoints_are_asked_each_in_its_providers_way() {
    let provider = FakeProvider::start(Manner::Honest);
    let keys = [
        ("g", ""),
        ("o", r#""provider": "openai""#),
        ("a", r#""provider": "anthropic""#),
        ("m", r#""provider": "mine""#),
        ("x", r#""provider": "other""#),
    ];
    let url = provider.url();
    let section = |name: &str| format!("[providers.{name}]\nbase_url = \"{url}\"\n");
    let toml = [
        "[probe]\nallow_private = true\n".to_owned(),
        section("gemini"),
        section("openai"),
        section("anthropic"),
        section("mine"),
        "probe = {path = \"/me\", headers = {x-version = \"7\"}}\n".to_owned(),
        "auth_header = {name = \"x-token\", prefix = \"Token \"}\n".to_owned(),
    ];
    let daemon = TestDaemon::with(&keys_json(&keys), &toml.concat());
    for id in ["g", "o", "a", "m"] {
        assert_eq!(first_probe(&daemon, id)["result"], "accepted");
    }
    for _ in 0..3 {
        let before = provider.asked().len();
        daemon.pass(INTERVAL * 2);
        until("all are asked again", || provider.asked().len() >= before + 4);
    }
    let expected = [
        (FREE, vec!["x-goog-api-key: fake-secret-g"]),
        ("GET /v1/models HTTP/1.1", vec!["authorization: Bearer fake-secret-o"]),
        (
            "GET /v1/models?limit=1 HTTP/1.1",
            vec!["x-api-key: fake-secret-a", "anthropic-version: 2023-06-01"],
        ),
        ("GET /me HTTP/1.1", vec!["x-token: Token fake-secret-m", "x-version: 7"]),
    ];
    for head in provider.heads() {
        let known = expected.iter().find(|(line, _)| head.starts_with(line));
        let (_, headers) = known.unwrap_or_else(|| panic!("not free: {head}"));
        for header in headers {
            let name_and_value = |line: &str| line.eq_ignore_ascii_case(header);
            assert!(head.lines().any(name_and_value), "{header} not in {head}");
        }
        assert!(!head.to_lowercase().contains("cookie"), "{head}");
    }
    assert!(last_probe(&daemon, "x").is_null(), "nobody said how to probe it");
}

#[test]
fn a_key_in_use_is_not_probed() {
    let provider = FakeProvider::start(Manner::Honest);
    let daemon = daemon(&[("a", "")], &provider, "");
    first_probe(&daemon, "a");
    let before = provider.asked().len();
    for _ in 0..10 {
        let lease = daemon.select(&json!({}));
        daemon.report(&lease, "success");
        daemon.pass(Duration::from_secs(50));
    }
    // One may have been under way when the uses began.
    let during = provider.asked().len();
    assert!(during <= before + 1, "{} probes in 500 s", during - before);
    daemon.pass(INTERVAL * 2);
    until("it is probed again", || provider.asked().len() > during);
}

#[test]
fn a_redirect_is_not_followed_and_says_nothing_about_the_key() {
    let elsewhere = FakeProvider::start(Manner::Honest);
    for location in ["http://169.254.169.254/latest/".to_owned(), elsewhere.url()] {
        let redirect = Manner::Status(302, format!("location: {location}\r\n"));
        let provider = FakeProvider::start(redirect);
        let daemon = daemon(&[("a", "")], &provider, "");
        let probe = first_probe(&daemon, "a");
        assert_eq!((&probe["result"], &probe["detail"]), (&json!("unknown"), &json!("302")));
        assert_eq!(daemon.state("a"), "ready");
    }
    assert_eq!(elsewhere.asked(), [""; 0]);
}

#[test]
fn trouble_at_the_provider_kills_no_key_and_revives_none() {
    let provider = FakeProvider::start(Manner::Honest);
    provider.reject("fake-secret-a");
    let daemon = daemon(&[("a", ""), ("b", "")], &provider, "timeout = \"200ms\"");
    first_probe(&daemon, "a");
    first_probe(&daemon, "b");
    for (manner, result) in [
        (Manner::Status(429, "retry-after: 5\r\n".to_owned()), "unknown"),
        (Manner::Status(503, String::new()), "unknown"),
        (Manner::Hang, "not_reached"),
    ] {
        provider.behave(manner);
        until("both were asked", || {
            daemon.pass(INTERVAL);
            ["a", "b"].iter().all(|id| last_probe(&daemon, id)["result"] == result)
        });
        assert_eq!((daemon.state("a"), daemon.state("b")), ("dead".to_owned(), "ready".to_owned()));
    }
}

#[test]
fn an_answer_that_does_not_come_or_does_not_end_is_given_up() {
    let said = |manner: Manner, timeout: &str| {
        let provider = FakeProvider::start(manner);
        let daemon = daemon(&[("a", "")], &provider, &format!("timeout = \"{timeout}\""));
        let now = || Clock::System.now().at;
        let began = now();
        let probe = first_probe(&daemon, "a");
        assert!(now().since(began) < Duration::from_secs(10));
        // An endless answer fills the buffers on its way, and nothing more.
        assert!(provider.sent() < 64_000_000, "{} bytes were taken", provider.sent());
        assert_eq!(daemon.state("a"), "ready");
        (probe["result"].as_str().unwrap().to_owned(), probe["detail"].clone())
    };
    let not_reached = |why: &str| ("not_reached".to_owned(), json!(why));
    assert_eq!(said(Manner::Hang, "200ms"), not_reached("timeout"));
    assert_eq!(said(Manner::Drip, "200ms"), not_reached("timeout"));
    assert_eq!(said(Manner::EndlessHead, "8s"), not_reached("the connection broke"));
    // The status of a success is enough, and only the beginning is read.
    assert_eq!(said(Manner::EndlessBody, "8s").0, "accepted");
}

#[test]
fn only_so_many_are_asked_at_once() {
    let provider = FakeProvider::start(Manner::Hang);
    let ids: Vec<String> = (0..12).map(|n| format!("k{n}")).collect();
    let keys: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "")).collect();
    let daemon = daemon(&keys, &provider, "timeout = \"100ms\"\nconcurrency = 3");
    until("all were asked", || {
        daemon.pass(INTERVAL);
        ids.iter().all(|id| !last_probe(&daemon, id).is_null())
    });
    // One that is given up may still be open here when the next one comes.
    assert!((2..=6).contains(&provider.most_open()), "{}", provider.most_open());
}

#[test]
fn entries_with_one_secret_are_asked_about_once() {
    let provider = FakeProvider::start(Manner::Honest);
    let keys = [
        ("a", r#""secret_name": "one", "model_name": "m""#),
        ("b", r#""secret_name": "one", "model_name": "n""#),
    ];
    let url = provider.url();
    let toml = format!(
        "env_files = []\n[probe]\nallow_private = true\n[providers.gemini]\nbase_url = \"{url}\"\n"
    );
    let daemon = TestDaemon::with_variables(
        &keys_json(&keys),
        &toml,
        &[("GEMINI_KEY_one", "fake-secret-one")],
    );
    let lease = daemon.select(&json!({"model": "m"}));
    daemon.report(&lease, "auth_failed");
    until("both are back", || daemon.state("a") == "ready" && daemon.state("b") == "ready");
    assert_eq!(last_probe(&daemon, "a"), last_probe(&daemon, "b"));
    assert_eq!(provider.asked(), [FREE]);
}

#[test]
fn nothing_is_asked_while_probes_are_off() {
    let provider = FakeProvider::start(Manner::Honest);
    let daemon = daemon(&[("a", "")], &provider, "enabled = false");
    let lease = daemon.select(&json!({}));
    daemon.report(&lease, "auth_failed");
    for _ in 0..5 {
        daemon.pass(INTERVAL);
        assert_eq!(daemon.state("a"), "dead");
    }
    assert_eq!(provider.asked(), [""; 0]);
}

#[test]
fn what_a_provider_echoes_is_not_repeated() {
    let echo = "location: http://x/?key=fake-secret-a\r\nx-key: fake-secret-a\r\n".to_owned();
    let provider = FakeProvider::start(Manner::Status(302, echo));
    let daemon = daemon(&[("a", "")], &provider, "");
    first_probe(&daemon, "a");
    for path in ["/v1/keys", "/v1/events", "/v1/status"] {
        let answer = daemon.get(path).body;
        assert!(!answer.contains("fake-secret"), "{path}: {answer}");
    }
}

/// `keypool check --online` about `keys`, with `toml` beside the paths and more `variables`.
pub(crate) fn check_online(
    keys: &[(&str, &str)],
    toml: &str,
    variables: &[(&str, &str)],
    more: &[&str],
) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    fs::write(&path, keys_json(keys)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(dir.path().join("keypool.toml"), format!("keys = \"keys.json\"\n{toml}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keypool"));
    command.args(["--config", "keypool.toml", "check", "--online"]).args(more);
    command.current_dir(dir.path()).env_clear().envs(variables.iter().copied());
    command.output().unwrap()
}

const SECRETS: [(&str, &str); 3] = [
    ("GEMINI_KEY_a", "fake-secret-a"),
    ("GEMINI_KEY_b", "fake-secret-b"),
    ("OTHER_KEY_x", "fake-secret-x"),
];

fn found_by(provider: &FakeProvider) -> String {
    let url = provider.url();
    format!("[probe]\nallow_private = true\n[providers.gemini]\nbase_url = \"{url}\"\n")
}

#[test]
fn a_check_asks_the_provider_about_each_key() {
    let provider = FakeProvider::start(Manner::Honest);
    provider.reject("fake-secret-b");
    let keys = [
        ("a", ""),
        ("b", ""),
        ("c", ""),
        ("d", r#""active": false"#),
        ("x", r#""provider": "other""#),
    ];
    let output = check_online(&keys, &found_by(&provider), &SECRETS, &[]);
    let screen = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{screen}");
    let row =
        |key: &str| screen.lines().find(|line| line.starts_with(&format!("  {key} "))).unwrap();
    assert!(row("a").ends_with("  accepted"), "{screen}");
    assert!(row("b").ends_with("  rejected (400 INVALID_ARGUMENT API_KEY_INVALID)"), "{screen}");
    assert!(row("c").ends_with("MISSING: GEMINI_KEY_c is not set"), "{screen}");
    assert!(row("x").ends_with("  no probe for this provider"), "{screen}");
    assert!(screen.contains("2 of 5 keys can serve"), "{screen}");
    let told = "warning: key b: the provider rejects its secret";
    assert!(screen.contains(told), "{screen}");
    assert!(!screen.contains("fake-secret"), "{screen}");
    assert_eq!(provider.asked(), [FREE, FREE]);
}

#[test]
fn a_check_of_a_provider_that_is_away_says_so_and_ends_well() {
    let away = FakeProvider::start(Manner::Hang);
    let toml = found_by(&away).replace("[probe]\n", "[probe]\ntimeout = \"100ms\"\n");
    let output = check_online(&[("a", "")], &toml, &SECRETS, &["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report}");
    let expected = json!({"result": "not_reached", "detail": "timeout"});
    assert_eq!(report["keys"][0]["online"], expected);
    let toml = "[probe]\nconcurrency = 0\n";
    assert_eq!(check_online(&[("a", "")], toml, &SECRETS, &[]).status.code(), Some(78));
}

#[test]
fn proxies_in_the_environment_are_not_heeded() {
    let (provider, proxy) =
        (FakeProvider::start(Manner::Honest), FakeProvider::start(Manner::Honest));
    let url = proxy.url();
    let names =
        ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let variables: Vec<_> = SECRETS.into_iter().chain(names.map(|name| (name, &*url))).collect();
    let output = check_online(&[("a", "")], &found_by(&provider), &variables, &[]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("accepted"));
    assert_eq!((provider.asked().len(), proxy.asked().len()), (1, 0));
}

#[test]
fn private_addresses_are_refused_unless_the_settings_allow_them() {
    let provider = FakeProvider::start(Manner::Honest);
    let here = provider.url().replace("http:", "https:");
    for url in [&*here, "https://[::ffff:169.254.169.254]/", "https://0x7f.1/", "https://localhost"]
    {
        let toml = format!("[providers.gemini]\nbase_url = \"{url}\"\n");
        let output = check_online(&[("a", "")], &toml, &SECRETS, &[]);
        let screen = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(78), "{screen}");
        assert!(screen.contains("is not a public address"), "{screen}");
        // With probes off the daemon starts, and an explicit question is refused all the same.
        let toml = format!("{toml}[probe]\nenabled = false\n");
        let output = check_online(&[("a", "")], &toml, &SECRETS, &[]);
        let screen = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{screen}");
        assert!(screen.contains("not reached: is not a public address"), "{screen}");
    }
    assert_eq!(provider.asked(), [""; 0]);
}

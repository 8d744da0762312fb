//! Secrets of a store on another machine: how they come, change, grow old and go.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{FakeVault, Scrape, TestDaemon, keys_json, until};
use crate::systemd::Manager;

const VAULT: &str = r#""secret_store": "vault""#;

/// A daemon with the keys `near`, whose secret is at hand, and `far` and `off`, whose secrets are
/// in `vault`.
fn daemon(vault: &FakeVault, toml: &str) -> TestDaemon {
    let keys = keys_json(&[("near", ""), ("far", VAULT), ("off", VAULT)]);
    let variables = vault.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    TestDaemon::with_variables(&keys, toml, &variables)
}

fn vault() -> FakeVault {
    FakeVault::start(&[("far", "fake-secret-far-1"), ("off", "fake-secret-off-1")])
}

/// A daemon whose keys have all got their secrets.
fn served(vault: &FakeVault, toml: &str) -> TestDaemon {
    let daemon = daemon(vault, toml);
    for key in ["far", "off"] {
        until("the secret comes", || daemon.state(key) == "ready");
    }
    daemon
}

/// The secret that is handed out for a key.
fn secret(daemon: &TestDaemon, key_id: &str) -> String {
    let others = ["near", "far", "off"].into_iter().filter(|other| *other != key_id);
    let lease = daemon.select(&json!({"exclude": others.collect::<Vec<_>>()}));
    daemon.report(&lease, "success");
    lease["secret"].as_str().unwrap().to_owned()
}

/// The reason that is given for the state of a key.
fn reason(daemon: &TestDaemon, key_id: &str) -> String {
    let key = daemon.get(&format!("/v1/keys/{key_id}")).json();
    key["reason"].as_str().unwrap_or_default().to_owned()
}

fn events(daemon: &TestDaemon, key_id: &str) -> Vec<String> {
    let events = daemon.get("/v1/events").json();
    let of_key = |event: &&Value| event["key_id"] == key_id;
    let names = events["events"].as_array().unwrap().iter().filter(of_key);
    names.map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

fn store(daemon: &TestDaemon) -> Value {
    daemon.get("/v1/status").json()["secret_stores"]["vault"].clone()
}

/// Lets time pass until `happened`, a second at a time.
fn pass_until(daemon: &TestDaemon, what: &str, happened: impl Fn() -> bool) {
    until(what, || {
        daemon.pass(Duration::from_secs(1));
        happened()
    });
}

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn keys_of_several_stores_serve_side_by_side() {
    let vault = vault();
    let daemon = served(&vault, "");
    assert_eq!(secret(&daemon, "near"), "fake-secret-near");
    assert_eq!(secret(&daemon, "far"), "fake-secret-far-1");
    assert_eq!(store(&daemon)["serving"], 2);
    assert_eq!(events(&daemon, "far"), [""; 0], "that a secret comes at the start is no event");
}

#[test]
fn without_the_store_the_other_keys_serve_and_the_rest_come_in_when_it_is_back() {
    let vault = vault();
    vault.trouble(Some(503));
    let daemon = daemon(&vault, "");
    until("the store is away", || store(&daemon)["error"] != Value::Null);
    assert_eq!(secret(&daemon, "near"), "fake-secret-near");
    let told = "vault:secret/keypool/far cannot be fetched: ";
    until("the reason is told", || reason(&daemon, "far").starts_with(told));
    assert_eq!(daemon.state("far"), "missing_secret");
    vault.trouble(None);
    pass_until(&daemon, "the keys come in", || {
        ["far", "off"].iter().all(|key| daemon.state(key) == "ready")
    });
    assert_eq!(secret(&daemon, "off"), "fake-secret-off-1");
    assert_eq!(store(&daemon)["error"], Value::Null);
}

#[test]
fn a_secret_that_has_changed_is_handed_out_after_the_interval() {
    let vault = vault();
    let daemon = served(&vault, "[secrets]\nrefresh = \"10m\"\n");
    vault.put("far", "fake-secret-far-2");
    daemon.pass(Duration::from_mins(8));
    assert_eq!(secret(&daemon, "far"), "fake-secret-far-1");
    daemon.pass(Duration::from_mins(4));
    until("the other secret comes", || secret(&daemon, "far") == "fake-secret-far-2");
    assert_eq!(events(&daemon, "far"), ["secret_changed"]);
    assert_eq!(events(&daemon, "off"), [""; 0]);
}

#[test]
fn a_key_that_its_provider_refuses_is_looked_up_at_once_and_wakes_with_another_secret() {
    let vault = vault();
    let daemon = served(&vault, "");
    vault.put("far", "fake-secret-far-2");
    daemon.pass(Duration::from_secs(10));
    let lease = daemon.select(&json!({"exclude": ["near", "off"]}));
    daemon.report(&lease, "auth_failed");
    until("the key wakes", || daemon.state("far") == "ready");
    assert_eq!(secret(&daemon, "far"), "fake-secret-far-2");
    assert_eq!(events(&daemon, "far"), ["revived", "secret_changed", "dead"]);
    assert_eq!(vault.asked("off"), 1, "only the one is asked for");
}

#[test]
fn a_key_that_its_provider_refuses_stays_dead_with_the_same_secret() {
    let vault = vault();
    let daemon = served(&vault, "");
    daemon.pass(Duration::from_secs(10));
    let lease = daemon.select(&json!({"exclude": ["near", "off"]}));
    daemon.report(&lease, "auth_failed");
    until("the secret is asked for", || vault.asked("far") == 2);
    assert_eq!(daemon.state("far"), "dead");
}

#[test]
fn through_an_outage_secrets_serve_until_they_are_too_old() {
    let vault = vault();
    let daemon = served(&vault, "[secrets]\nmax_stale = \"1h\"\n");
    vault.trouble(Some(500));
    daemon.pass(Duration::from_mins(50));
    until("the outage is noticed", || store(&daemon)["error"] != Value::Null);
    assert_eq!(secret(&daemon, "far"), "fake-secret-far-1");
    daemon.pass(Duration::from_mins(10));
    until("it is too old", || daemon.state("far") == "missing_secret");
    assert_eq!(daemon.post("/v1/select", &json!({"exclude": ["near"]})).status, 503);
    assert!(
        reason(&daemon, "far").contains("it was last fetched 1 h"),
        "{}",
        reason(&daemon, "far")
    );
    assert_eq!(secret(&daemon, "near"), "fake-secret-near");
    vault.trouble(None);
    pass_until(&daemon, "it is fetched again", || daemon.state("far") == "ready");
}

#[test]
fn a_secret_that_is_deleted_goes_after_one_confirmation_and_comes_back() {
    let vault = vault();
    let daemon = served(&vault, "");
    vault.delete("far");
    daemon.pass(Duration::from_secs(331));
    until("it is asked for", || vault.asked("far") == 2);
    assert_eq!(secret(&daemon, "far"), "fake-secret-far-1", "once is not enough");
    pass_until(&daemon, "it goes", || daemon.state("far") == "missing_secret");
    assert!(vault.asked("far") >= 3, "it was confirmed");
    assert_eq!(daemon.state("off"), "ready");
    vault.put("far", "fake-secret-far-2");
    pass_until(&daemon, "it comes back", || daemon.state("far") == "ready");
    assert_eq!(secret(&daemon, "far"), "fake-secret-far-2");
}

#[test]
fn a_secret_that_is_forbidden_goes_after_a_minute() {
    let vault = vault();
    let daemon = served(&vault, "");
    vault.trouble(Some(403));
    daemon.pass(Duration::from_secs(331));
    until("it is asked for", || vault.asked("far") >= 2);
    daemon.pass(Duration::from_secs(58));
    assert_eq!(secret(&daemon, "far"), "fake-secret-far-1");
    pass_until(&daemon, "it goes", || daemon.state("far") == "missing_secret");
}

#[test]
fn a_reload_can_change_where_a_secret_is() {
    let vault = vault();
    vault.put("elsewhere", "fake-secret-elsewhere");
    let daemon = served(&vault, "");
    let moved = format!("{VAULT}, \"secret_name\": \"elsewhere\"");
    let keys = keys_json(&[("near", ""), ("far", &moved), ("off", VAULT)]);
    fs::write(daemon.path("keys.json"), keys).unwrap();
    assert_eq!(daemon.post("/v1/reload", &json!({})).json()["result"], "applied");
    until("it comes from there", || {
        daemon.state("far") == "ready" && secret(&daemon, "far") == "fake-secret-elsewhere"
    });
    assert_eq!(vault.asked("off"), 1, "what stays is not asked for again");
    daemon.pass(HOUR);
    until("what stays is kept up to date", || vault.asked("off") > 1);
}

#[test]
fn a_store_that_hangs_is_seen_by_the_age_of_its_secrets_while_the_watchdog_is_fed() {
    let (vault, manager) = (vault(), Manager::new());
    let notify = manager.notify_socket();
    let mut variables: Vec<_> = vault.variables();
    variables.extend([("NOTIFY_SOCKET", notify), ("WATCHDOG_USEC", "20000000".to_owned())]);
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    let keys = keys_json(&[("near", ""), ("far", VAULT), ("off", VAULT)]);
    let daemon = TestDaemon::with_variables(&keys, "", &variables);
    until("the secret comes", || daemon.state("far") == "ready");
    vault.trouble(Some(0));
    daemon.pass(Duration::from_secs(340));
    until("it is asked for", || vault.asked("far") == 2);
    // At the start and after the first beat.
    manager.told_of("WATCHDOG=1");
    manager.told_of("WATCHDOG=1");
    for _ in 0..3 {
        until("a beat comes", || {
            daemon.pass(Duration::from_secs(10));
            manager.hears("WATCHDOG=1")
        });
    }
    let seen = Scrape::of(&daemon.get("/metrics").body);
    let age = |key| seen.number(&format!("keypool_secret_age_seconds{{key_id=\"{key}\"}}"));
    assert!(age("far").unwrap() >= 370.0, "{:?}", age("far"));
    assert_eq!(secret(&daemon, "far"), "fake-secret-far-1");
}

#[test]
fn a_tree_of_credentials_that_is_replaced_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let write = |tree: &str, secret: &str| {
        fs::create_dir(dir.path().join(tree)).unwrap();
        fs::write(dir.path().join(tree).join("near"), secret).unwrap();
    };
    write("credentials", "fake-secret-1");
    let keys = keys_json(&[("near", r#""secret_store": "credentials""#)]);
    let directory = dir.path().join("credentials").display().to_string();
    let variables = [("CREDENTIALS_DIRECTORY", &*directory)];
    let daemon = TestDaemon::with_variables(&keys, "", &variables);
    assert_eq!(secret(&daemon, "near"), "fake-secret-1");
    write("next", "fake-secret-2");
    fs::rename(dir.path().join("credentials"), dir.path().join("old")).unwrap();
    fs::rename(dir.path().join("next"), dir.path().join("credentials")).unwrap();
    daemon.control(keypool::control::Control::Reload);
    until("it is read", || secret(&daemon, "near") == "fake-secret-2");
}

//! The units as systemd's tools judge them without running them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(unit(name)).unwrap()
}

/// What a unit sets, without comments.
fn settings(name: &str) -> Vec<String> {
    let text = text(name);
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(ToOwned::to_owned).collect()
}

#[test]
fn the_services_are_exposed_to_at_most_one_and_a_half() {
    // A template is judged by an instance.
    let dir = tempfile::tempdir().unwrap();
    for (unit, instance) in
        [("keypool.service", "keypool.service"), ("keypool@.service", "keypool@shop.service")]
    {
        fs::write(dir.path().join(instance), text(unit)).unwrap();
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--no-pager", "--offline=yes", "--threshold=15"]);
        let judged = analyze.arg(dir.path().join(instance)).output().unwrap();
        let said = String::from_utf8_lossy(&judged.stdout);
        println!("{}", said.lines().last().unwrap_or_default());
        assert!(judged.status.success(), "{said}\n{}", String::from_utf8_lossy(&judged.stderr));
    }
}

#[test]
fn an_instance_differs_from_the_one_service_in_names_alone() {
    let instance: Vec<String> = settings("keypool@.service")
        .into_iter()
        .filter(|line| !line.starts_with("Environment="))
        .map(|line| {
            line.replace("keypool for %i", "keypool, which hands out API keys")
                .replace("keypool@%i", "keypool")
                .replace("/keypool/%i/", "/keypool/")
                .replace("=keypool/%i", "=keypool")
        })
        .collect();
    assert_eq!(instance, settings("keypool.service"));

    let socket: Vec<String> = settings("keypool@.socket")
        .into_iter()
        .map(|line| {
            line.replace("keypool for %i", "keypool, which hands out API keys")
                .replace("/%i.sock", "/keypool.sock")
                .replace("SocketGroup=%i", "SocketGroup=keypool-clients")
        })
        .collect();
    assert_eq!(socket, settings("keypool.socket"));
}

#[test]
fn no_setting_turns_a_crash_loop_into_an_outage() {
    let has = |unit: &str, line: &str| {
        assert!(settings(unit).contains(&line.to_owned()), "{unit} has {line}");
    };
    has("keypool.service", "StartLimitIntervalSec=0");
    has("keypool.service", "Restart=always");
    has("keypool.socket", "TriggerLimitIntervalSec=0");
    for line in settings("keypool.service") {
        // What fails before the start, or takes too long, must not prevent it.
        let before = line.strip_prefix("ExecStartPre=");
        assert!(before.is_none_or(|command| command.starts_with("-/usr/bin/timeout ")), "{line}");
        // The peers of the socket would all be nobody.
        assert!(!line.starts_with("PrivateUsers"), "{line}");
    }
}

//! Disks that are full, broken or gone. Each daemon has mounts of its own; that takes root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Served, clone, code, err, out, run, until_served};
use crate::support::{Scrape, send, until};

/// A clone with one key without limits.
fn unlimited() -> TempDir {
    let dir = clone();
    let keys = dir.path().join("config/keys.json");
    fs::write(&keys, r#"{"keys": [{"key_id": "flash_01"}]}"#).unwrap();
    fs::set_permissions(keys, fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    dir
}

/// A daemon in `dir` that keeps its state in `state` there, after `mounts`, by `serve`.
fn daemon(dir: &Path, mounts: &str, serve: &str) -> Served {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", &format!("{mounts} && exec {serve} \"$0\" serve")]);
    unshare.arg(env!("CARGO_BIN_EXE_keypool")).current_dir(dir).env_clear();
    unshare.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("KEYPOOL_STATE_DIR", "state");
    Served::of(unshare)
}

/// Runs a script where the daemon is.
#[track_caller]
fn inside(served: &Served, dir: &Path, script: &str) {
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--target", &served.pid().to_string(), "--mount", "sh", "-c"]);
    let done = nsenter.arg(format!("cd {} && {script}", dir.display())).output().unwrap();
    assert!(done.status.success(), "this test must run as root: {}", err(&done));
}

fn select(dir: &Path) -> u16 {
    send(&dir.join("run/keypool.sock"), "POST", "/v1/select", Some("{}")).status
}

fn state_file(dir: &Path) -> Value {
    let status = send(&dir.join("run/keypool.sock"), "GET", "/v1/status", None);
    status.json()["state_file"].clone()
}

fn write_errors(dir: &Path) -> f64 {
    let metrics = send(&dir.join("run/keypool.sock"), "GET", "/metrics", None);
    Scrape::of(&metrics.body).number("keypool_state_write_errors_total").unwrap()
}

/// Selects until writing has failed, and then until it goes well again after `mend`.
fn serves_through(dir: &Path, mend: impl FnOnce()) {
    until("writing fails", || {
        assert_eq!(select(dir), 200);
        write_errors(dir) >= 1.0
    });
    assert_eq!(select(dir), 200);
    mend();
    until("it is kept again", || {
        assert_eq!(select(dir), 200);
        state_file(dir)["error"].is_null()
    });
}

#[test]
fn a_full_disk_stops_no_serving_and_the_state_is_kept_once_there_is_space() {
    let dir = unlimited();
    let served = daemon(dir.path(), "mount -t tmpfs -o size=256k none state", "");
    inside(&served, dir.path(), "head -c 300000 /dev/zero > state/fill || true");
    serves_through(dir.path(), || inside(&served, dir.path(), "rm state/fill"));
}

#[test]
fn a_disk_that_fails_to_sync_stops_no_serving_and_is_tried_again() {
    let dir = unlimited();
    let strace = "strace --daemonize --follow-forks -qq --output=/dev/null --trace=fdatasync \
                  --inject=fdatasync:error=EIO:when=1..2";
    let _served = daemon(dir.path(), "true", strace);
    serves_through(dir.path(), || {});
    assert!(state_file(dir.path())["write_errors"].as_u64().unwrap() >= 1);
}

#[test]
fn a_disk_that_is_read_only_stops_no_serving() {
    let dir = unlimited();
    let _served = daemon(dir.path(), "mount -t tmpfs -o ro none state", "");
    assert_eq!(select(dir.path()), 200);
    assert_eq!(state_file(dir.path())["on"], false);
}

#[test]
fn a_file_system_that_goes_and_comes_leaves_the_keys_in_use_and_is_followed() {
    let dir = clone();
    let served = daemon(dir.path(), "mkdir -p state && cp -a config next", "");
    inside(&served, dir.path(), "mount -t tmpfs none config");
    // The configuration is found where the commands run, which see no mount.
    let kept = run(dir.path(), &["reload"]);
    assert_eq!(code(&kept), 1, "{}{}", out(&kept), err(&kept));
    assert!(out(&run(dir.path(), &["--json", "keys"])).contains("\"pro_05\""));

    inside(&served, dir.path(), "cp -a next/. config && sed -i s/pro_05/pro_99/ config/keys.json");
    until_served(dir.path(), "pro_99");
    inside(&served, dir.path(), "umount config");
    until_served(dir.path(), "pro_05");
}

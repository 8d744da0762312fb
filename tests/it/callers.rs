//! Who may call: other users, their groups, and namespaces. These tests need root, and fail
//! without it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::command::{Served, clone, code, err, keypool, out};
use crate::support::{EIGHT_KEYS, Scrape, TestDaemon};

/// curl's word for a connection that was not to be had.
const NO_CONNECTION: i32 = 7;

/// curl's words for one that was closed without a byte, as early or late as curl notices.
const NO_BYTE: [i32; 4] = [NO_CONNECTION, 52, 55, 56];

/// What curl gets at `path` for a process of this user and primary group with these other groups.
fn ask(socket: &Path, user: &str, groups: &str, more: &[&str]) -> Output {
    let ids = [format!("--reuid={user}"), format!("--regid={user}")];
    let groups = match groups {
        "" => "--clear-groups".to_owned(),
        groups => format!("--groups={groups}"),
    };
    let mut setpriv = Command::new("setpriv");
    setpriv.args(ids).arg(groups).args(["curl", "-sS", "--unix-socket"]).arg(socket);
    let output = setpriv.args(more).output().unwrap();
    assert!(!err(&output).contains("setpriv"), "this test must run as root: {}", err(&output));
    output
}

fn livez(socket: &Path, user: &str, groups: &str) -> (i32, String) {
    let output = ask(socket, user, groups, &["http://localhost/livez"]);
    (code(&output), out(&output))
}

#[track_caller]
fn gets_no_byte(socket: &Path, user: &str, groups: &str) {
    let (code, got) = livez(socket, user, groups);
    assert!(NO_BYTE.contains(&code) && got.is_empty(), "{code}: {got}");
}

fn served() -> (i32, String) {
    (0, "{\"live\":true}".to_owned())
}

/// A daemon in a directory that everybody may enter.
fn daemon(server: &str) -> TestDaemon {
    let daemon = TestDaemon::with(EIGHT_KEYS, &format!("[server]\n{server}"));
    fs::set_permissions(daemon.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    daemon
}

fn denied(daemon: &TestDaemon) -> Option<f64> {
    let seen = Scrape::of(&daemon.get("/metrics").body);
    seen.number("keypool_peer_denied_total{reason=\"uid\"}")
}

#[test]
fn the_mode_keeps_others_out_and_lets_members_of_the_group_in() {
    let daemon = daemon("group = \"4343\"");
    assert_eq!(livez(&daemon.socket(), "4242", "").0, NO_CONNECTION);
    assert_eq!(livez(&daemon.socket(), "4242", "4343"), served());
    assert_eq!(livez(&daemon.socket(), "4343", ""), served());
    assert_eq!(denied(&daemon), Some(0.0));
}

#[test]
fn others_get_no_byte_from_a_socket_that_everybody_may_write() {
    let daemon = daemon("mode = \"0666\"\ngroup = \"4343\"");
    gets_no_byte(&daemon.socket(), "4242", "");
    gets_no_byte(&daemon.socket(), "4242", "4344");
    assert_eq!(denied(&daemon), Some(2.0));
    assert_eq!(livez(&daemon.socket(), "4242", "4343"), served());
    assert_eq!(livez(&daemon.socket(), "4343", ""), served());
}

#[test]
fn lists_name_all_who_may_call() {
    let daemon =
        daemon("mode = \"0666\"\ngroup = \"4343\"\nallow_uids = [5001]\nallow_gids = [5002, 5003]");
    for (user, groups) in [("5001", ""), ("5002", ""), ("4242", "4999,5003"), ("0", "")] {
        assert_eq!(livez(&daemon.socket(), user, groups), served(), "{user} {groups}");
    }
    gets_no_byte(&daemon.socket(), "4242", "4343");
    gets_no_byte(&daemon.socket(), "4343", "");
    assert_eq!(denied(&daemon), Some(2.0));
}

#[test]
fn administration_is_for_the_group_of_administrators() {
    let daemon = daemon("mode = \"0666\"\nallow_uids = [5001]\nadmin_group = \"4343\"");
    let disable =
        ["-X", "PATCH", "--json", "{\"active\": false}", "http://localhost/v1/keys/pro_01"];
    let answer = ask(&daemon.socket(), "5001", "", &disable);
    assert!(out(&answer).contains("\"code\":\"forbidden\""), "{}", out(&answer));
    assert_eq!(daemon.state("pro_01"), "ready");
    let answer = ask(&daemon.socket(), "4242", "4343", &disable);
    assert!(out(&answer).contains("\"result\":\"applied\""), "{}{}", out(&answer), err(&answer));
    assert_eq!(daemon.state("pro_01"), "inactive");
}

#[test]
fn a_caller_of_another_pid_namespace_is_known_by_its_user() {
    let dir = clone();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = dir.path().join("config/keypool.toml");
    let toml = fs::read_to_string(&config).unwrap();
    fs::write(&config, toml + "\n[server]\nmode = \"0666\"\nallow_uids = [5001]\n").unwrap();
    // The daemon does not see the processes around it: their number is 0 to it.
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_keypool"), "serve"]);
    unshare.current_dir(dir.path()).env_clear().env("PATH", "/usr/bin:/bin");
    let _served = Served::of(unshare);
    let socket = dir.path().join("run/keypool.sock");
    assert_eq!(livez(&socket, "5001", ""), served());
    gets_no_byte(&socket, "4242", "5001");
}

#[test]
fn a_daemon_that_cannot_tell_users_apart_does_not_start() {
    let dir = clone();
    let serve = |more: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user"]).args(more);
        unshare.args([env!("CARGO_BIN_EXE_keypool"), "serve"]);
        unshare.current_dir(dir.path()).env_clear().env("PATH", "/usr/bin:/bin");
        unshare
    };
    let refused = serve(&[]).output().unwrap();
    assert_eq!(code(&refused), 1, "{}", err(&refused));
    let told = err(&refused);
    assert!(told.contains("user namespace that hides the users") && told.contains("PrivateUsers"));
    assert!(!dir.path().join("run/keypool.sock").exists());

    let own = Served::of(serve(&["env", "KEYPOOL_SERVER_MODE=0600"]));
    assert_eq!(code(&keypool(dir.path(), &["status"]).output().unwrap()), 0);
    drop(own);
}

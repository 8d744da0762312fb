//! The units under a real systemd.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use super::load::{Load, answer, request, send};
use super::machine::{Machine, until};
use super::readme::install_blocks;

/// Where applications connect.
const SOCKET: &str = "/run/keypool/keypool.sock";

impl Machine {
    fn socket(&self) -> PathBuf {
        self.path(SOCKET)
    }

    /// What the API answers; it must be 200.
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, body) = send(&self.socket(), method, path, body).unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The process of the daemon. Never 0, which would stand for others when it is killed.
    fn pid(&self) -> u32 {
        let mut pid = 0;
        until("there is a daemon", || {
            pid = self.property("MainPID").parse().unwrap();
            pid != 0
        });
        pid
    }

    /// Puts another keys.json in place, as the daemon would find it after an edit.
    fn write_keys(&self, keys: &str) {
        self.succeeds(&format!(
            "cd /etc/keypool && printf '%s' '{keys}' > next && chown keypool:keypool next && \
             chmod 0640 next && mv next keys.json"
        ));
    }

    /// How many requests the first key has had today, as the daemon knows it.
    fn granted(&self) -> u64 {
        self.ask("GET", "/v1/keys", "")["keys"][0]["quota"]["rpm"]["used"].as_u64().unwrap()
    }

    /// The requests that the clients of a load had in vain while `work` went on.
    #[track_caller]
    fn under_load(&self, work: impl FnOnce(&Load)) -> (u64, u64, u64) {
        let load = Load::of(4, &self.socket());
        until("the load is served", || load.served() > 20);
        work(&load);
        let before = load.served();
        until("the load is served to the end", || load.served() > before + 20);
        load.end()
    }
}

#[test]
fn the_first_connection_starts_it_and_reloads_are_told() {
    let machine = Machine::with_keypool();
    machine.succeeds(
        "systemd-analyze verify /etc/systemd/system/keypool.socket \
         /etc/systemd/system/keypool.service 2>&1 | tee /tmp/said; test ! -s /tmp/said",
    );
    assert_eq!(machine.property("ActiveState"), "inactive");
    let key = machine.ask("POST", "/v1/select", "{}");
    assert_eq!(key["secret"], "fake-secret-flash-01");
    assert_eq!(machine.property("ActiveState"), "active");
    assert_eq!(machine.property("StatusText"), "1 of 1 keys are ready");
    // It is sandboxed, and as its own user.
    let status = machine.succeeds(&format!("cat /proc/{}/status", machine.pid()));
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert_ne!(status.lines().find(|line| line.starts_with("Uid:")), Some("Uid:\t0\t0\t0\t0"));
    // The commands of the README find it.
    assert!(machine.succeeds("keypool status").contains("ready"));
    // What the check says goes to the log.
    assert!(machine.journal().contains("Rotation is on"));

    machine.write_keys(
        r#"{"keys": [{"key_id": "flash_01", "rpm": 15}, {"key_id": "flash_02", "rpm": 15}]}"#,
    );
    machine.succeeds("systemctl reload keypool");
    assert_eq!(machine.property("StatusText"), "1 of 2 keys are ready");
    machine.write_keys("{");
    machine.fails("systemctl reload keypool");
    let kept = "1 of 2 keys are ready; the configuration on disk is rejected: 1 error";
    assert_eq!(machine.property("StatusText"), kept);
    assert_eq!(machine.property("ActiveState"), "active");
    machine.ask("GET", "/readyz", "");
}

#[test]
fn a_rejected_keys_file_does_not_keep_it_from_starting() {
    let machine = Machine::with_keypool();
    machine.write_keys("{");
    let ready = || send(&machine.socket(), "GET", "/readyz", "").unwrap().0;
    assert_eq!(ready(), 503);
    assert_eq!(machine.property("ActiveState"), "active");
    assert_eq!(machine.property("NRestarts"), "0");
    let pid = machine.pid();
    machine.write_keys(r#"{"keys": [{"key_id": "flash_01"}]}"#);
    until("the mended file is taken", || ready() == 200);
    assert_eq!(machine.pid(), pid);
}

#[test]
fn only_members_of_the_group_may_connect() {
    let machine = Machine::with_keypool();
    machine.succeeds("useradd stranger && useradd --groups keypool-clients friend");
    let curl = |user: &str| {
        format!("runuser -u {user} -- curl -sS --unix-socket {SOCKET} http://localhost/livez")
    };
    let refused = machine.fails(&curl("stranger"));
    assert!(refused.contains("connect"), "{refused}");
    assert_eq!(machine.succeeds(&curl("friend")), r#"{"live":true}"#);
}

#[test]
fn the_watchdog_kills_what_is_stuck_and_its_state_lives_on() {
    let machine = Machine::with_keypool();
    machine.drop_in("WatchdogSec=2s");
    for _ in 0..3 {
        machine.ask("POST", "/v1/select", "{}");
    }
    let pid = machine.pid();
    machine.succeeds(&format!("kill -STOP {pid}"));
    // Who asks a daemon that is stuck is served by the next one.
    until("the watchdog kills it", || !machine.path(&format!("/proc/{pid}")).exists());
    until("another one serves", || machine.property("ActiveState") == "active");
    assert_eq!(machine.granted(), 3);
    assert_eq!(machine.property("NRestarts"), "1");
    assert!(machine.succeeds("journalctl --no-pager -u keypool").contains("Watchdog timeout"));
}

#[test]
fn a_hundred_restarts_under_load_cut_nobody_and_five_kills_refuse_no_connection() {
    let machine = Machine::with_keypool();
    let inode = fs::metadata(machine.socket()).unwrap().ino();
    let restarts = machine.under_load(|_| {
        machine.succeeds("for i in {1..100}; do systemctl restart keypool || exit 1; done");
    });
    println!("100 restarts: {restarts:?} served, cut and refused");
    assert_eq!((restarts.1, restarts.2), (0, 0), "cut and refused");

    let kills = machine.under_load(|load| {
        for _ in 0..5 {
            let (pid, served) = (machine.pid(), load.served());
            machine.succeeds(&format!("kill -KILL {pid}"));
            until("another one serves", || machine.pid() != pid && load.served() > served + 20);
        }
    });
    println!("5 kills: {kills:?} served, cut and refused");
    assert_eq!(kills.2, 0, "refused");
    assert_eq!(machine.property("NRestarts"), "5");
    assert_eq!(fs::metadata(machine.socket()).unwrap().ino(), inode, "the socket is the same");
}

#[test]
fn a_credential_that_systemd_loads_is_a_secret_and_no_file_of_the_service() {
    let machine = Machine::with_keypool();
    machine.succeeds(
        "install -d -m 700 /root/secrets && echo fake-secret-loaded > /root/secrets/flash_01 && \
         chmod 600 /root/secrets/flash_01",
    );
    machine.drop_in("LoadCredential=flash_01:/root/secrets/flash_01");
    machine.write_keys(r#"{"keys": [{"key_id": "flash_01", "secret_store": "credentials"}]}"#);
    assert_eq!(machine.ask("POST", "/v1/select", "{}")["secret"], "fake-secret-loaded");
    machine.fails("runuser -u keypool -- cat /root/secrets/flash_01");
}

#[test]
fn a_hundred_crashes_with_a_client_waiting_are_no_outage() {
    let machine = Machine::with_keypool();
    // It ends before it comes to its own pause.
    machine.drop_in("ExecStartPre=\\nExecStart=\\nExecStart=/usr/bin/keypool crash");
    let mut waiting = UnixStream::connect(machine.socket()).unwrap();
    waiting.write_all(request("GET", "/livez", "").as_bytes()).unwrap();
    until("it crashes", || machine.property("NRestarts").parse::<u32>().unwrap() >= 100);
    assert_eq!(machine.succeeds("systemctl show --value -p Result keypool.socket"), "success");
    machine.remove_drop_in();
    assert_eq!(answer(waiting).unwrap().0, 200);
    assert_eq!(machine.property("ActiveState"), "active");
}

#[test]
fn who_has_begun_is_served_when_it_stops() {
    let machine = Machine::with_keypool();
    machine.ask("GET", "/livez", "");
    let pid = machine.pid();
    let whole = request("POST", "/v1/select", r#"{"model": "gemini-2.0-flash"}"#);
    let (first, rest) = whole.split_at(whole.len() - 5);
    let mut slow = UnixStream::connect(machine.socket()).unwrap();
    slow.write_all(first.as_bytes()).unwrap();
    // Answered after the slow one was accepted.
    machine.ask("GET", "/livez", "");
    machine.succeeds("systemctl stop --no-block keypool.service");
    until("it stops", || machine.property("ActiveState") == "deactivating");
    // Who connects meanwhile waits for the next daemon.
    let mut next = UnixStream::connect(machine.socket()).unwrap();
    next.write_all(request("GET", "/livez", "").as_bytes()).unwrap();
    slow.write_all(rest.as_bytes()).unwrap();
    assert_eq!(answer(slow).unwrap().0, 200);
    assert_eq!(answer(next).unwrap().0, 200);
    assert_ne!(machine.pid(), pid);
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.property("NRestarts"), "0");
    assert_eq!(machine.granted(), 1);
}

#[test]
fn an_application_has_a_keypool_of_its_own_and_what_is_installed_goes_away() {
    let machine = Machine::with_keypool();
    machine.succeeds(
        "set -e; useradd shop; useradd stranger; install -d -o root -g keypool -m 1770 /etc/keypool/shop
         cp -p /etc/keypool/keys.json /etc/keypool/keypool.toml /etc/keypool/shop
         sed -i '1i metrics_addr = \"127.0.0.1:9465\"' /etc/keypool/shop/keypool.toml
         printf '#!/bin/sh\\nexec curl --fail -sS --unix-socket $KEYPOOL_SOCKET --json {} \
         http://localhost/v1/select' > /usr/bin/shop && chmod 755 /usr/bin/shop
         cp /root/keypool/systemd/shop.service /etc/systemd/system
         systemctl daemon-reload
         systemctl start shop.service
         cd /tmp; cp /etc/systemd/system/keypool@.service keypool@shop.service
         systemd-analyze verify /etc/systemd/system/shop.service ./keypool@shop.service 2>&1 | \
         tee /tmp/said; test ! -s /tmp/said",
    );
    until("the application ends", || {
        machine.succeeds("systemctl show --value -p ActiveState shop.service") == "inactive"
    });
    assert_eq!(machine.succeeds("systemctl show --value -p Result shop.service"), "success");
    let said = machine.succeeds("journalctl --no-pager -o cat -u shop.service");
    assert!(said.contains("fake-secret-flash-01"), "{said}");
    assert!(machine.path("/var/lib/keypool/shop/last-start").exists());
    machine.succeeds("systemctl reload keypool@shop");
    machine.fails("runuser -u stranger -- curl -sS --unix-socket /run/keypool/shop.sock localhost");
    machine.succeeds("systemctl disable --now keypool@shop.socket keypool@shop.service");

    let [.., back] = install_blocks();
    machine.succeeds(&format!("set -e\n{back}"));
    let left = machine.succeeds(
        "find /etc /usr/bin /run/keypool /var/lib -name '*keypool*' 2>/dev/null; \
         grep keypool /etc/passwd /etc/group; true",
    );
    assert_eq!(left, "");
}

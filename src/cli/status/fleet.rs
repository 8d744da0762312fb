//! The fleet as a table: `keypool status --fleet`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::cli::members::{items, number, time, words};
use crate::cli::table::Table;
use crate::cli::units::counted;
use crate::pool::WallTime;
use crate::telemetry::span;

/// The answer of `/v1/fleet` for people.
pub(super) fn text(fleet: &Value, now: WallTime) -> String {
    let (daemons, groups) = (items(&fleet["daemons"]), items(&fleet["groups"]));
    let ownerless = groups.iter().filter(|group| group["owner"].is_null()).count();
    let mut text = format!(
        "{} of the pool {}; {}, {ownerless} without owner ({})\n",
        counted(daemons.len() as u64, "daemon"),
        words(&fleet["pool"]),
        counted(groups.len() as u64, "quota group"),
        match words(&fleet["mode"]).as_str() {
            "per_select" => "few: a daemon has one just as long as it needs it",
            _ => "many: each daemon keeps those it uses",
        },
    );
    if let Some(learning) = fleet["learning_ms"].as_u64().filter(|left| *left > 0) {
        let left = span(whole_seconds(learning));
        let awaited = "daemons are awaited that may hold some";
        text.extend(["no group is given out for ", &*left, ": ", awaited, "\n"]);
    }
    for table in [daemon_rows(daemons, now), group_rows(groups, daemons)] {
        if !table.is_empty() {
            text += "\n";
            text += &table.render();
        }
    }
    text
}

fn daemon_rows(daemons: &[Value], now: WallTime) -> Table {
    let mut table = Table::new([
        "DAEMON",
        "ID",
        "VERSION",
        "SHARES",
        "HEARTBEAT",
        "GROUPS>",
        "CAPACITY>",
        "USED>",
        "DEMAND>",
        "WAITING>",
        "LEASE",
    ]);
    for daemon in daemons {
        let asked = if daemon["asked"] == true { " (asked)" } else { "" };
        let unlimited = daemon["capacity"].is_null();
        let capacity = if unlimited { "no limit".to_owned() } else { number(&daemon["capacity"]) };
        let ends = time(&daemon["lease_ends_at"], now);
        table.row([
            words(&daemon["name"]) + asked,
            words(&daemon["daemon"]),
            words(&daemon["version"]),
            time(&daemon["since"], now),
            daemon["heartbeat_age_ms"].as_u64().map(ago).unwrap_or_default(),
            number(&daemon["owned_groups"]),
            capacity,
            number(&daemon["used"]),
            number(&daemon["demand"]),
            number(&daemon["waiting"]),
            match words(&daemon["state"]).as_str() {
                "late" => format!("LATE: ends {ends}"),
                "lapsed" => format!("LAPSED {ends}"),
                _ => format!("ends {ends}"),
            },
        ]);
    }
    table
}

/// Those without an owner come last.
fn group_rows(groups: &[Value], daemons: &[Value]) -> Table {
    let names: BTreeMap<String, String> =
        daemons.iter().map(|daemon| (words(&daemon["daemon"]), words(&daemon["name"]))).collect();
    let mut groups: Vec<&Value> = groups.iter().collect();
    groups.sort_by_key(|group| group["owner"].is_null());
    let mut table = Table::new(["GROUP", "RPM>", "OWNER", "STATE"]);
    for group in groups {
        let owner = words(&group["owner"]);
        let owner = names.get(&owner).cloned().unwrap_or(owner);
        let mut state = match words(&group["state"]).as_str() {
            "owned" => String::new(),
            "lapsing" => "its owner is LATE".to_owned(),
            "lapsed" => "its owner has LAPSED: the next to need it takes it".to_owned(),
            "free" => match group["free_in_ms"].as_u64().unwrap_or(0) {
                0 => "free".to_owned(),
                left => format!("used up; free in {}", span(whole_seconds(left))),
            },
            other => other.to_owned(),
        };
        if group["configured"] == false {
            let and = if state.is_empty() { "" } else { "; " };
            state.extend([and, "not configured at the daemon that was asked"]);
        }
        table.row([words(&group["group"]), number(&group["rpm"]), owner, state]);
    }
    table
}

fn ago(millis: u64) -> String {
    match millis {
        0..1000 => "just now".to_owned(),
        millis => format!("{} ago", span(Duration::from_secs(millis / 1000))),
    }
}

/// Rounded up: what is left is not over before.
fn whole_seconds(millis: u64) -> Duration {
    Duration::from_secs(millis.div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse_rfc3339;
    use serde_json::json;

    fn daemon(name: &str, state: &str, more: &Value) -> Value {
        let mut daemon = json!({
            "daemon": format!("id-{name}"), "name": name, "version": "0.1.0", "asked": false,
            "state": state, "since": "2026-11-21T11:00:00Z", "heartbeat_age_ms": 1200,
            "lease_ends_at": "2026-11-21T12:00:14Z", "owned_groups": 1, "capacity": 60, "used": 31,
            "demand": 40, "waiting": 2,
        });
        let more = more.as_object().unwrap().clone();
        daemon.as_object_mut().unwrap().extend(more);
        daemon
    }

    #[test]
    fn who_holds_what_and_what_lapses_is_seen_at_a_glance() {
        let gone = json!({"lease_ends_at": "2026-11-21T11:59:50Z", "heartbeat_age_ms": 25_000});
        let late = json!({"lease_ends_at": "2026-11-21T12:00:05Z", "heartbeat_age_ms": 9_900,
            "capacity": null});
        let group = |name, owner: Value, state, free_in: Value| {
            json!({"group": name, "configured": true, "rpm": 60, "state": state, "owner": owner,
                "epoch": 1, "free_in_ms": free_in})
        };
        let mut strange = group("key:z", json!(null), "free", json!(0));
        strange["configured"] = json!(false);
        strange["rpm"] = json!(null);
        let fleet = json!({
            "pool": "default", "mode": "ownership", "learning_ms": 0,
            "daemons": [
                daemon("a:1", "alive", &json!({"asked": true})), daemon("b:2", "late", &late),
                daemon("c:3", "lapsed", &gone),
            ],
            "groups": [
                group("key:a", json!(null), "free", json!(1500)),
                group("key:b", json!("id-a:1"), "owned", json!(null)),
                group("key:c", json!("id-b:2"), "lapsing", json!(null)),
                group("key:d", json!("id-c:3"), "lapsed", json!(null)),
                strange,
            ],
        });
        let now = parse_rfc3339("2026-11-21T12:00:00Z").unwrap();
        assert_eq!(
            text(&fleet, now),
            "3 daemons of the pool default; 5 quota groups, 2 without owner (many: each daemon keeps those it uses)\n\
             \n\
             DAEMON       ID      VERSION  SHARES   HEARTBEAT  GROUPS  CAPACITY  USED  DEMAND  WAITING  LEASE\n\
             a:1 (asked)  id-a:1  0.1.0    1 h ago  1 s ago         1        60    31      40        2  ends in 14 s\n\
             b:2          id-b:2  0.1.0    1 h ago  9 s ago         1  no limit    31      40        2  LATE: ends in 5 s\n\
             c:3          id-c:3  0.1.0    1 h ago  25 s ago        1        60    31      40        2  LAPSED 10 s ago\n\
             \n\
             GROUP  RPM  OWNER  STATE\n\
             key:b   60  a:1\n\
             key:c   60  b:2    its owner is LATE\n\
             key:d   60  c:3    its owner has LAPSED: the next to need it takes it\n\
             key:a   60         used up; free in 2 s\n\
             key:z              free; not configured at the daemon that was asked\n"
        );
    }

    #[test]
    fn a_fleet_that_waits_for_others_says_so() {
        let fleet = json!({"pool": "p", "mode": "per_select", "learning_ms": 1400, "daemons": [],
            "groups": []});
        assert_eq!(
            text(&fleet, WallTime::default()),
            "0 daemons of the pool p; 0 quota groups, 0 without owner (few: a daemon has one just \
             as long as it needs it)\n\
             no group is given out for 2 s: daemons are awaited that may hold some\n"
        );
    }
}

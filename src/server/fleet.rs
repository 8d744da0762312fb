//! `GET /v1/fleet`: the daemons that share the limits, and who holds what, as Redis has it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hyper::Response;
use serde::Serialize;

use super::answer::{Body, json};
use super::problem::Problem;
use super::service::Service;
use crate::clock::rfc3339;
use crate::pool::{GroupName, WallTime};
use crate::shared_quota::{self as shared, BEAT, LedgerGroup};

/// A daemon that has been silent for so long has missed the time to say that it is alive.
const LATE: Duration = BEAT.saturating_add(Duration::from_secs(2));

#[derive(Serialize)]
struct Fleet {
    pool: String,
    mode: &'static str,
    learning_ms: u64,
    daemons: Vec<Daemon>,
    groups: Vec<Group>,
}

/// A daemon that shares, or that has gone without a word and whose groups nobody has taken.
#[derive(Serialize)]
struct Daemon {
    daemon: String,
    name: String,
    version: String,
    asked: bool,
    state: DaemonState,
    since: String,
    heartbeat_age_ms: u64,
    lease_ends_at: String,
    owned_groups: usize,
    capacity: Option<u64>,
    used: u64,
    demand: u64,
    waiting: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum DaemonState {
    Alive,
    /// It has said nothing for too long; its leases go on for a while.
    Late,
    /// Its leases have ended.
    Lapsed,
}

/// A group of the ledger, or of this daemon's configuration.
#[derive(Serialize)]
struct Group {
    group: String,
    configured: bool,
    rpm: Option<u64>,
    state: GroupState,
    owner: Option<String>,
    epoch: u64,
    free_in_ms: Option<u64>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum GroupState {
    Owned,
    /// Its owner is late.
    Lapsing,
    /// Its owner's lease has ended: whoever needs it takes it.
    Lapsed,
    /// Nobody has it.
    Free,
}

/// The fleet.
pub(super) async fn answer(service: &Service) -> Result<Response<Body>, Problem> {
    let sharer = service.sharer.as_ref().ok_or_else(Problem::not_shared)?;
    let fleet = sharer.fleet().await.map_err(Problem::redis_unavailable)?;
    let standing = sharer.standing();
    let now = service.clock.now().wall;
    let mut daemons: BTreeMap<&str, Daemon> = BTreeMap::new();
    for one in &fleet.daemons {
        daemons.insert(&one.id, daemon(one, &standing.id, now));
    }
    let groups = groups(&fleet.groups, &service.call(|pool, _| pool.group_limits()), &daemons);
    for owner in groups.iter().filter_map(|group| group.owner.as_deref()) {
        if let Some(daemon) = daemons.get_mut(owner) {
            daemon.owned_groups += 1;
        }
    }
    let mut daemons: Vec<Daemon> = daemons.into_values().collect();
    daemons.sort_by(|a, b| (&a.name, &a.daemon).cmp(&(&b.name, &b.daemon)));
    Ok(json(&Fleet {
        pool: sharer.pool_name().to_owned(),
        mode: standing.mode.name(),
        learning_ms: millis(fleet.learning),
        daemons,
        groups,
    }))
}

fn daemon(one: &shared::Daemon, asked: &str, now: WallTime) -> Daemon {
    let silent = Duration::from_micros(one.silent);
    let shared::Row { name, version, capacity, used, demand, waiting, .. } = one.row.clone();
    Daemon {
        daemon: one.id.clone(),
        name,
        version,
        asked: one.id == asked,
        state: if one.lapsed > 0 {
            DaemonState::Lapsed
        } else if silent > LATE {
            DaemonState::Late
        } else {
            DaemonState::Alive
        },
        since: rfc3339(now.shifted(-signed_millis(one.up))),
        heartbeat_age_ms: millis(silent),
        lease_ends_at: rfc3339(now.shifted(signed_millis(one.left) - signed_millis(one.lapsed))),
        owned_groups: 0,
        capacity,
        used,
        demand,
        waiting,
    }
}

/// Every group that the ledger or this daemon knows, by name.
fn groups(
    known: &[LedgerGroup],
    own: &[(GroupName, Option<u64>)],
    daemons: &BTreeMap<&str, Daemon>,
) -> Vec<Group> {
    let limits: HashMap<&str, Option<u64>> =
        own.iter().map(|(name, rpm)| (&**name, *rpm)).collect();
    let nobody = |name: &str, rpm| Group {
        group: name.to_owned(),
        configured: true,
        rpm,
        state: GroupState::Free,
        owner: None,
        epoch: 0,
        free_in_ms: Some(0),
    };
    let mut groups: BTreeMap<&str, Group> =
        limits.iter().map(|(name, rpm)| (*name, nobody(name, *rpm))).collect();
    for one in known {
        let owner = one.holder.as_deref().and_then(|id| daemons.get(id));
        let state = match owner.map(|owner| owner.state) {
            Some(DaemonState::Alive) => GroupState::Owned,
            Some(DaemonState::Late) => GroupState::Lapsing,
            Some(DaemonState::Lapsed) => GroupState::Lapsed,
            None => GroupState::Free,
        };
        let rpm = limits.get(&*one.name).copied();
        let group = Group {
            configured: rpm.is_some(),
            state,
            owner: owner.map(|owner| owner.daemon.clone()),
            epoch: one.epoch,
            free_in_ms: owner.is_none().then(|| one.free_in.div_ceil(1000)),
            ..nobody(&one.name, rpm.flatten())
        };
        groups.insert(&one.name, group);
    }
    groups.into_values().collect()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn signed_millis(micros: u64) -> i64 {
    i64::try_from(micros / 1000).unwrap_or(i64::MAX)
}

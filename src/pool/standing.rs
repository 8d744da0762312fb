//! What a look at a key and its group has found, kept until something of it changes.
//!
//! A search looks at many keys, and each of them is spread over the memory; these are small and
//! stand side by side. Invariant: whoever changes a key or a group forgets what was found of it.

use super::breaker::ProviderIdx;
use super::group::{Group, GroupIdx, Leases};
use super::key::Key;
use super::time::{Instant, Now, WallTime};

/// What was found of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Until when it holds if nothing is changed, on both clocks.
    until: Instant,
    until_wall: WallTime,
    /// When it can pay the least request.
    pub(super) free_at: Instant,
    /// The most tokens that it can pay then.
    pub(super) room: u64,
    /// The largest used share of its limits.
    pub(super) used: f64,
}

impl Standing {
    /// Nothing is known.
    pub(super) const UNKNOWN: Self = Self {
        until: Instant::ZERO,
        until_wall: WallTime::from_millis(0),
        free_at: Instant::ZERO,
        room: 0,
        used: 0.0,
    };

    /// Whether it holds at `now`.
    pub(super) fn holds(&self, now: Now) -> bool {
        now.at < self.until && now.wall < self.until_wall
    }

    /// What there is to find of `group`, which is up to date.
    pub(super) fn of(group: &Group, now: Now) -> Self {
        let windows = [group.quota.requests(), group.quota.tokens()];
        let leaves = windows.into_iter().flatten().filter_map(|window| window.resets_at(now.at));
        // Of what depends on other daemons nothing is known for longer than this moment.
        let until = if group.is_alone() { Instant::NEVER } else { Instant::ZERO };
        let room = group.quota.tokens().map(|window| window.limit().saturating_sub(window.sum()));
        Self {
            until: leaves.fold(until, Instant::min),
            until_wall: group.quota.day().ends(),
            free_at: group.free_at(0, Leases::Expire, now).0,
            room: room.unwrap_or(u64::MAX),
            used: used_share(group, now.at),
        }
    }
}

/// What was found of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyStanding {
    pub(super) group: GroupIdx,
    pub(super) provider: ProviderIdx,
    /// Whether it is usable, and for every model that it serves.
    pub(super) plain: bool,
}

impl KeyStanding {
    pub(super) fn of(key: &Key) -> Self {
        let plain = key.is_usable() && key.refused_models.is_empty();
        Self { group: key.group, provider: key.provider, plain }
    }
}

/// The largest used share of the group's limits.
fn used_share(group: &Group, now: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    fn share(used: u64, limit: u64) -> f64 {
        used as f64 / limit as f64
    }
    let windows = [group.quota.requests(), group.quota.tokens()];
    let windows = windows.into_iter().flatten();
    let minute = windows.map(|window| share(window.used(now), window.limit()));
    let day = group.quota.day();
    let day = day.limit().map(|limit| share(day.used(), limit));
    let slots = group.limits().max_concurrent;
    let flight = slots.map(|most| share(group.in_flight() as u64, most.get()));
    minute.chain(day).chain(flight).fold(0.0, f64::max)
}

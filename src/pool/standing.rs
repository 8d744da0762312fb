//! What a look at a key and its group has found, kept until something of it changes.
//!
//! A search looks at many keys, and each of them is spread over the memory; these are small and
//! stand side by side. Invariant: whoever changes a key or a group forgets what was found of it.

use super::breaker::ProviderIdx;
use super::group::{Group, GroupIdx, Leases, WaitsFor};
use super::key::Key;
use super::names::{NameIdx, Names};
use super::outcome::LimitKind;
use super::quota::MINUTE;
use super::request::MOST_TOKENS;
use super::settings::KeyId;
use super::time::{Instant, Now, WallTime};

/// What was found of a group. Each is one line of memory.
///
/// As time goes by a group that nothing happens to can only pay more. So what is said here of when
/// and how much it can pay goes on being true, and only how much of it is used is less by and by.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Standing {
    /// Until when it holds if nothing is changed, on both clocks.
    until: Instant,
    until_wall: WallTime,
    /// When it was found, and when the first use leaves a window: until then it is exact.
    since: Instant,
    exact_until: Instant,
    /// When it can pay the least request.
    pub(super) free_at: Instant,
    /// The largest used share of its limits.
    pub(super) used: f64,
    /// The same of those limits from which nothing leaves in a minute.
    lasting: f32,
    /// The most tokens that it can pay at least when it is free; any number if it is the largest.
    room: u32,
    /// What it waits for until it can pay.
    waits_for: Option<WaitsFor>,
}

/// No request names so many tokens.
const ANY_NUMBER: u32 = u32::MAX;
const _: () = assert!(MOST_TOKENS < ANY_NUMBER as u64);

impl Standing {
    /// Nothing is known.
    pub(super) const UNKNOWN: Self = Self {
        until: Instant::ZERO,
        until_wall: WallTime::from_millis(0),
        since: Instant::ZERO,
        exact_until: Instant::ZERO,
        free_at: Instant::ZERO,
        used: 0.0,
        lasting: 0.0,
        room: 0,
        waits_for: None,
    };

    /// Whether it holds at `now`.
    pub(super) fn holds(&self, now: Now) -> bool {
        now.at < self.until && now.wall < self.until_wall
    }

    /// Whether all of it is exact at `now`.
    pub(super) fn is_exact(&self, now: Now) -> bool {
        self.holds(now) && now.at < self.exact_until
    }

    /// What there is to find of `group`, which is up to date.
    pub(super) fn of(group: &Group, now: Now) -> Self {
        let windows = [group.quota.requests(), group.quota.tokens()];
        let leaves = windows.into_iter().flatten().filter_map(|window| window.resets_at(now.at));
        // Of what depends on other daemons nothing is known for longer than this moment.
        let until = if group.is_alone() { Instant::NEVER } else { Instant::ZERO };
        let room = group.quota.tokens().map(|window| window.limit().saturating_sub(window.sum()));
        let room = room.and_then(|room| u32::try_from(room).ok());
        let (free_at, waits_for) = group.free_at(0, Leases::Expire, now);
        // When a day ends on the other clock is not known before it has.
        let until = if waits_for == Some(DAY) { until.min(free_at) } else { until };
        let (minute, lasting) = used_shares(group, now.at);
        Self {
            until,
            until_wall: group.quota.day().ends(),
            since: now.at,
            exact_until: leaves.fold(until, Instant::min),
            free_at,
            used: minute.max(lasting),
            #[expect(clippy::cast_possible_truncation, reason = "for what is about right")]
            lasting: lasting as f32,
            room: room.unwrap_or(ANY_NUMBER),
            waits_for,
        }
    }

    /// About how large the used share of its limits is at `now`, if as much leaves the windows in
    /// each second.
    pub(super) fn used_about(&self, now: Now) -> f64 {
        let left = 1.0 - now.at.since(self.since).as_secs_f64() / MINUTE.as_secs_f64();
        (self.used * left).max(f64::from(self.lasting))
    }

    /// Whether it can pay `tokens` as soon as it can pay the least request.
    pub(super) fn has_room_for(&self, tokens: u64) -> bool {
        tokens.max(1) <= u64::from(self.room)
    }

    /// When it can pay one request with `tokens`, and what it waits for until then, if that is
    /// known.
    pub(super) fn free_at(&self, tokens: u64, now: Now) -> Option<(Instant, Option<WaitsFor>)> {
        if !self.has_room_for(tokens) || self.waits_for == Some(DAY) {
            return None;
        }
        let free = self.free_at <= now.at;
        Some(if free { (now.at, None) } else { (self.free_at, self.waits_for) })
    }
}

const DAY: WaitsFor = WaitsFor::Limit(LimitKind::Rpd);

/// What was found of a key.
#[derive(Clone, Debug)]
pub(super) struct KeyStanding {
    pub(super) id: KeyId,
    pub(super) places: KeyPlaces,
}

/// Where what a key needs is.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyPlaces {
    pub(super) group: GroupIdx,
    pub(super) provider: ProviderIdx,
    /// Its first model.
    pub(super) model: Option<NameIdx>,
    /// Whether it is usable, and for every model that it serves.
    pub(super) plain: bool,
}

impl KeyStanding {
    pub(super) fn of(key: &Key, models: &mut Names) -> Self {
        let plain = key.is_usable() && key.refused_models.is_empty();
        let model = key.settings.models.first().map(|model| models.place(model));
        let places = KeyPlaces { group: key.group, provider: key.provider, model, plain };
        Self { id: key.settings.id.clone(), places }
    }
}

/// The largest used share of the group's limits of a minute, and of its others.
fn used_shares(group: &Group, now: Instant) -> (f64, f64) {
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
    (minute.fold(0.0, f64::max), day.into_iter().chain(flight).fold(0.0, f64::max))
}

//! Limits that several daemons share: each quota group is held by one daemon at a time, which
//! alone grants from it.
//!
//! Invariants: a group that is not held grants nothing; what is handed over carries every use that
//! still counts, so that whoever takes it next goes on as if it had been the only one all along.
//! The pool does not know how daemons agree on who holds what: it is told.

mod holding;
mod letter;
mod parcel;
mod part;
mod wish;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use holding::Holding;
pub use letter::{Letter, News};
pub(super) use parcel::Handover;
pub use parcel::{DayParcel, Parcel};
pub(super) use part::Plan;
pub use part::{CutOff, Part, Terms};

use super::core::Pool;
use super::group::{GroupIdx, Leases};
use super::key::KeyIdx;
use super::lease::LeaseId;
use super::request::Ask;
use super::settings::KeyId;
use super::snapshot::What;
use super::time::{Instant, Now};

/// How long a request may wait for a group that is held here before one of another daemon is as
/// good as the first: longer than a window of a minute.
const NOT_LONG: Duration = Duration::from_mins(2);

/// The name of a quota group among daemons.
pub type GroupName = Arc<str>;

/// Groups by their names among daemons.
pub(super) type GroupIndex = HashMap<GroupName, GroupIdx>;

/// What there is between this daemon and others.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// Whether others use the same limits.
    pub(super) on: bool,
    /// Whether a request waits that a group of another daemon could serve.
    pub(super) asking: bool,
    /// How long a request that names no wait waits for a group of another daemon.
    pub(super) patience: Option<Duration>,
    /// What came of leases whose groups other daemons hold by now.
    letters: Vec<(GroupName, Letter)>,
    /// What was learnt about keys that others should know.
    pub(super) news: Vec<(KeyId, News)>,
    /// Groups of other daemons that a request would rather have used.
    pub(super) wishes: Vec<GroupIdx>,
    /// What is left by those that nobody hears from.
    pub(super) rest: Part,
    /// What to go on with when nothing is heard any more.
    pub(super) plan: Option<Plan>,
    /// When something was last granted from a group that is used in part.
    pub(super) part_used: Option<Instant>,
}

/// What a daemon takes over when it becomes the holder of a group.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// The group.
    pub name: GroupName,
    /// How often the group has changed hands: tells one holder from the next.
    pub epoch: u64,
    /// What the last holder handed over; none if there was no holder before.
    pub parcel: Option<Parcel>,
    /// When that was handed over, on the clock of this pool.
    pub handed_over: Instant,
    /// Until when a holder that has gone without a word may have used it.
    pub doubted_until: Option<Instant>,
}

/// What waiting requests want of other daemons.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Groups that are not held here, the most wanted first.
    pub groups: Vec<GroupName>,
    /// How many requests wait.
    pub waiting: usize,
    /// Whether they are of requests for which no group that will do is held here.
    pub has_none: bool,
}

/// A group that this daemon holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldGroup {
    /// Its name.
    pub name: GroupName,
    /// How often it has changed hands.
    pub epoch: u64,
    /// Requests a minute, if they are limited.
    pub per_minute: Option<u64>,
    /// How many of them were used in the last minute.
    pub used: u64,
    /// When it can pay one more request for certain.
    pub free_at: Instant,
    /// When it can if the requests in flight end at once.
    pub may_be_free_at: Instant,
    /// When it was last used.
    pub last_use: Option<Instant>,
    /// Whether any configured key is in it.
    pub has_keys: bool,
    /// Requests of the provider's day, where these are limited: its number and how many.
    pub day: Option<(i32, u64)>,
}

impl Pool {
    /// Shares limits with other daemons from here on, or no more. What nobody has said who holds
    /// is held by nobody; what others may have used counts as used up when they are left.
    pub fn share_limits(&mut self, shared: bool, now: Now) {
        self.advance(now);
        self.note(What::Sharing { shared }, now);
        self.sharing.on = shared;
        for place in 0..self.stock.groups.len() {
            self.stock.refresh(GroupIdx::at(place), now).share(shared, now.at);
        }
        if !shared {
            self.sharing.rest = Part::ALL;
            self.sharing.plan = None;
            self.scale_groups(now);
        }
        self.stock.restocked();
        self.views.clear();
        self.serve_line(now);
    }

    /// Whether there is something to be done for requests that wait, or to be told to others.
    pub(super) fn has_errands(&self) -> bool {
        let Sharing { asking, letters, news, wishes, .. } = &self.sharing;
        *asking || !letters.is_empty() || !news.is_empty() || !wishes.is_empty()
    }

    /// Goes on with the groups that are held here, whatever others do. One that is being handed
    /// over may be another daemon's already.
    pub fn hold_on(&mut self, now: Now) {
        self.advance(now);
        for place in 0..self.stock.groups.len() {
            let group = GroupIdx::at(place);
            let holding = &mut self.stock[group].holding;
            if !holding.is_leaving() && holding.prolong(Instant::NEVER, now.at) {
                self.ease(group, now);
            }
        }
        self.serve_line(now);
    }

    /// Grants from every group within its full limits, whoever else does.
    pub fn hold_all(&mut self, now: Now) {
        self.withhold(Part::NONE, now);
        for place in 0..self.stock.groups.len() {
            let group = GroupIdx::at(place);
            let epoch = self.stock[group].holding.epoch().unwrap_or(0);
            self.stock[group].holding.take(epoch, Instant::NEVER);
            self.ease(group, now);
        }
        self.serve_line(now);
    }

    /// How long a request that names no wait waits for a group of another daemon.
    pub fn set_patience(&mut self, patience: Option<Duration>) {
        self.sharing.patience = patience;
    }

    /// What waiting requests want that this daemon does not hold, at most `most` groups: of those
    /// for which it holds none that will do, if there are any.
    pub fn wanted(&mut self, most: usize, now: Now) -> Wanted {
        self.advance(now);
        self.sharing.asking = false;
        let [mut first, mut more]: [Vec<GroupIdx>; 2] = Default::default();
        for (_, ask) in self.line.heads() {
            let view = self.view_for(&ask);
            let usable = |key: &&KeyIdx| {
                let key = &self.stock[**key];
                key.is_usable() && !ask.excludes(&key.settings.id)
            };
            let keys = self.views[view].seats.iter().filter(usable);
            let groups: Vec<GroupIdx> = keys.map(|&key| self.stock[key].group).collect();
            let has_one = groups.iter().any(|&group| self.pays_soon(group, &ask, now));
            let wanted = if has_one { &mut more } else { &mut first };
            for group in groups {
                let away = self.stock[group].holding.is_away(now.at);
                if away && wanted.len() < most && !wanted.contains(&group) {
                    wanted.push(group);
                }
            }
        }
        let has_none = !first.is_empty();
        let groups = if has_none { first } else { more };
        let groups = groups.into_iter().map(|group| self.stock[group].id.name()).collect();
        Wanted { groups, waiting: self.line.len(), has_none }
    }

    /// Whether this daemon holds `group` and `ask` need not wait for long there.
    fn pays_soon(&mut self, group: GroupIdx, ask: &Ask, now: Now) -> bool {
        let tokens = self.rules.tokens(&ask.request);
        self.stock[group].holding.epoch().is_some() && {
            let group = self.stock.refresh(group, now);
            group.free_at(tokens, Leases::MayEnd, now).0 <= now.at.plus(NOT_LONG)
        }
    }

    /// Every group that this daemon holds.
    pub fn held(&mut self, now: Now) -> Vec<HeldGroup> {
        self.advance(now);
        let held = |group: GroupIdx, pool: &mut Self| {
            let epoch = pool.stock[group].holding.epoch()?;
            let group = pool.stock.refresh(group, now);
            let day = group.quota.day();
            Some(HeldGroup {
                name: group.id.name(),
                epoch,
                per_minute: group.limits().rpm.map(Into::into),
                used: group.quota.requests().map_or(0, |window| window.used(now.at)),
                free_at: group.free_at(0, Leases::Expire, now).0,
                may_be_free_at: group.free_at(0, Leases::MayEnd, now).0,
                last_use: group.quota.last_use(),
                has_keys: !group.members.is_empty(),
                day: day.limit().map(|_| (day.number(), day.used())),
            })
        };
        (0..self.stock.groups.len()).filter_map(|n| held(GroupIdx::at(n), self)).collect()
    }

    /// Whether a group is held here that may be used in full.
    pub fn holds_any(&mut self, now: Now) -> bool {
        self.advance(now);
        let in_use = |holding: Holding| !holding.is_part() && holding.away_until(now.at).is_none();
        self.stock.groups.iter().any(|group| in_use(group.holding))
    }

    /// How many groups there are with keys.
    pub fn groups(&self) -> usize {
        self.stock.groups.iter().filter(|group| !group.members.is_empty()).count()
    }

    /// The groups with keys, and how many requests a minute each allows.
    pub fn group_limits(&self) -> Vec<(GroupName, Option<u64>)> {
        let groups = self.stock.groups.iter().filter(|group| !group.members.is_empty());
        groups.map(|group| (group.id.name(), group.limits().rpm.map(Into::into))).collect()
    }

    /// How many requests have been granted in all.
    pub fn granted(&self) -> u64 {
        self.stock.keys.iter().map(|key| key.record.total.grants).sum()
    }

    /// Every held group may be used until `until`.
    pub fn hold_until(&mut self, until: Instant, now: Now) {
        self.advance(now);
        for place in 0..self.stock.groups.len() {
            let group = GroupIdx::at(place);
            if self.stock[group].holding.prolong(until, now.at) {
                self.ease(group, now);
            }
        }
        self.serve_line(now);
    }

    /// None of `names` is to be had before `at`.
    pub fn expect(&mut self, names: &[GroupName], at: Instant, now: Now) {
        self.advance(now);
        let index = self.group_index();
        for group in names.iter().filter_map(|name| index.get(name)) {
            self.stock[*group].holding.expect(at);
        }
        self.serve_line(now);
    }

    /// Any of `names` may be to be had now.
    pub fn may_be_free(&mut self, names: &[GroupName], now: Now) {
        self.expect(names, Instant::ZERO, now);
        let index = self.group_index();
        for group in names.iter().filter_map(|name| index.get(name).copied()) {
            self.stock[group].wish_again = Instant::ZERO;
            self.ease(group, now);
        }
        self.serve_line(now);
    }

    /// Becomes the holder of groups.
    pub fn take_over(&mut self, taken: Vec<Taken>, until: Instant, now: Now) {
        self.advance(now);
        let index = self.group_index();
        for taken in taken {
            let Some(&group) = index.get(&taken.name) else { continue };
            self.note(What::Taken { taken: taken.clone() }, now);
            let calendar = self.stock.calendar.clone();
            let leases = &self.leases;
            let own = |name: &str| LeaseId::parse(name).is_some_and(|id| leases.find(id).is_ok());
            self.stock[group].take_over(&taken, own, leases.next(), until, now, &*calendar);
            self.stock[group].scale(self.sharing.rest);
            self.remember_recovery(group, now);
            self.ease(group, now);
        }
        self.serve_line(now);
    }

    /// Stops granting from the groups `names`; what whoever holds them next must know.
    pub fn hand_over(&mut self, names: &[GroupName], now: Now) -> Vec<(HeldGroup, Parcel)> {
        self.advance(now);
        let held: HashMap<GroupName, HeldGroup> =
            self.held(now).into_iter().map(|held| (held.name.clone(), held)).collect();
        let index = self.group_index();
        let mut parcels = Vec::new();
        for name in names {
            if let (Some(&group), Some(held)) = (index.get(name), held.get(name)) {
                let leases = &self.leases;
                let group = &mut self.stock[group];
                group.holding.leave();
                parcels.push((held.clone(), group.parcel(|seq| leases.id(seq), now)));
            }
        }
        parcels
    }

    /// The groups `names` are not held any more.
    pub fn handed_over(&mut self, names: &[GroupName], now: Now) {
        self.advance(now);
        let index = self.group_index();
        for name in names {
            if let Some(&group) = index.get(name) {
                self.note(What::HandedOver { name: name.clone() }, now);
                self.stock[group].holding.lose();
            }
        }
        self.serve_line(now);
    }

    /// Groups by their names among daemons.
    fn group_index(&mut self) -> Arc<GroupIndex> {
        let groups = self.stock.groups.iter().enumerate();
        let named = || groups.map(|(place, group)| (group.id.name(), GroupIdx::at(place)));
        self.stock.names.get_or_insert_with(|| Arc::new(named().collect())).clone()
    }

    fn remember_recovery(&mut self, group: GroupIdx, now: Now) {
        self.recoveries.retain(|&(_, recovering)| recovering != group);
        if let Some(until) = self.stock[group].cooldown.until(now.at) {
            self.recoveries.insert((until, group));
        }
    }
}

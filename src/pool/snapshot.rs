//! What must outlive the process: the whole state as a value, and every later change as a fact.
//!
//! A pool is a function of its calls. A snapshot and the facts since then, replayed in order, give
//! the same pool: the same windows, cooldowns, leases and totals. No secret is in either.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use super::core::Pool;
use super::group::{Group, GroupIdx};
use super::key::{Key, KeyIdx};
use super::lease::{LeaseBook, LeaseSeq, OpenLease};
use super::pages::Pages;
use super::quota::is_sound_guard;
use super::report::Report;
use super::request::Ask;
use super::rules::Rules;
use super::settings::{KeyId, PoolSettings};
use super::sharing::{GroupName, Letter, News, Taken};
use super::stock::ProviderHealth;
use super::time::{Calendar, Instant, Now};

/// A change that must not be forgotten.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Fact {
    now: Now,
    what: What,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// A lease was granted.
    Granted { key: KeyId, model: Option<Arc<str>>, ask: Arc<Ask> },
    /// A lease was reported.
    Reported { lease: LeaseSeq, report: Report },
    /// The failures of a key were forgotten.
    Cleared { key: KeyId },
    /// The secret of a key is another one.
    SecretChanged { key: KeyId },
    /// A probe brought a key back.
    ProbeAccepted { key: KeyId },
    /// A probe found a key dead.
    ProbeRejected { key: KeyId, detail: Arc<str> },
    /// Another configuration was taken.
    Reconfigured { settings: Arc<PoolSettings> },
    /// Limits are shared with other daemons, or no more.
    Sharing { shared: bool },
    /// This daemon became the holder of a group.
    Taken { taken: Taken },
    /// This daemon is the holder of a group no more.
    HandedOver { name: GroupName },
    /// Another daemon told what came of a lease of a group that is held here.
    LetterRead { name: GroupName, letter: Letter },
    /// Another daemon told what it has learnt about a key.
    Heard { key: KeyId, news: News },
    /// This daemon went on with its part of a group.
    WentOnInPart { name: GroupName },
}

/// The state of a pool at one moment, to be written while the pool goes on.
///
/// The keys and groups of a large pool are many: each page of them is read in a call of its own.
#[derive(Serialize)]
pub struct Snapshot<'a> {
    rules: Rules,
    keys: FrozenList<'a, Key>,
    groups: FrozenList<'a, Group>,
    providers: Vec<ProviderHealth>,
    leases: LeaseBook,
    last_key: Option<KeyIdx>,
    recoveries: BTreeSet<(Instant, GroupIdx)>,
    sharing: bool,
}

/// Calls a pool, for as long as it takes to read a page of it.
pub(super) type Access<'a> = Rc<dyn Fn(&mut dyn FnMut(&mut Pool)) + 'a>;

/// One list of a pool as it was at the moment of a snapshot. It can be written once.
struct FrozenList<'a, T: Clone> {
    access: Access<'a>,
    list: fn(&mut Pool) -> &mut Pages<T>,
    len: usize,
}

impl<'a, T: Clone> FrozenList<'a, T> {
    fn frozen(pool: &mut Pool, list: fn(&mut Pool) -> &mut Pages<T>, access: &Access<'a>) -> Self {
        Self { len: list(pool).freeze(), list, access: access.clone() }
    }
}

impl<T: Clone + Serialize> Serialize for FrozenList<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut written = serializer.serialize_seq(Some(self.len))?;
        loop {
            let mut page = None;
            (self.access)(&mut |pool| page = (self.list)(pool).next_page());
            let Some(page) = page else { break };
            for item in &page {
                written.serialize_element(item)?;
            }
        }
        written.end()
    }
}

impl<T: Clone> Drop for FrozenList<'_, T> {
    fn drop(&mut self) {
        (self.access)(&mut |pool| (self.list)(pool).thaw());
    }
}

/// The state of a pool, as it was read.
#[derive(Debug, Deserialize)]
pub struct Saved {
    rules: Rules,
    keys: Vec<Key>,
    groups: Vec<Group>,
    providers: Vec<ProviderHealth>,
    leases: LeaseBook,
    last_key: Option<KeyIdx>,
    recoveries: BTreeSet<(Instant, GroupIdx)>,
    sharing: bool,
}

impl Fact {
    /// A configuration was taken.
    pub fn reconfigured(settings: Arc<PoolSettings>, now: Now) -> Self {
        Self { now, what: What::Reconfigured { settings } }
    }

    /// When it happened.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The configuration that was taken, if that is what happened.
    pub fn settings(&self) -> Option<&Arc<PoolSettings>> {
        let What::Reconfigured { settings } = &self.what else { return None };
        Some(settings)
    }
}

/// No count gets so far, and no sum of two such counts leaves the numbers.
pub(super) const FAR: u64 = 1 << 62;

impl Saved {
    /// Whether it could have come about: every part names parts that are there and agrees with
    /// them. A checksum tells that the bytes are those that were written, but not by whom.
    fn is_sound(&self) -> bool {
        let group_exists = |group: GroupIdx| (group.0 as usize) < self.groups.len();
        let key_exists = |key: KeyIdx| (key.0 as usize) < self.keys.len();
        let sound_key =
            |key: &Key| group_exists(key.group) && (key.provider.0 as usize) < self.providers.len();
        let sound_key =
            |key: &Key| sound_key(key) && key.record.is_sound() && key.settings.limits.is_sound();
        let held = |(seq, lease): (LeaseSeq, &OpenLease)| {
            self.groups.get(lease.group.0 as usize).is_some_and(|group| group.holds(seq))
        };
        self.keys.iter().all(sound_key)
            && self.groups.iter().all(Group::is_sound)
            && self.providers.iter().all(ProviderHealth::is_sound)
            && is_sound_guard(self.rules.guard)
            && self.leases.is_sound()
            && self.leases.iter().all(held)
            && self.groups.iter().all(|group| group.members.iter().all(|key| key_exists(*key)))
            && self
                .leases
                .iter()
                .all(|(_, lease)| key_exists(lease.key) && group_exists(lease.group))
            && self.last_key.is_none_or(key_exists)
            && self.recoveries.iter().all(|(_, group)| group_exists(*group))
    }
}

impl Pool {
    /// A pool with a saved state; `None` if the state contradicts itself.
    pub fn restore(calendar: Arc<dyn Calendar>, seed: u64, saved: Saved) -> Option<Self> {
        if !saved.is_sound() {
            return None;
        }
        let mut pool = Self::new(calendar, 0, seed);
        let configured = saved.keys.iter().enumerate().filter(|(_, key)| key.configured);
        pool.stock.by_id = configured
            .map(|(place, key)| (key.settings.id.clone(), KeyIdx::at(place)))
            .collect::<HashMap<_, _>>();
        let keys = saved.keys.iter().filter(|key| key.configured);
        pool.settings = saved.rules.settings(keys.map(|key| key.settings.clone())).into();
        pool.rules = saved.rules;
        pool.stock.keys = saved.keys.into();
        pool.stock.groups = saved.groups.into();
        pool.stock.groups.iter_mut().for_each(Group::rescale);
        pool.stock.providers = saved.providers;
        pool.stock.restocked();
        pool.leases = saved.leases;
        pool.last_key = saved.last_key;
        pool.recoveries = saved.recoveries;
        pool.sharing.on = saved.sharing;
        Some(pool)
    }

    /// The whole state.
    pub fn snapshot(&mut self) -> Snapshot<'_> {
        let pool = Rc::new(RefCell::new(self));
        let same = pool.clone();
        let access: Access<'_> = Rc::new(move |call| call(&mut same.borrow_mut()));
        pool.borrow_mut().freeze(&access)
    }

    /// The whole state as it is now, to be read through `access`.
    pub(super) fn freeze<'a>(&mut self, access: &Access<'a>) -> Snapshot<'a> {
        Snapshot {
            rules: self.rules.clone(),
            keys: FrozenList::frozen(self, |pool| &mut pool.stock.keys, access),
            groups: FrozenList::frozen(self, |pool| &mut pool.stock.groups, access),
            providers: self.stock.providers.clone(),
            leases: self.leases.clone(),
            last_key: self.last_key,
            recoveries: self.recoveries.clone(),
            sharing: self.sharing.on,
        }
    }

    /// Keeps facts from now on, or no more.
    pub fn keep_facts(&mut self, keep: bool) {
        self.facts = keep.then(Vec::new);
    }

    /// The facts since the last call of this, in order.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        self.facts.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn note(&mut self, what: What, now: Now) {
        if let Some(facts) = &mut self.facts {
            facts.push(Fact { now, what });
        }
    }

    /// Does again what a fact tells. Says whether it could be done.
    pub fn replay(&mut self, fact: Fact) -> bool {
        let now = fact.now;
        self.advance(now);
        let done = match fact.what {
            What::Granted { key, model, ask } => {
                let known = self.stock.by_id.get(&key).copied();
                let view = self.view_for(&ask);
                known.map(|key| self.grant(&ask, view, key, model, now)).is_some()
            }
            What::Reported { lease, report } => {
                self.report(self.leases.id(lease), &report, now).is_ok()
            }
            What::Cleared { key } => self.clear(&key, now),
            What::SecretChanged { key } => self.secret_changed(&key, now),
            What::ProbeAccepted { key } => {
                let known = self.stock.by_id.get(&key).copied();
                known.map(|idx| self.accept(idx, now)).is_some()
            }
            What::ProbeRejected { key, detail } => {
                let known = self.stock.by_id.get(&key).copied();
                known.map(|idx| self.reject(idx, &detail, now)).is_some()
            }
            What::Reconfigured { settings } => {
                let sound = settings.is_sound();
                if sound {
                    self.reconfigure(settings, now);
                }
                sound
            }
            What::Sharing { shared } => {
                self.share_limits(shared, now);
                true
            }
            What::Taken { taken } => {
                // How long it is held is not known any more.
                self.take_over(vec![taken], Instant::ZERO, now);
                true
            }
            What::HandedOver { name } => {
                self.handed_over(&[name], now);
                true
            }
            What::LetterRead { name, letter } => self.read_letter(&name, &letter, now),
            What::Heard { key, news } => self.hear(&key, &news, now),
            What::WentOnInPart { name } => self.went_on_in_part(&name),
        };
        self.transitions.clear();
        done
    }

    /// Treats every limit as used as far as possible at `at`: nothing is known of the uses until
    /// then. The windows of a minute are full; of the day one half is left.
    pub fn assume_used(&mut self, at: Instant, now: Now) {
        self.advance(now);
        for place in 0..self.stock.groups.len() {
            let group = GroupIdx::at(place);
            self.stock.refresh(group, now).quota.assume_used(at);
        }
        self.views.clear();
    }
}

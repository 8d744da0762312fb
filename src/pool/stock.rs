//! The keys and quota groups, and what each can pay.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::breaker::{Breaker, ProviderIdx};
use super::group::{Group, GroupIdx, Leases, WaitsFor};
use super::key::{Key, KeyIdx};
use super::lease::LeaseSeq;
use super::names::Names;
use super::pages::Pages;
use super::probe::ProbeState;
use super::record::{Outcomes, Record};
use super::request::{Failure, Filter};
use super::settings::KeyId;
use super::sharing::GroupIndex;
use super::standing::{KeyPlaces, KeyStanding, Standing};
use super::time::{Calendar, Instant, Now};
use super::view::Seat;

/// A provider and whether it works.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ProviderHealth {
    pub(super) name: Arc<str>,
    pub(super) breaker: Breaker,
    /// Failures of its keys after which another key was granted.
    pub(super) rotations: Outcomes,
    /// How many groups have keys of it.
    #[serde(skip)]
    pub(super) groups: usize,
}

impl ProviderHealth {
    /// Whether it could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.breaker.is_sound() && self.rotations.is_sound()
    }
}

#[derive(Debug)]
pub(super) struct Stock {
    pub(super) keys: Pages<Key>,
    pub(super) groups: Pages<Group>,
    pub(super) providers: Vec<ProviderHealth>,
    pub(super) by_id: HashMap<KeyId, KeyIdx>,
    /// What was last found of each group and key, as far as it holds.
    standings: Vec<Standing>,
    key_standings: Vec<Option<KeyStanding>>,
    /// The models that keys name.
    pub(super) models: Names,
    /// The groups by their names among daemons, once somebody has asked.
    pub(super) names: Option<Arc<GroupIndex>>,
    /// The configured keys by their credentials, once somebody has asked.
    by_credential: Option<HashMap<Arc<str>, Vec<KeyIdx>>>,
    has_no_spares: bool,
    pub(super) calendar: Arc<dyn Calendar>,
}

impl Index<KeyIdx> for Stock {
    type Output = Key;
    fn index(&self, idx: KeyIdx) -> &Key {
        &self.keys[idx.0 as usize]
    }
}

impl IndexMut<KeyIdx> for Stock {
    fn index_mut(&mut self, idx: KeyIdx) -> &mut Key {
        if let Some(standing) = self.key_standings.get_mut(idx.0 as usize) {
            *standing = None;
        }
        &mut self.keys[idx.0 as usize]
    }
}

impl Index<GroupIdx> for Stock {
    type Output = Group;
    fn index(&self, idx: GroupIdx) -> &Group {
        &self.groups[idx.0 as usize]
    }
}

impl IndexMut<GroupIdx> for Stock {
    fn index_mut(&mut self, idx: GroupIdx) -> &mut Group {
        if let Some(standing) = self.standings.get_mut(idx.0 as usize) {
            *standing = Standing::UNKNOWN;
        }
        &mut self.groups[idx.0 as usize]
    }
}

impl Stock {
    /// Nothing, with days and months as `calendar` has them.
    pub(super) fn empty(calendar: Arc<dyn Calendar>) -> Self {
        Self {
            keys: Pages::default(),
            groups: Pages::default(),
            providers: Vec::new(),
            by_id: HashMap::new(),
            standings: Vec::new(),
            key_standings: Vec::new(),
            models: Names::default(),
            names: None,
            by_credential: None,
            has_no_spares: true,
            calendar,
        }
    }

    /// The group of a key, up to date.
    pub(super) fn group_of(&mut self, key: KeyIdx, now: Now) -> &Group {
        let group = self[key].group;
        self.up_to_date(group, now)
    }

    /// A group, up to date, to be changed.
    pub(super) fn refresh(&mut self, group: GroupIdx, now: Now) -> &mut Group {
        self.up_to_date(group, now);
        &mut self[group]
    }

    fn up_to_date(&mut self, group: GroupIdx, now: Now) -> &Group {
        let group = &mut self.groups[group.0 as usize];
        group.quota.expire(now, &*self.calendar);
        group
    }

    /// What there is to find of a group at `now`, but for how much of it is used.
    pub(super) fn standing(&mut self, group: GroupIdx, now: Now) -> &Standing {
        self.found(group, Standing::holds, now)
    }

    /// What there is to find of a group at `now`.
    pub(super) fn exact_standing(&mut self, group: GroupIdx, now: Now) -> &Standing {
        self.found(group, Standing::is_exact, now)
    }

    /// What was last found of a group, if it `is_good` at `now`; what is there to find otherwise.
    fn found(
        &mut self,
        group: GroupIdx,
        is_good: impl Fn(&Standing, Now) -> bool,
        now: Now,
    ) -> &Standing {
        let place = group.0 as usize;
        if !is_good(&self.standings[place], now) {
            self.standings[place] = Standing::of(self.up_to_date(group, now), now);
        }
        &self.standings[place]
    }

    /// What there is to find of a key.
    fn key_standing(&mut self, key: KeyIdx) -> &KeyStanding {
        let place = key.0 as usize;
        let found = || KeyStanding::of(&self.keys[place], &mut self.models);
        self.key_standings[place].get_or_insert_with(found)
    }

    /// Where what a key needs is.
    pub(super) fn places(&mut self, key: KeyIdx) -> KeyPlaces {
        self.key_standing(key).places
    }

    /// The id of a key.
    pub(super) fn id(&mut self, key: KeyIdx) -> &KeyId {
        &self.key_standing(key).id
    }

    /// The first model of a key.
    pub(super) fn first_model(&mut self, key: KeyIdx) -> Option<&Arc<str>> {
        let model = self.places(key).model?;
        Some(&self.models[model])
    }

    /// The same filter with models that keys name called by the names that are kept here.
    pub(super) fn in_own_names(&mut self, filter: &Filter) -> Filter {
        let mut filter = filter.clone();
        for model in &mut filter.models {
            if self.keys.iter().any(|key| key.settings.models.contains(model)) {
                let place = self.models.place(model);
                *model = self.models[place].clone();
            }
        }
        filter
    }

    /// The group of a key, if that has been looked at.
    pub(super) fn known_group(&self, key: KeyIdx) -> Option<GroupIdx> {
        self.key_standings[key.0 as usize].as_ref().map(|key| key.places.group)
    }

    /// The id of a key, if it has been looked at.
    pub(super) fn known_id(&self, key: KeyIdx) -> Option<&KeyId> {
        self.key_standings[key.0 as usize].as_ref().map(|key| &key.id)
    }

    /// When a group can pay, if that has been looked at.
    pub(super) fn known_free_at(&self, group: GroupIdx) -> Instant {
        self.standings[group.0 as usize].free_at
    }

    /// Whether the key of `seat` can pay one request with `tokens` now. If not: a time before which
    /// it can pay no request at all.
    pub(super) fn pays(&mut self, seat: Seat<'_>, tokens: u64, now: Now) -> Result<(), Instant> {
        let key = self.places(seat.key);
        let closed = self.providers[key.provider.0 as usize].breaker.open_until().is_none();
        if key.plain && closed {
            let group = self.standing(key.group, now);
            if group.free_at > now.at {
                return Err(group.free_at);
            }
            if group.has_room_for(tokens) {
                return Ok(());
            }
            let group = self.exact_standing(key.group, now);
            return if group.has_room_for(tokens) { Ok(()) } else { Err(group.free_at) };
        }
        if self.free_at(seat, tokens, Leases::Expire, now).0 <= now.at {
            return Ok(());
        }
        Err(self.free_at(seat, 0, Leases::Expire, now).0)
    }

    /// The same as [`Stock::free_at`] with leases that expire, without a look at the group where
    /// what was last found of it tells.
    pub(super) fn next_free_at(
        &mut self,
        seat: Seat<'_>,
        tokens: u64,
        now: Now,
    ) -> (Instant, Option<WaitsFor>) {
        let key = self.places(seat.key);
        let closed = self.providers[key.provider.0 as usize].breaker.open_until().is_none();
        let known = if key.plain && closed {
            self.standing(key.group, now).free_at(tokens, now)
        } else {
            None
        };
        known.unwrap_or_else(|| self.free_at(seat, tokens, Leases::Expire, now))
    }

    /// The earliest time from `now` on at which the key of `seat` can pay one request with
    /// `tokens`, and what it waits for; never if the key is not usable.
    pub(super) fn free_at(
        &mut self,
        seat: Seat<'_>,
        tokens: u64,
        leases: Leases,
        now: Now,
    ) -> (Instant, Option<WaitsFor>) {
        let key = &self[seat.key];
        if !key.is_usable() {
            return (Instant::NEVER, None);
        }
        let model_free = key.model_free_at(seat.model, now.at);
        let provider = &self.providers[key.provider.0 as usize];
        let provider_free = provider.breaker.closed_at(leases, now.at);
        let mut free = self.group_of(seat.key, now).free_at(tokens, leases, now);
        if model_free > free.0 {
            free = (model_free, Some(WaitsFor::Model));
        }
        match provider_free {
            Some(at) if at > free.0 => (at, Some(WaitsFor::Provider)),
            _ => free,
        }
    }

    /// The place of the provider called `name`, which gets one if it has none.
    pub(super) fn provider(&mut self, name: &Arc<str>) -> ProviderIdx {
        let known = self.providers.iter().position(|provider| provider.name == *name);
        let place = known.unwrap_or_else(|| {
            self.providers.push(ProviderHealth {
                name: name.clone(),
                breaker: Breaker::default(),
                rotations: Outcomes::default(),
                groups: 0,
            });
            self.providers.len() - 1
        });
        ProviderIdx::at(place)
    }

    /// The provider of `key`, and whether it works.
    pub(super) fn provider_of(&mut self, key: KeyIdx) -> &mut ProviderHealth {
        let provider = self[key].provider;
        &mut self.providers[provider.0 as usize]
    }

    /// The breaker of the provider of `key`.
    pub(super) fn breaker_of(&mut self, key: KeyIdx) -> &mut Breaker {
        &mut self.provider_of(key).breaker
    }

    /// Another key, `to`, was granted after `failure`: counts for the provider whose key failed, or
    /// that of `to` if that key has gone.
    pub(super) fn rotated(&mut self, failure: &Failure, to: KeyIdx) {
        let failed = self.by_id.get(failure.key.as_str()).copied().unwrap_or(to);
        let provider = self[failed].provider;
        self.providers[provider.0 as usize].rotations.count(failure.outcome);
    }

    /// Whether every key is configured, and no group is kept without one.
    pub(super) fn has_no_spares(&self) -> bool {
        self.has_no_spares
    }

    /// Every key that has the same credential as `key`, itself included.
    pub(super) fn with_credential_of(&mut self, key: KeyIdx) -> Vec<KeyIdx> {
        let credential = &self.keys[key.0 as usize].settings.credential;
        let index = self.by_credential.get_or_insert_with(|| {
            let mut index: HashMap<Arc<str>, Vec<KeyIdx>> = HashMap::new();
            for &key in self.by_id.values() {
                let credential = self.keys[key.0 as usize].settings.credential.clone();
                index.entry(credential).or_default().push(key);
            }
            for keys in index.values_mut() {
                keys.sort_unstable();
            }
            index
        });
        index.get(credential).cloned().unwrap_or_default()
    }

    /// The credential of a key is another.
    pub(super) fn credential_changed(&mut self) {
        self.by_credential = None;
    }

    /// There are other keys and groups.
    pub(super) fn restocked(&mut self) {
        self.standings = vec![Standing::UNKNOWN; self.groups.len()];
        self.key_standings = vec![None; self.keys.len()];
        self.models = Names::default();
        self.names = None;
        self.by_credential = None;
        self.has_no_spares = self.keys.len() == self.by_id.len();
        for provider in &mut self.providers {
            provider.groups = 0;
        }
        for group in self.groups.iter() {
            self.has_no_spares &= !group.members.is_empty();
            if let Some(member) = group.members.first() {
                let provider = self.keys[member.0 as usize].provider;
                self.providers[provider.0 as usize].groups += 1;
            }
        }
    }

    /// The record of a key, up to date.
    pub(super) fn roll_record(&mut self, key: KeyIdx, now: Now) -> &mut Record {
        let group = self.places(key).group;
        let day = self.up_to_date(group, now).quota.day().number();
        // Nothing of it has a say in what the key can pay.
        let record = &mut self.keys[key.0 as usize].record;
        record.roll(day);
        record
    }

    /// The key was granted: round robin goes on after it.
    pub(super) fn granted_last(&mut self, key: KeyIdx, lease: LeaseSeq) {
        self.keys[key.0 as usize].last_granted = Some(lease);
    }

    /// What probes have to do with a key.
    pub(super) fn probe_of(&mut self, key: KeyIdx) -> &mut ProbeState {
        &mut self.keys[key.0 as usize].probe
    }

    /// The ids of every configured key in a group.
    pub(super) fn ids_in(&self, group: GroupIdx) -> Vec<KeyId> {
        self[group].members.iter().map(|&key| self[key].settings.id.clone()).collect()
    }
}

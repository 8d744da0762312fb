//! The keys and quota groups, and what each can pay.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::breaker::{Breaker, ProviderIdx};
use super::group::{Group, GroupIdx, Leases, WaitsFor};
use super::key::{Key, KeyIdx};
use super::record::{Outcomes, Record};
use super::request::Failure;
use super::settings::KeyId;
use super::time::{Calendar, Instant, Now};
use super::view::Seat;

/// A provider and whether it works.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ProviderHealth {
    pub(super) name: Arc<str>,
    pub(super) breaker: Breaker,
    /// Failures of its keys after which another key was granted.
    pub(super) rotations: Outcomes,
}

impl ProviderHealth {
    /// Whether it could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.breaker.is_sound() && self.rotations.is_sound()
    }
}

#[derive(Debug)]
pub(super) struct Stock {
    pub(super) keys: Vec<Key>,
    pub(super) groups: Vec<Group>,
    pub(super) providers: Vec<ProviderHealth>,
    pub(super) by_id: HashMap<KeyId, KeyIdx>,
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
        &mut self.groups[idx.0 as usize]
    }
}

impl Stock {
    /// The group of a key, up to date.
    pub(super) fn group_of(&mut self, key: KeyIdx, now: Now) -> &Group {
        let group = self[key].group;
        self.refresh(group, now)
    }

    /// A group, up to date.
    pub(super) fn refresh(&mut self, group: GroupIdx, now: Now) -> &mut Group {
        let calendar = self.calendar.clone();
        let group = &mut self[group];
        group.quota.expire(now, &*calendar);
        group
    }

    /// The earliest time from `now` on at which the key of `seat` can pay one request with
    /// `tokens`, and what it waits for; never if the key is not usable.
    pub(super) fn free_at(
        &mut self,
        seat: &Seat,
        tokens: u64,
        leases: Leases,
        now: Now,
    ) -> (Instant, Option<WaitsFor>) {
        let key = &self[seat.key];
        if !key.is_usable() {
            return (Instant::NEVER, None);
        }
        let model_free = key.model_free_at(seat.model.as_ref(), now.at);
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
            });
            self.providers.len() - 1
        });
        ProviderIdx::at(place)
    }

    /// The breaker of the provider of `key`.
    pub(super) fn breaker_of(&mut self, key: KeyIdx) -> &mut Breaker {
        let provider = self[key].provider;
        &mut self.providers[provider.0 as usize].breaker
    }

    /// Another key, `to`, was granted after `failure`: counts for the provider whose key failed, or
    /// that of `to` if that key has gone.
    pub(super) fn rotated(&mut self, failure: &Failure, to: KeyIdx) {
        let failed = self.by_id.get(failure.key.as_str()).copied().unwrap_or(to);
        let provider = self[failed].provider;
        self.providers[provider.0 as usize].rotations.count(failure.outcome);
    }

    /// How many groups have keys of the same provider as `key`.
    pub(super) fn groups_of_provider(&self, key: KeyIdx) -> usize {
        let provider = self[key].provider;
        let of_provider = |group: &&Group| {
            group.members.first().is_some_and(|member| self[*member].provider == provider)
        };
        self.groups.iter().filter(of_provider).count()
    }

    /// The record of a key, up to date.
    pub(super) fn roll_record(&mut self, key: KeyIdx, now: Now) -> &mut Record {
        let day = self.group_of(key, now).quota.day().number();
        let record = &mut self[key].record;
        record.roll(day);
        record
    }

    /// The ids of every configured key in a group.
    pub(super) fn ids_in(&self, group: GroupIdx) -> Vec<KeyId> {
        self[group].members.iter().map(|&key| self[key].settings.id.clone()).collect()
    }
}

//! Has memory bring, all at once, what a call is about to use.
//!
//! Of thousands of keys most have not been used for long: their lines are in no cache of a
//! processor, and each takes 50 to 150 ns to come. A processor asks for many at once, but only for
//! those whose addresses are in the next few hundred instructions; a grant and a report have
//! thousands, and would wait for one line after another. So as soon as it is known what a call is
//! about, a word of every line is read here with nothing in between. What the words say is of no
//! use: they only have to be read.

use std::hint::black_box;

use super::core::Pool;
use super::group::{Group, GroupIdx};
use super::key::{Key, KeyIdx};
use super::settings::KeyId;
use super::stock::Stock;

/// So many keys are at hand anyway.
const FEW: usize = 256;

impl Pool {
    /// What a grant of `key` uses, and of its `group`.
    pub(super) fn fetch_for_grant(&self, key: KeyIdx, group: GroupIdx) {
        if self.stock.keys.len() > FEW {
            black_box(self.stock.fetch(key, group) ^ self.views.fetch(key));
        }
    }

    /// What a report of `key` uses, and of its `group`.
    pub(super) fn fetch_for_report(&self, key: KeyIdx, group: GroupIdx) {
        if self.stock.keys.len() > FEW {
            black_box(self.stock.fetch(key, group));
        }
    }
}

impl Stock {
    fn fetch(&self, key: KeyIdx, group: GroupIdx) -> u64 {
        let id = self.known_id(key).map_or(0, KeyId::fetch);
        id ^ self[key].fetch() ^ self[group].fetch()
    }

    /// What a search finds of `keys`.
    pub(super) fn fetch_standings(&self, keys: impl Iterator<Item = KeyIdx>) {
        let groups = keys.filter_map(|key| self.known_group(key));
        let free = groups.map(|group| self.known_free_at(group).as_nanos());
        black_box(free.fold(0, |seen, at| seen ^ at));
    }
}

impl Key {
    fn fetch(&self) -> u64 {
        self.record.fetch() ^ u64::from(self.last_granted.is_some())
    }
}

impl Group {
    fn fetch(&self) -> u64 {
        self.fetch_own() ^ self.quota.fetch() ^ u64::from(self.cooldown.level())
    }
}

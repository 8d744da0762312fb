//! Has memory bring, all at once, what a call is about to use.
//!
//! Of thousands of keys most have not been used for long: their lines are in no cache of a
//! processor, and each takes 50 to 150 ns to come. A processor asks for many at once, but only for
//! those whose addresses are in the next few hundred instructions; a grant and a report have
//! thousands, and would wait for one line after another. So as soon as it is known what a call is
//! about, a word of every line is read here with nothing in between. What the words say is of no
//! use: they only have to be read.

use std::hint::black_box;

use super::group::{Group, GroupIdx};
use super::key::{Key, KeyIdx};
use super::stock::Stock;
use super::time::Now;

impl Stock {
    /// What a grant or a report of `key` uses, and of its `group`.
    pub(super) fn fetch(&self, key: KeyIdx, group: GroupIdx) {
        let Self { keys, groups, .. } = self;
        black_box(keys[key.0 as usize].fetch() ^ groups[group.0 as usize].fetch());
    }

    /// What a search finds of `keys`, and the groups of which it must be found anew.
    pub(super) fn fetch_standings<const N: usize>(&self, keys: [Option<KeyIdx>; N], now: Now) {
        let groups = keys.map(|key| self.known_group(key?));
        let stale = groups.map(|group| group.filter(|group| !self.is_known(*group, now)));
        for group in stale.into_iter().flatten() {
            black_box(self[group].fetch());
        }
    }
}

impl Key {
    fn fetch(&self) -> u64 {
        self.settings.id.fetch() ^ self.record.fetch() ^ u64::from(self.last_granted.is_some())
    }
}

impl Group {
    fn fetch(&self) -> u64 {
        self.fetch_own() ^ self.quota.fetch() ^ u64::from(self.cooldown.level())
    }
}

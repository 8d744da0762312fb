//! The provider, which counts what it sees.

use std::collections::BTreeMap;

use keypool::pool::{KeyId, Now};

use crate::enforcer::{Enforcement, Enforcer};

/// A provider that keeps a sliding window for each key, which is the strictest there is.
pub(crate) struct Provider {
    counters: BTreeMap<KeyId, Enforcer>,
    seen: Seen,
    /// What it has seen of each daemon.
    of_daemons: BTreeMap<usize, u64>,
}

/// What it has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) admitted: u64,
    pub(crate) over_a_limit: u64,
}

impl Provider {
    pub(crate) fn of(limits: impl IntoIterator<Item = (KeyId, u64)>) -> Self {
        let counter =
            |rpm| Enforcer::new(Enforcement::SlidingWindow, rpm, std::time::Duration::ZERO);
        let counters = limits.into_iter().map(|(key, rpm)| (key, counter(rpm))).collect();
        Self { counters, seen: Seen::default(), of_daemons: BTreeMap::new() }
    }

    /// A request with `key` arrives from daemon `n`.
    pub(crate) fn sees(&mut self, n: usize, key: &KeyId, now: Now) {
        *self.of_daemons.entry(n).or_default() += 1;
        match self.counters.get_mut(key).unwrap().admit(now) {
            Ok(()) => self.seen.admitted += 1,
            Err(_) => self.seen.over_a_limit += 1,
        }
    }

    /// How many requests have come from daemon `n`.
    pub(crate) fn seen_of(&self, n: usize) -> u64 {
        self.of_daemons.get(&n).copied().unwrap_or(0)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen
    }
}

//! Leases that count in a group and were granted elsewhere: by the daemon that held it before, or in
//! the group that their key was in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lease::LeaseId;
use super::sharing::Handover;
use super::time::Instant;

/// The leases by their names, and when they expire.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct ForeignLeases(BTreeMap<String, Instant>);

impl ForeignLeases {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When those expire that have not at `now`.
    pub(super) fn ends(&self, now: Instant) -> impl Iterator<Item = Instant> {
        self.0.values().copied().filter(move |expires| *expires > now)
    }

    /// The lease `id` counts here until it `expires`.
    pub(super) fn begin(&mut self, id: LeaseId, expires: Instant) {
        self.0.insert(id.to_string(), expires);
    }

    /// The lease `name` has ended. Says whether it counted here.
    pub(super) fn end(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Those that `is_it` names count here no more.
    pub(super) fn forget(&mut self, is_it: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| !is_it(name));
    }

    /// What the next holder must know of them.
    pub(super) fn pack(&self, handover: Handover) -> impl Iterator<Item = (String, u64)> {
        let lasting = self.0.iter().filter(move |(_, expires)| **expires > handover.0);
        lasting.map(move |(name, expires)| (name.clone(), handover.ahead(*expires)))
    }

    /// Goes on with those of the last holder, and no others.
    pub(super) fn unpack<'a>(
        &mut self,
        leases: impl Iterator<Item = &'a (String, u64)>,
        handover: Handover,
    ) {
        self.0 = leases.map(|(name, ahead)| (name.clone(), handover.after(*ahead))).collect();
    }
}

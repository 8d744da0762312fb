//! The open leases of a group.
//!
//! Most groups have none or one most of the time, and that one is kept beside the group rather than
//! somewhere else in the memory. Invariant: it was granted before all the others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lease::LeaseSeq;
use super::time::Instant;

/// Open leases, and when they expire. Written as a map of all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "BTreeMap<LeaseSeq, Instant>", into = "BTreeMap<LeaseSeq, Instant>")]
pub(super) struct InFlight {
    first: Option<(LeaseSeq, Instant)>,
    more: BTreeMap<LeaseSeq, Instant>,
}

impl From<BTreeMap<LeaseSeq, Instant>> for InFlight {
    fn from(mut all: BTreeMap<LeaseSeq, Instant>) -> Self {
        Self { first: all.pop_first(), more: all }
    }
}

impl From<InFlight> for BTreeMap<LeaseSeq, Instant> {
    fn from(in_flight: InFlight) -> Self {
        in_flight.iter().collect()
    }
}

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// The leases in the order of their grants.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LeaseSeq, Instant)> {
        self.first.into_iter().chain(self.more.iter().map(|(&seq, &expires)| (seq, expires)))
    }

    /// When the lease `seq` expires, if it is open.
    pub(super) fn expiry(&self, seq: LeaseSeq) -> Option<Instant> {
        let first = self.first.filter(|(first, _)| *first == seq).map(|(_, expires)| expires);
        first.or_else(|| self.more.get(&seq).copied())
    }

    /// The lease `seq`, the latest of all, is open until it `expires`.
    pub(super) fn open(&mut self, seq: LeaseSeq, expires: Instant) {
        if self.is_empty() {
            self.first = Some((seq, expires));
        } else {
            self.more.insert(seq, expires);
        }
    }

    /// The lease `seq` has ended.
    pub(super) fn end(&mut self, seq: LeaseSeq) {
        if self.first.is_some_and(|(first, _)| first == seq) {
            self.first = None;
        } else {
            self.more.remove(&seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the leases that are left when `ended` have ended of so many.
    fn left_of(count: usize, ended: &[usize]) -> Vec<usize> {
        let seqs: Vec<LeaseSeq> =
            std::iter::successors(Some(LeaseSeq::FIRST), |seq| Some(seq.following()))
                .take(count + 1)
                .collect();
        let mut in_flight = InFlight::default();
        for seq in &seqs[..count] {
            in_flight.open(*seq, Instant::ZERO);
        }
        for place in ended {
            in_flight.end(seqs[*place]);
        }
        in_flight.open(seqs[count], Instant::NEVER);
        assert_eq!(in_flight.len(), in_flight.iter().count());
        let map = BTreeMap::from(in_flight.clone());
        assert!(InFlight::from(map).iter().eq(in_flight.iter()));
        in_flight.iter().map(|(seq, _)| seqs.iter().position(|at| *at == seq).unwrap()).collect()
    }

    #[test]
    fn has_its_leases_in_the_order_of_their_grants_whichever_end_first() {
        assert_eq!(left_of(3, &[0]), [1, 2, 3]);
        assert_eq!(left_of(3, &[1]), [0, 2, 3]);
        assert_eq!(left_of(3, &[0, 1, 2]), [3]);
        assert_eq!(left_of(0, &[]), [0]);
    }

    #[test]
    fn knows_when_each_open_lease_expires() {
        let (first, second) = (LeaseSeq::FIRST, LeaseSeq::FIRST.following());
        let mut in_flight = InFlight::default();
        in_flight.open(first, Instant::ZERO);
        in_flight.open(second, Instant::NEVER);
        in_flight.end(first);
        assert_eq!(in_flight.expiry(first), None);
        assert_eq!(in_flight.expiry(second), Some(Instant::NEVER));
    }
}

//! Leases: who holds which key, until when, and for which request.
//!
//! Invariants: leases are numbered in the order of their grants and expire in that order; what is
//! in the book is open.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::group::GroupIdx;
use super::key::KeyIdx;
use super::quota::Reservation;
use super::request::Ask;
use super::snapshot::FAR;
use super::time::Instant;

/// The number of a lease within one life of the pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LeaseSeq(u64);

impl LeaseSeq {
    pub(super) const FIRST: Self = Self(0);

    pub(super) fn following(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names a lease to its holder: `epoch-number`, both in hexadecimal digits. The epoch tells the
/// lives of the pool apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct LeaseId {
    epoch: u32,
    seq: LeaseSeq,
}

impl LeaseId {
    /// The lease that `text` names, if it is the name of one.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, seq) = text.split_once('-')?;
        let plain =
            |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if epoch.len() != 8 || !(1..=16).contains(&seq.len()) || !plain(epoch) || !plain(seq) {
            return None;
        }
        let epoch = u32::from_str_radix(epoch, 16).ok()?;
        Some(Self { epoch, seq: LeaseSeq(u64::from_str_radix(seq, 16).ok()?) })
    }

    /// Its name. Every answer to a select has one: digits are written as they are, without a
    /// formatter.
    pub fn name(self) -> String {
        const LONGEST: usize = "01234567-0123456789abcdef".len();
        let Self { epoch, seq: LeaseSeq(seq) } = self;
        let mut name = String::with_capacity(LONGEST);
        name.extend(epoch.to_be_bytes().into_iter().flat_map(hexadecimal));
        name.push('-');
        let digits = seq.to_be_bytes().into_iter().flat_map(hexadecimal);
        name.extend(digits.skip_while(|digit| *digit == '0'));
        if seq == 0 {
            name.push('0');
        }
        name
    }
}

fn hexadecimal(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'))
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// One grant that has not been reported.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OpenLease {
    pub(super) key: KeyIdx,
    pub(super) group: GroupIdx,
    pub(super) ask: Arc<Ask>,
    pub(super) model: Option<Arc<str>>,
    pub(super) expires: Instant,
    pub(super) reservation: Reservation,
}

/// Why a lease cannot be reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaseGone {
    /// It was reported before.
    #[error("the lease was reported before")]
    AlreadyReported,
    /// It was not reported in time, or was granted before the pool was last started.
    #[error("the lease has expired")]
    Expired,
    /// It was never granted.
    #[error("no such lease")]
    Unknown,
}

/// How many reported leases are remembered as such; a second report of an older one reads as
/// expired.
const REPORTED_REMEMBERED: usize = 8192;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LeaseBook {
    epoch: u32,
    next: LeaseSeq,
    open: BTreeMap<LeaseSeq, OpenLease>,
    reported: HashSet<LeaseSeq>,
    reported_in_order: VecDeque<LeaseSeq>,
    last_expiry: Instant,
}

impl LeaseBook {
    pub(super) fn new(epoch: u32) -> Self {
        Self {
            epoch,
            next: LeaseSeq::FIRST,
            open: BTreeMap::new(),
            reported: HashSet::new(),
            reported_in_order: VecDeque::new(),
            last_expiry: Instant::ZERO,
        }
    }

    /// Whether it could have come about: every lease was granted before the next one.
    pub(super) fn is_sound(&self) -> bool {
        let before = |seq: &LeaseSeq| *seq < self.next;
        self.next.0 < FAR
            && self.open.last_key_value().is_none_or(|(seq, _)| before(seq))
            && self.reported.len() == self.reported_in_order.len()
    }

    /// The number of the next lease.
    pub(super) fn next(&self) -> LeaseSeq {
        self.next
    }

    pub(super) fn id(&self, seq: LeaseSeq) -> LeaseId {
        LeaseId { epoch: self.epoch, seq }
    }

    /// The expiry of a lease granted now that should live until `expires`.
    pub(super) fn expiry(&self, expires: Instant) -> Instant {
        expires.max(self.last_expiry)
    }

    pub(super) fn open(&mut self, lease: OpenLease) -> LeaseSeq {
        let seq = self.next;
        self.next = seq.following();
        self.last_expiry = lease.expires;
        self.open.insert(seq, lease);
        seq
    }

    /// Looks an open lease up.
    pub(super) fn find(&self, id: LeaseId) -> Result<(LeaseSeq, &OpenLease), LeaseGone> {
        let lease = self.open.get(&id.seq).filter(|_| id.epoch == self.epoch);
        lease.map(|lease| (id.seq, lease)).ok_or_else(|| self.gone(id))
    }

    /// Why the lease `id`, which is not open, is not.
    fn gone(&self, id: LeaseId) -> LeaseGone {
        if id.epoch != self.epoch {
            LeaseGone::Expired
        } else if id.seq >= self.next {
            LeaseGone::Unknown
        } else if self.reported.contains(&id.seq) {
            LeaseGone::AlreadyReported
        } else {
            LeaseGone::Expired
        }
    }

    /// Takes a reported lease out of the book.
    pub(super) fn close(&mut self, id: LeaseId) -> Result<(LeaseSeq, OpenLease), LeaseGone> {
        let seq = id.seq;
        // The number alone may be that of a lease of this life.
        let lease = if id.epoch == self.epoch { self.open.remove(&seq) } else { None };
        let lease = lease.ok_or_else(|| self.gone(id))?;
        self.reported.insert(seq);
        self.reported_in_order.push_back(seq);
        if self.reported_in_order.len() > REPORTED_REMEMBERED
            && let Some(old) = self.reported_in_order.pop_front()
        {
            self.reported.remove(&old);
        }
        Ok((seq, lease))
    }

    /// Takes the next lease that has expired out of the book.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(LeaseSeq, OpenLease)> {
        let first = self.open.first_entry()?;
        (first.get().expires <= now).then(|| first.remove_entry())
    }

    /// When the next lease expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.open.first_key_value().map(|(_, lease)| lease.expires)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LeaseSeq, &OpenLease)> {
        self.open.iter().map(|(&seq, lease)| (seq, lease))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut OpenLease> {
        self.open.values_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_the_name_it_gives() {
        for (epoch, seq, name) in [
            (0xabc, 0x1f, "00000abc-1f"),
            (u32::MAX, 0, "ffffffff-0"),
            (0, 0x10, "00000000-10"),
            (0x8000_0000, u64::MAX, "80000000-ffffffffffffffff"),
        ] {
            let id = LeaseBook::new(epoch).id(LeaseSeq(seq));
            assert_eq!(id.to_string(), name);
            assert_eq!(LeaseId::parse(name), Some(id));
        }
    }

    #[test]
    fn knows_no_other_name() {
        for text in [
            "",
            "-",
            "00000abc-",
            "abc-1",
            "00000abc-1F",
            "00000abc-+1",
            "00000abc-10000000000000000",
        ] {
            assert_eq!(LeaseId::parse(text), None, "{text}");
        }
    }
}

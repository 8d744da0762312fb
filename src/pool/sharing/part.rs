//! What a daemon goes on with that hears from nobody: a part of every limit.
//!
//! Invariants: the parts that daemons have of a limit are never more than the whole of it together;
//! who is in touch leaves the parts of those who are not to them. A daemon that falls silent uses
//!
//! - a group that it holds in full until its hold ends, and its part of it from then on: whoever
//!   takes the group treats the window as used up at the end of the hold, and leaves the part alone;
//! - its part of any other group once the last of those who may not have heard that it is silent
//!   has ended its hold, and what was granted until then has left the window.
//!
//! So every window is either that of one holder with the whole limit, or the sum of parts. What is
//! used in parts is not counted by those who hold the group later; that it counts no more they are
//! told by the ledger. A day is longer than anybody waits: a group with a limit by the day is not
//! used in parts.

use std::time::Duration;

use super::{GroupName, Holding};
use crate::pool::core::Pool;
use crate::pool::group::{Group, GroupIdx};
use crate::pool::quota::MINUTE;
use crate::pool::settings::Limits;
use crate::pool::snapshot::What;
use crate::pool::time::{Instant, Now};

/// A part of every limit, in 720720ths: a number that every number of daemons up to 16 divides, so
/// that an equal part of a limit is a whole number of requests if there is one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Part(u32);

/// What a daemon goes on with when it hears from nobody any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutOff {
    /// What it may use of every limit.
    pub part: Part,
    /// Until when others may grant who have not heard that it is silent.
    pub others_until: Instant,
    /// When that ends.
    pub ends: Instant,
}

/// What holds from here on for a daemon that is in touch with the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Until when the groups that are held here may be used.
    pub until: Instant,
    /// What is left to those that nobody hears from.
    pub withheld: Part,
    /// What to go on with if nothing more is heard.
    pub cut_off: Option<CutOff>,
}

/// The plan for silence, and when there is something to be done about it.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Plan {
    cut_off: CutOff,
    due: Instant,
}

impl Part {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(720_720);

    /// So many 720720ths, at most all.
    pub fn of(parts: u64) -> Self {
        u32::try_from(parts).map_or(Self::ALL, |parts| Self(parts.min(Self::ALL.0)))
    }

    /// How many 720720ths it is.
    pub fn parts(self) -> u32 {
        self.0
    }

    /// What is left without it.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(Self::ALL.0 - self.0)
    }

    /// It as a share of one.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALL.0)
    }

    /// So much of `limit`, rounded down.
    pub(in crate::pool) fn of_limit(self, limit: u64) -> u64 {
        let part = u128::from(limit) * u128::from(self.0) / u128::from(Self::ALL.0);
        u64::try_from(part).unwrap_or(limit)
    }

    /// The part that counts where these are the limits.
    pub(in crate::pool) fn under(self, limits: &Limits) -> Self {
        if limits.rpd.is_some() { Self::ALL } else { self }
    }
}

impl Default for Part {
    fn default() -> Self {
        Self::ALL
    }
}

impl Plan {
    pub(in crate::pool) fn due(self) -> Instant {
        self.due
    }
}

impl Pool {
    /// This daemon is in touch with the others, and knows what holds.
    pub fn agree(&mut self, terms: Terms, now: Now) {
        self.advance(now);
        self.sharing.plan = None;
        self.sharing.rest = terms.withheld.rest();
        for group in self.stock.groups.iter_mut() {
            group.holding.rejoin();
        }
        self.scale_groups(now);
        self.sharing.plan = terms.cut_off.map(|cut_off| Plan { cut_off, due: terms.until });
        self.hold_until(terms.until, now);
    }

    /// Others that nobody hears from may use `part` of every limit: this daemon keeps to the rest.
    pub fn withhold(&mut self, part: Part, now: Now) {
        self.advance(now);
        self.sharing.rest = part.rest();
        self.scale_groups(now);
        self.serve_line(now);
    }

    /// Has no part of anything any more.
    pub fn give_up_part(&mut self, now: Now) {
        self.advance(now);
        self.sharing.plan = None;
        for group in self.stock.groups.iter_mut() {
            group.holding.rejoin();
        }
        self.scale_groups(now);
    }

    /// How much longer what was used in parts counts.
    pub fn part_counts_for(&self, now: Now) -> Duration {
        let span = self.window_span();
        self.sharing.part_used.map_or(Duration::ZERO, |at| at.plus(span).since(now.at))
    }

    /// How long a request counts.
    pub fn window_span(&self) -> Duration {
        MINUTE + self.rules.guard
    }

    /// How many groups are used in part.
    pub fn groups_in_part(&self) -> usize {
        self.stock.groups.iter().filter(|group| group.holding.is_part()).count()
    }

    /// Has every group keep to what is left by those that nobody hears from, unless it is used in
    /// part.
    pub(in crate::pool) fn scale_groups(&mut self, now: Now) {
        let rest = self.sharing.rest;
        for place in 0..self.stock.groups.len() {
            let group = GroupIdx::at(place);
            if !self.stock[group].holding.is_part() && self.stock[group].scale(rest) {
                self.ease(group, now);
            }
        }
        if let Some(plan) = &mut self.sharing.plan {
            plan.due = Instant::ZERO;
        }
    }

    /// Goes on with parts of groups where it is time to.
    pub(in crate::pool) fn go_on_in_part(&mut self, now: Now) {
        let Some(plan) = self.sharing.plan.filter(|plan| plan.due <= now.at) else { return };
        let CutOff { part, others_until, ends } = plan.cut_off;
        let others_from = others_until.plus(self.window_span());
        let mut due = Instant::NEVER;
        for place in 0..self.stock.groups.len() {
            let idx = GroupIdx::at(place);
            let group = &mut self.stock[idx];
            let over = ends <= now.at || group.limits().rpd.is_some();
            let from = match group.holding {
                Holding::Alone => continue,
                Holding::Part { .. } if over => {
                    group.holding.rejoin();
                    continue;
                }
                Holding::Part { .. } => {
                    due = due.min(ends);
                    continue;
                }
                Holding::Held { until, leaving: false, .. } => until,
                // Who is handing it over does not know whether somebody has it by now.
                Holding::Held { leaving: true, .. } | Holding::Away(_) => others_from,
            };
            if over {
                continue;
            }
            if from > now.at {
                due = due.min(from);
                continue;
            }
            due = due.min(ends);
            group.use_in_part();
            group.scale(part);
            let name = group.id.name();
            self.ease(idx, now);
            self.note(What::WentOnInPart { name }, now);
        }
        if let Some(plan) = &mut self.sharing.plan {
            plan.due = due;
        }
    }

    /// Has gone on with its part of the group `name`. Says whether there is such a group.
    pub(in crate::pool) fn went_on_in_part(&mut self, name: &GroupName) -> bool {
        let group = self.group_index().get(name).copied();
        group.map(|group| self.stock[group].use_in_part()).is_some()
    }
}

impl Group {
    fn use_in_part(&mut self) {
        self.holding.go_on_in_part();
        // What is used in part here is in no parcel of another holder.
        self.unshared = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_limit_are_never_more_than_it() {
        for limit in [1, 2, 7, 60, 1000, u64::MAX] {
            for daemons in 1..=9_u64 {
                let part = Part::of(720_720 / daemons);
                let withheld = Part::of(u64::from(part.parts()) * (daemons - 1));
                let used = part.of_limit(limit).saturating_mul(daemons - 1);
                assert!(used <= limit - withheld.rest().of_limit(limit));
            }
        }
        assert_eq!(Part::of(720_720 / 3).of_limit(30), 10);
        assert_eq!(Part::ALL.of_limit(u64::MAX), u64::MAX);
        assert_eq!(Part::of(9).rest().rest(), Part::of(9));
        assert_eq!(Part::of(u64::MAX), Part::ALL);
    }
}

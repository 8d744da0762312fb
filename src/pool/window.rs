//! An exact sliding window: the log of every charge of the last `span`.
//!
//! Invariant: a charge that fits never brings the sum of any half-open interval of length `span`
//! over the limit. This is the most that can be granted without ever exceeding a limit that the
//! provider keeps in fixed minutes of any phase, a sliding window, or a bucket of the same size.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::request::MOST_TOKENS;
use super::sharing::Handover;
use super::snapshot::FAR;
use super::time::Instant;

/// Most charges that are taken from another daemon: more than any limit of this world.
const MOST_CHARGES: usize = 10_000_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Window {
    limit: u64,
    span: Duration,
    charges: VecDeque<Charge>,
    sum: u64,
    /// How many charges have left at the front: the number of the first one still here.
    gone: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Charge {
    at: Instant,
    amount: u64,
}

/// Names a charge, so that it can be corrected while it is in the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct ChargeId(u64);

impl Window {
    pub(super) fn new(limit: u64, span: Duration) -> Self {
        Self { limit, span, charges: VecDeque::new(), sum: 0, gone: 0 }
    }

    /// Whether it could have come about: its charges are in order of time, and their sum is its own.
    pub(super) fn is_sound(&self) -> bool {
        let amounts = || self.charges.iter().map(|charge| charge.amount);
        let sum = amounts().try_fold(0, u64::checked_add);
        sum == Some(self.sum)
            && self.charges.iter().is_sorted_by_key(|charge| charge.at)
            && [self.sum, self.gone, self.limit].iter().all(|count| *count < FAR)
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn span(&self) -> Duration {
        self.span
    }

    pub(super) fn resize(&mut self, limit: u64, span: Duration) {
        self.limit = limit;
        self.span = span;
    }

    /// Forgets what has left the window.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(first) = self.charges.front()
            && first.at.plus(self.span) <= now
        {
            self.sum -= first.amount;
            self.gone += 1;
            self.charges.pop_front();
        }
    }

    /// What was charged and has not been forgotten.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    /// What is charged to the window at `now`.
    pub(super) fn used(&self, now: Instant) -> u64 {
        let left = self.charges.iter().take_while(|charge| charge.at.plus(self.span) <= now);
        self.sum - left.map(|charge| charge.amount).sum::<u64>()
    }

    /// The earliest time from `now` on at which `amount` fits; never if it is over the limit.
    pub(super) fn free_at(&self, amount: u64, now: Instant) -> Instant {
        let Some(room) = self.limit.checked_sub(amount) else { return Instant::NEVER };
        let mut used = self.sum;
        let mut charges = self.charges.iter();
        let mut free = now;
        while used > room {
            let Some(charge) = charges.next() else { break };
            used -= charge.amount;
            free = free.max(charge.at.plus(self.span));
        }
        free
    }

    /// When the first unit comes back; `None` if the window is empty.
    pub(super) fn resets_at(&self, now: Instant) -> Option<Instant> {
        self.charges.iter().map(|charge| charge.at.plus(self.span)).find(|&at| at > now)
    }

    /// Charges `amount`, even past the limit: what was used was used.
    pub(super) fn charge(&mut self, amount: u64, now: Instant) -> ChargeId {
        let at = self.charges.back().map_or(now, |last| last.at.max(now));
        self.charges.push_back(Charge { at, amount });
        self.sum += amount;
        ChargeId(self.gone + self.charges.len() as u64 - 1)
    }

    /// Lowers a charge to `amount`; does nothing once it has left or is lower already.
    pub(super) fn lower(&mut self, id: ChargeId, amount: u64) {
        let place = id.0.checked_sub(self.gone).and_then(|place| usize::try_from(place).ok());
        if let Some(charge) = place.and_then(|place| self.charges.get_mut(place))
            && charge.amount > amount
        {
            self.sum -= charge.amount - amount;
            charge.amount = amount;
        }
    }

    /// Has memory bring the charges that leave next and those that came last.
    pub(super) fn fetch(&self) -> u64 {
        let ends = [self.charges.front(), self.charges.back()].into_iter().flatten();
        ends.fold(self.sum ^ self.gone, |seen, charge| seen ^ charge.amount)
    }

    /// The charges with how long before `handover` each was.
    pub(super) fn pack(&self, handover: Handover) -> Vec<(u64, u64)> {
        self.charges.iter().map(|charge| (handover.ago(charge.at), charge.amount)).collect()
    }

    /// Has these charges instead of its own.
    pub(super) fn unpack(&mut self, charges: &[(u64, u64)], handover: Handover) {
        let mut other = Self::new(self.limit, self.span);
        for &(ago, amount) in charges.iter().take(MOST_CHARGES) {
            // What is no amount of this world is no reason to lose count.
            other.charge(amount.min(MOST_TOKENS), handover.before(ago));
        }
        self.gone += self.charges.len() as u64 + 1;
        self.charges = other.charges;
        self.sum = other.sum;
    }

    /// Adds the charges of `other`, whose uses turn out to count here.
    pub(super) fn absorb(&mut self, other: &Self) {
        let mut merged: Vec<Charge> = self.charges.iter().chain(&other.charges).copied().collect();
        merged.sort_by_key(|charge| charge.at);
        self.sum += other.sum;
        // The merge moves every charge to another place: old names must not find one.
        self.gone += self.charges.len() as u64 + 1;
        self.charges = merged.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_millis(60_500);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn is_full_at_its_limit_until_the_oldest_charge_leaves() {
        let mut window = Window::new(2, SPAN);
        window.charge(1, at(0));
        window.charge(1, at(10));
        assert_eq!(window.free_at(1, at(20)), at(60_500));
        assert_eq!(window.free_at(2, at(20)), at(60_510));
        assert_eq!(window.used(at(60_499)), 2);
        assert_eq!(window.used(at(60_500)), 1);
    }

    #[test]
    fn never_fits_more_than_its_limit() {
        assert_eq!(Window::new(5, SPAN).free_at(6, at(0)), Instant::NEVER);
    }

    #[test]
    fn gives_back_what_a_charge_was_lowered_by() {
        let mut window = Window::new(10, SPAN);
        let charge = window.charge(10, at(0));
        window.lower(charge, 3);
        assert_eq!(window.free_at(7, at(1)), at(1));
        assert_eq!(window.used(at(1)), 3);
        window.lower(charge, 9);
        assert_eq!(window.used(at(1)), 3, "a charge is never raised");
    }

    #[test]
    fn ignores_the_correction_of_a_charge_that_has_left() {
        let mut window = Window::new(10, SPAN);
        let old = window.charge(10, at(0));
        window.expire(at(60_500));
        window.charge(4, at(60_500));
        window.lower(old, 0);
        assert_eq!(window.used(at(60_500)), 4);
    }

    #[test]
    fn counts_what_was_used_beyond_the_limit() {
        let mut window = Window::new(10, SPAN);
        window.charge(10, at(0));
        window.charge(5, at(100));
        assert_eq!(window.free_at(1, at(200)), at(60_500));
        assert_eq!(window.free_at(6, at(200)), at(60_600));
    }

    #[test]
    fn absorbs_the_uses_of_another_window_in_order_of_time() {
        let mut window = Window::new(3, SPAN);
        window.charge(1, at(20));
        let mut other = Window::new(9, SPAN);
        other.charge(1, at(10));
        other.charge(1, at(30));
        window.absorb(&other);
        assert_eq!(window.free_at(1, at(40)), at(60_510));
    }
}

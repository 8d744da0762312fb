//! Choosing a seat: the first tier that can pay, then the user's key or the strategy's.

use std::ops::Range;

use super::affinity;
use super::group::{Group, Leases};
use super::key::KeyIdx;
use super::random::Random;
use super::request::Ask;
use super::rules::Rules;
use super::settings::Strategy;
use super::stock::Stock;
use super::time::{Instant, Now};
use super::view::{View, serves};

/// In a tier of at most this many seats every seat is looked at; in a larger one a sample.
const SMALL_TIER: usize = 64;

/// How many seats of a large tier are sampled.
const SAMPLE: usize = 8;

pub(super) struct Choice<'a> {
    pub(super) view: &'a mut View,
    pub(super) stock: &'a mut Stock,
    pub(super) random: &'a mut Random,
    pub(super) rules: &'a Rules,
    pub(super) ask: &'a Ask,
    /// Requests that wait since before this one: it takes no key that could serve them.
    pub(super) ahead: &'a [std::sync::Arc<Ask>],
    pub(super) now: Now,
}

impl Choice<'_> {
    /// The seat that serves the ask now, if one can.
    pub(super) fn make(&mut self) -> Option<usize> {
        if self.ask.attempt() > 1
            && let Some(seat) = self.next_of_the_fallback_order()
        {
            return Some(seat);
        }
        let first = self.first_affordable(0..self.view.seats.len())?;
        let tier = self.view.tiers[self.view.tier_of(first)].clone();
        if let Some(user) = &self.ask.request.user {
            return self.ranked_first(affinity::hash(user), tier.seats);
        }
        match self.rules.strategy {
            Strategy::RoundRobin => self.next_around(tier.next, &tier.seats),
            Strategy::LeastUtilized => self.least_utilized(tier.next, &tier.seats),
            Strategy::Weighted => self.drawn(&tier.seats, |choice, seat| {
                choice.stock[choice.view.seats[seat].key].settings.weight.get()
            }),
            Strategy::Random => self.drawn(&tier.seats, |_, _| 1),
            Strategy::FallbackOrder => Some(first),
        }
    }

    fn tokens(&self) -> u64 {
        self.rules.tokens(&self.ask.request)
    }

    fn key(&self, seat: usize) -> KeyIdx {
        self.view.seats[seat].key
    }

    /// Whether `seat` can serve the ask now. Raises its bound if it could serve nobody.
    fn affordable(&mut self, seat: usize) -> bool {
        let tokens = self.tokens();
        let place = &self.view.seats[seat];
        let free_at =
            |stock: &mut Stock, tokens| stock.free_at(place, tokens, Leases::Expire, self.now).0;
        if free_at(self.stock, tokens) > self.now.at {
            let bound = free_at(self.stock, tokens.min(1));
            if bound > self.now.at {
                self.view.ready.set(seat, bound);
            }
            return false;
        }
        let key = &self.stock[place.key];
        !self.ask.excludes(&key.settings.id)
            && !self
                .ahead
                .iter()
                .any(|ask| serves(&ask.request.filter, key) && !ask.excludes(&key.settings.id))
    }

    fn first_affordable(&mut self, seats: Range<usize>) -> Option<usize> {
        let mut from = seats.start;
        while let Some(seat) = self.view.ready.first_due(from, seats.end, self.now.at) {
            if self.affordable(seat) {
                return Some(seat);
            }
            from = seat + 1;
        }
        None
    }

    /// The first affordable seat from `from` on, around the tier.
    fn next_around(&mut self, from: usize, tier: &Range<usize>) -> Option<usize> {
        let ahead = self.first_affordable(from..tier.end);
        ahead.or_else(|| self.first_affordable(tier.start..from))
    }

    /// After a failed attempt the fallback order decides, ignoring tiers.
    fn next_of_the_fallback_order(&mut self) -> Option<usize> {
        let rules = self.rules;
        let listed = rules.fallback_order.iter().filter_map(|id| self.stock.by_id.get(id));
        let seats: Vec<usize> = listed.flat_map(|&key| self.view.seats_of(key)).copied().collect();
        seats.into_iter().find(|&seat| self.affordable(seat))
    }

    /// The affordable seat that the user ranks first.
    fn ranked_first(&mut self, user: u64, tier: Range<usize>) -> Option<usize> {
        let mut best: Option<(u64, usize)> = None;
        let mut from = tier.start;
        while let Some(seat) = self.view.ready.first_due(from, tier.end, self.now.at) {
            let rank = affinity::rank(user, self.stock[self.key(seat)].affinity);
            if best.is_none_or(|(highest, _)| rank > highest) && self.affordable(seat) {
                best = Some((rank, seat));
            }
            from = seat + 1;
        }
        best.map(|(_, seat)| seat)
    }

    /// The affordable seat whose group has used the smallest share of its limits; the first one
    /// around the tier if several have.
    fn least_utilized(&mut self, from: usize, tier: &Range<usize>) -> Option<usize> {
        let candidates: Vec<usize> = if tier.len() <= SMALL_TIER {
            (from..tier.end).chain(tier.start..from).collect()
        } else {
            self.sample(tier)
        };
        let mut best: Option<(f64, usize)> = None;
        for seat in candidates {
            if self.affordable(seat) {
                let used = utilization(self.stock.group_of(self.key(seat), self.now), self.now.at);
                if best.is_none_or(|(least, _)| used < least) {
                    best = Some((used, seat));
                }
            }
        }
        best.map(|(_, seat)| seat)
    }

    /// Some affordable seats of a large tier.
    fn sample(&mut self, tier: &Range<usize>) -> Vec<usize> {
        let draws: Vec<usize> =
            (0..SAMPLE).map(|_| tier.start + self.random.index(tier.len())).collect();
        draws.into_iter().filter_map(|from| self.next_around(from, tier)).collect()
    }

    /// An affordable seat drawn in proportion to `weight`.
    fn drawn(
        &mut self,
        tier: &Range<usize>,
        weight: impl Fn(&Self, usize) -> u64,
    ) -> Option<usize> {
        let mut candidates = if tier.len() <= SMALL_TIER {
            tier.clone().filter(|&seat| self.affordable(seat)).collect()
        } else {
            self.sample(tier)
        };
        let total: u128 = candidates.iter().map(|&seat| u128::from(weight(self, seat))).sum();
        let mut draw = if total > 0 { self.random.below(total) } else { 0 };
        candidates.retain(|&seat| {
            let weight = u128::from(weight(self, seat));
            let drawn = draw < weight;
            draw = draw.saturating_sub(weight);
            drawn
        });
        candidates.first().copied()
    }
}

/// The largest used share of the group's limits.
fn utilization(group: &Group, now: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    fn share(used: u64, limit: u64) -> f64 {
        used as f64 / limit as f64
    }
    let windows = [group.quota.requests(), group.quota.tokens()];
    let windows = windows.into_iter().flatten();
    let minute = windows.map(|window| share(window.used(now), window.limit()));
    let day = group.quota.day();
    let day = day.limit().map(|limit| share(day.used(), limit));
    let slots = group.limits().max_concurrent;
    let flight = slots.map(|most| share(group.in_flight() as u64, most.get()));
    minute.chain(day).chain(flight).fold(0.0, f64::max)
}

//! Choosing a seat: the first tier that can pay, then the user's key or the strategy's.

use std::ops::Range;

use super::affinity;
use super::key::KeyIdx;
use super::random::Random;
use super::request::Ask;
use super::ring::Search;
use super::rules::Rules;
use super::settings::Strategy;
use super::stock::Stock;
use super::time::Now;
use super::view::{Tier, View, serves};

/// In a tier of at most this many seats every seat is looked at; in a larger one a sample.
const SMALL_TIER: usize = 64;

/// How many seats of a large tier are sampled.
const SAMPLE: usize = 4;

/// How many seats are looked at for a user one by one in the order of the user's ranks.
const MOST_LOOKS: usize = 64;

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
        let tier = self.tier()?;
        if let Some(user) = &self.ask.request.user {
            return self.ranked_first(affinity::hash(user), tier);
        }
        let Tier { seats, next, .. } = &self.view.tiers[tier];
        let (seats, next) = (seats.clone(), *next);
        match self.rules.strategy {
            Strategy::RoundRobin => self.next_around(next, &seats),
            Strategy::LeastUtilized => self.least_utilized(next, &seats),
            Strategy::Weighted => self
                .drawn(&seats, |choice, seat| choice.stock[choice.key(seat)].settings.weight.get()),
            Strategy::Random => self.drawn(&seats, |_, _| 1),
            Strategy::FallbackOrder => self.first_affordable(seats),
        }
    }

    /// The first tier of which a seat can serve the ask. If there is one tier it is that one, and
    /// whether it can pay turns out when one of its seats is chosen.
    fn tier(&mut self) -> Option<usize> {
        let all = 0..self.view.seats.len();
        if self.view.tiers.len() == 1 {
            return self.view.ready().first_due(all.start, all.end, self.now.at).map(|_| 0);
        }
        let first = self.first_affordable(all)?;
        Some(self.view.tier_of(first))
    }

    fn tokens(&self) -> u64 {
        self.rules.tokens(&self.ask.request)
    }

    fn key(&self, seat: usize) -> KeyIdx {
        self.view.seats[seat]
    }

    /// Whether `seat` can serve the ask now. Raises its bound if it could serve nobody.
    fn affordable(&mut self, seat: usize) -> bool {
        if self.view.ready().bound(seat) > self.now.at {
            return false;
        }
        let place = self.view.seat(seat);
        if let Err(bound) = self.stock.pays(place, self.tokens(), self.now) {
            if bound > self.now.at {
                self.view.bound(seat, bound);
            }
            return false;
        }
        if self.ask.is_open() && self.ahead.is_empty() {
            return true;
        }
        let key = &self.stock[self.key(seat)];
        !self.ask.excludes(&key.settings.id)
            && !self
                .ahead
                .iter()
                .any(|ask| serves(&ask.request.filter, key) && !ask.excludes(&key.settings.id))
    }

    fn first_affordable(&mut self, seats: Range<usize>) -> Option<usize> {
        let mut from = seats.start;
        while let Some(seat) = self.view.ready().first_due(from, seats.end, self.now.at) {
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
        let seats: Vec<usize> = listed.flat_map(|&key| self.view.seats_of(key)).collect();
        seats.into_iter().find(|&seat| self.affordable(seat))
    }

    /// The affordable seat that the user ranks first.
    fn ranked_first(&mut self, user: u64, tier: usize) -> Option<usize> {
        let now = self.now.at;
        let mut search = Search::of(user, self.view.ring(tier, &self.stock.keys), now);
        for _ in 0..MOST_LOOKS {
            let ring = self.view.ring(tier, &self.stock.keys);
            let (seat, place) = search.first(ring)?;
            if self.affordable(seat) {
                return Some(seat);
            }
            search.pass(place, self.view.ring(tier, &self.stock.keys), now);
        }
        // Few keys can pay, or none that much: a look at each of them is shorter now.
        let seats = self.view.tiers[tier].seats.clone();
        let mut best: Option<(u64, usize)> = None;
        let mut from = seats.start;
        while let Some(seat) = self.view.ready().first_due(from, seats.end, now) {
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
        let mut best: Option<(f64, usize)> = None;
        let small = tier.len() <= SMALL_TIER;
        let mut look = |choice: &mut Self, seat: usize| {
            let group = choice.stock.places(choice.key(seat)).group;
            let used = if small {
                choice.stock.exact_standing(group, choice.now).used
            } else {
                choice.stock.standing(group, choice.now).used_about(choice.now)
            };
            if best.is_none_or(|(least, _)| used < least) {
                best = Some((used, seat));
            }
        };
        if small {
            for seat in (from..tier.end).chain(tier.start..from) {
                if self.affordable(seat) {
                    look(self, seat);
                }
            }
        } else {
            for seat in self.sample(tier).into_iter().flatten() {
                look(self, seat);
            }
        }
        best.map(|(_, seat)| seat)
    }

    /// Some affordable seats of a large tier.
    fn sample(&mut self, tier: &Range<usize>) -> [Option<usize>; SAMPLE] {
        let mut draws = [None; SAMPLE];
        for draw in &mut draws {
            let from = tier.start + self.random.index(tier.len());
            *draw = self.due_around(from, tier);
        }
        self.stock.fetch_standings(draws.iter().flatten().map(|&seat| self.key(seat)));
        for draw in &mut draws {
            let Some(seat) = draw.filter(|&seat| !self.affordable(seat)) else { continue };
            *draw = self.next_around(seat, tier);
            if draw.is_none() {
                // Nor would another look around the tier find one.
                return [None; SAMPLE];
            }
        }
        draws
    }

    /// The first seat from `from` on, around the tier, that may be free.
    fn due_around(&self, from: usize, tier: &Range<usize>) -> Option<usize> {
        let (ready, now) = (self.view.ready(), self.now.at);
        ready.first_due(from, tier.end, now).or_else(|| ready.first_due(tier.start, from, now))
    }

    /// An affordable seat drawn in proportion to `weight`.
    fn drawn(
        &mut self,
        tier: &Range<usize>,
        weight: impl Fn(&Self, usize) -> u64,
    ) -> Option<usize> {
        let mut candidates: Vec<usize> = if tier.len() <= SMALL_TIER {
            tier.clone().filter(|&seat| self.affordable(seat)).collect()
        } else {
            self.sample(tier).into_iter().flatten().collect()
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

//! The keys of a tier on the circle of [`affinity`]: finds the key that a user ranks first without
//! a look at every key.

use super::affinity::{self, POINTS};
use super::ready::Ready;
use super::time::Instant;

/// So many keys are looked at each by itself. If the first one that may be free is within one of
/// so many parts of the circle, there are mostly more than these.
const FEW: usize = 8;
const PARTS: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Ring {
    /// The points of the keys in order, and the seats of these keys.
    keys: Vec<u64>,
    seats: Vec<u32>,
    /// The place of the first key of each arc; arcs are as long as the keys lie apart on average.
    arcs: Vec<u32>,
    /// What is left of a point shifted by this is its arc.
    shift: u32,
    /// The first seat of the tier, and the place of each one from there on.
    first_seat: usize,
    places: Vec<u32>,
    /// The bounds of the seats, in the order of the circle.
    ready: Ready,
}

/// A search for the key that a user ranks first: the next place from each of the user's points on,
/// with its distance, or none once the point has been all around. If few keys may be free it begins
/// with each of them, and the distance from the point that is next to it.
pub(super) struct Search([Option<(u64, usize)>; POINTS]);

impl Ring {
    /// A circle of the seats from `first_seat` on, with the hash of the key of each and its bound.
    pub(super) fn new(
        first_seat: usize,
        seats: impl ExactSizeIterator<Item = (u64, Instant)>,
    ) -> Self {
        let mut ready = Ready::new(seats.len());
        let mut places = vec![0; seats.len()];
        let (mut keys, mut bounds) = (Vec::new(), Vec::new());
        for (place, (hash, bound)) in (0_u32..).zip(seats) {
            keys.push((affinity::point(hash), place));
            bounds.push(bound);
        }
        keys.sort_unstable();
        for (place, (_, seat)) in (0_u32..).zip(&keys) {
            places[*seat as usize] = place;
            ready.set(place as usize, bounds[*seat as usize]);
        }
        let (keys, seats): (Vec<u64>, Vec<u32>) = keys.into_iter().unzip();
        // Two arcs at least: a point cannot be shifted by all its bits.
        let bits = keys.len().max(2).next_power_of_two().trailing_zeros();
        let shift = u64::BITS - bits;
        let mut arcs = Vec::with_capacity(1 << bits);
        let mut before = 0_u32;
        for arc in 0..1_u64 << bits {
            while keys.get(before as usize).is_some_and(|at| at >> shift < arc) {
                before += 1;
            }
            arcs.push(before);
        }
        Self { keys, seats, arcs, shift, first_seat, places, ready }
    }

    /// Has memory bring the bound of `seat`.
    pub(super) fn fetch(&self, seat: usize) -> u64 {
        self.ready.bound(self.places[seat - self.first_seat] as usize).as_nanos()
    }

    /// Sets the bound of `seat`.
    pub(super) fn set(&mut self, seat: usize, bound: Instant) {
        self.ready.set(self.places[seat - self.first_seat] as usize, bound);
    }

    /// The first key at or after `point` on the circle that may be free at `now`, and how far it is.
    fn next_due(&self, point: u64, from: usize, now: Instant) -> Option<(u64, usize)> {
        let count = self.keys.len();
        let ahead = self.ready.first_due(from, count, now);
        let place = ahead.or_else(|| self.ready.first_due(0, from.min(count), now))?;
        Some((self.keys[place].wrapping_sub(point), place))
    }

    /// The place of the first key of the arc of `point`.
    fn arc_of(&self, point: u64) -> usize {
        self.arcs[usize::try_from(point >> self.shift).unwrap_or(0)] as usize
    }

    /// The place of the first key at or after `point`, whose arc begins at `begin`; one past the
    /// last if that is the next.
    fn place_of(&self, point: u64, begin: usize) -> usize {
        let before = self.keys[begin..].iter().take_while(|at| **at < point);
        begin + before.count()
    }

    /// The places of the keys that may be free, if they are few.
    fn few_due(&self, now: Instant) -> Option<[Option<usize>; FEW]> {
        let mut from = self.ready.first_due(0, self.keys.len(), now).unwrap_or(self.keys.len());
        if self.keys.len() > FEW && from < self.keys.len() / PARTS {
            return None;
        }
        let mut next = || {
            let place = self.ready.first_due(from, self.keys.len(), now);
            from = place.map_or(self.keys.len(), |place| place + 1);
            place
        };
        let due = std::array::from_fn(|_| next());
        next().is_none().then_some(due)
    }
}

impl Search {
    /// Begins the search of `user`.
    pub(super) fn of(user: u64, ring: &Ring, now: Instant) -> Self {
        let points = affinity::points(user);
        if let Some(due) = ring.few_due(now) {
            let near = |place: usize| {
                let far = points.map(|point| ring.keys[place].wrapping_sub(point));
                (far.into_iter().min().unwrap_or(u64::MAX), place)
            };
            let mut nearest = [None; POINTS];
            nearest[..FEW].copy_from_slice(&due.map(|place| place.map(near)));
            return Self(nearest);
        }
        // One step of every point after the other: so memory is asked for all of them at once.
        let begins = points.map(|point| ring.arc_of(point));
        let places: [usize; POINTS] = std::array::from_fn(|n| ring.place_of(points[n], begins[n]));
        Self(std::array::from_fn(|n| ring.next_due(points[n], places[n], now)))
    }

    /// The seat that the user ranks first of those that may be free and were not passed over, and
    /// its place.
    pub(super) fn first(&self, ring: &Ring) -> Option<(usize, usize)> {
        let (_, place) = self.0.iter().flatten().min()?;
        Some((ring.first_seat + ring.seats[*place] as usize, *place))
    }

    /// Passes the key at `place` over.
    pub(super) fn pass(&mut self, place: usize, ring: &Ring, now: Instant) {
        for next in &mut self.0 {
            if let Some((far, _)) = next.filter(|(_, at)| *at == place) {
                let point = ring.keys[place].wrapping_sub(far);
                // What is no further on is where the search began.
                *next = ring.next_due(point, place + 1, now).filter(|(further, _)| *further > far);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_the_keys_in_the_order_in_which_the_user_ranks_them(
            due in prop::collection::vec(any::<bool>(), 1..200),
            salt in any::<u64>(),
            user in any::<u64>(),
        ) {
            let hash = |seat: usize| affinity::mix(salt.wrapping_add(seat as u64));
            let bound = |due: bool| if due { Instant::ZERO } else { Instant::NEVER };
            let ring = Ring::new(
                5,
                due.iter().enumerate().map(|(seat, &due)| (hash(seat), bound(due))),
            );
            let mut ranked: Vec<usize> = (0..due.len()).filter(|&seat| due[seat]).collect();
            ranked.sort_by_key(|&seat| std::cmp::Reverse(affinity::rank(user, hash(seat))));

            let mut search = Search::of(user, &ring, Instant::ZERO);
            let mut found = Vec::new();
            while let Some((seat, place)) = search.first(&ring) {
                if found.last() != Some(&(seat - 5)) {
                    found.push(seat - 5);
                }
                search.pass(place, &ring, Instant::ZERO);
            }
            found.dedup();
            let mut seen = std::collections::HashSet::new();
            found.retain(|seat| seen.insert(*seat));
            prop_assert_eq!(found, ranked);
        }
    }
}

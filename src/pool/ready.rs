//! An index of seats by the time at which they can pay: a tree of minima.
//!
//! It holds *lower bounds*. A bound that is too low costs a look and is then raised; one that is
//! too high would hide a seat, so whoever makes a seat free earlier must lower it at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::time::Instant;

/// How many nodes have a parent in common: as many as are in one line of the processor's cache, so
/// that a step of a search is one look into memory.
const WIDTH: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Ready {
    seats: usize,
    /// The bounds of the seats, then the least of each line of them, and so on up to a level of one
    /// line. Each level is filled up with [`Instant::NEVER`].
    levels: Vec<Vec<Line>>,
}

/// Nodes with a parent in common.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([Instant; WIDTH]);

impl Line {
    /// Which of its nodes are due, a bit for each: there is nothing to guess about it, as there is
    /// about how soon one is found.
    fn due(&self, now: Instant) -> u32 {
        let due = |(place, bound): (usize, &Instant)| u32::from(*bound <= now) << place;
        self.0.iter().enumerate().map(due).fold(0, |all, due| all | due)
    }

    fn least(&self) -> Instant {
        self.0.iter().copied().fold(Instant::NEVER, Instant::min)
    }
}

impl Ready {
    /// An index of `seats` seats, each of which may be free already.
    pub(super) fn new(seats: usize) -> Self {
        let (mut levels, mut nodes) = (Vec::new(), seats);
        loop {
            let lines = nodes.div_ceil(WIDTH).max(1);
            let mut level = vec![Line([Instant::ZERO; WIDTH]); lines];
            level[lines - 1].0[nodes - (lines - 1) * WIDTH..].fill(Instant::NEVER);
            levels.push(level);
            if lines == 1 {
                return Self { seats, levels };
            }
            nodes = lines;
        }
    }

    /// The bound of `seat`.
    pub(super) fn bound(&self, seat: usize) -> Instant {
        self.levels[0][seat / WIDTH].0[seat % WIDTH]
    }

    /// Sets the bound of `seat`.
    pub(super) fn set(&mut self, seat: usize, bound: Instant) {
        let (mut node, mut least) = (seat, bound);
        for level in &mut self.levels {
            let line = &mut level[node / WIDTH];
            if line.0[node % WIDTH] == least {
                return;
            }
            line.0[node % WIDTH] = least;
            node /= WIDTH;
            least = line.least();
        }
    }

    /// The first seat in `from..to` whose bound is not after `now`.
    pub(super) fn first_due(&self, from: usize, to: usize, now: Instant) -> Option<usize> {
        if from >= to || to > self.seats {
            return None;
        }
        let (mut depth, mut node) = (0, from);
        // Up to the first node at or right of `from` that holds a seat that is due …
        loop {
            let line = self.levels.get(depth)?.get(node / WIDTH)?;
            let due = line.due(now) >> (node % WIDTH);
            if due != 0 {
                node += due.trailing_zeros() as usize;
                break;
            }
            depth += 1;
            node = node / WIDTH + 1;
        }
        // … and down to its leftmost one.
        while depth > 0 {
            depth -= 1;
            let due = self.levels[depth][node].due(now);
            node = node * WIDTH + due.trailing_zeros() as usize;
        }
        (node < to).then_some(node)
    }

    /// The seat with the least bound, the first of several; none if none is ever free.
    pub(super) fn least(&self) -> Option<(Instant, usize)> {
        let mut node = 0;
        let mut least = Instant::NEVER;
        for level in self.levels.iter().rev() {
            let children = &level[node].0;
            let mut first = 0;
            for (place, bound) in children.iter().enumerate() {
                if *bound < children[first] {
                    first = place;
                }
            }
            least = children[first];
            node = node * WIDTH + first;
        }
        (least < Instant::NEVER).then_some((least, node))
    }

    /// The seat that is free first, where `exact` tells the true time of a seat, which is never
    /// before its bound. `None` if none ever is.
    pub(super) fn first_free<T>(
        &self,
        mut exact: impl FnMut(usize) -> (Instant, T),
    ) -> Option<(Instant, T)> {
        let top = self.levels.len() - 1;
        let mut best: Option<(Instant, T)> = None;
        let nodes = |depth: usize, first: usize| {
            let bounds = self.levels[depth][first / WIDTH].0.iter().enumerate();
            bounds.map(move |(place, bound)| Reverse((*bound, top - depth, first + place)))
        };
        let mut open: BinaryHeap<_> = nodes(top, 0).collect();
        while let Some(Reverse((bound, below_top, node))) = open.pop() {
            let limit = best.as_ref().map_or(Instant::NEVER, |(at, _)| *at);
            if bound >= limit {
                break;
            }
            let depth = top - below_top;
            if depth > 0 {
                open.extend(nodes(depth - 1, node * WIDTH));
            } else {
                let found = exact(node);
                if found.0 < limit {
                    best = Some(found);
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            bounds in prop::collection::vec(0_u64..20, 1..200),
            from in 0_usize..200,
            to in 0_usize..200,
            now in 0_u64..20,
        ) {
            let at = Instant::from_nanos;
            let mut ready = Ready::new(bounds.len());
            for (seat, &bound) in bounds.iter().enumerate() {
                ready.set(seat, at(bound));
            }
            let to = to.min(bounds.len());
            let scanned = (from..to).find(|&seat| bounds[seat] <= now);
            prop_assert_eq!(ready.first_due(from, to, at(now)), scanned);

            let least = bounds.iter().copied().min().map(at);
            let found = ready.first_free(|seat| (at(bounds[seat]), seat));
            prop_assert_eq!(found, least.map(|least| {
                let first = bounds.iter().position(|&bound| at(bound) == least).unwrap();
                (least, first)
            }));
            prop_assert_eq!(ready.least(), found);
        }
    }

    #[test]
    fn an_index_of_no_seats_finds_none() {
        let ready = Ready::new(0);
        assert_eq!(ready.first_due(0, 0, Instant::ZERO), None);
        assert_eq!(ready.least(), None);
        assert_eq!(ready.first_free(|_| (Instant::ZERO, ())), None);
    }
}

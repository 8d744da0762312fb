//! An index of seats by the time at which they can pay: a tree of minima.
//!
//! It holds *lower bounds*. A bound that is too low costs a look and is then raised; one that is
//! too high would hide a seat, so whoever makes a seat free earlier must lower it at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::time::Instant;

#[derive(Clone, Debug)]
pub(super) struct Ready {
    seats: usize,
    /// The number of leaves: a power of two.
    leaves: usize,
    /// Node `n` is the minimum of nodes `2n` and `2n + 1`; the leaves are at the end.
    nodes: Vec<Instant>,
}

impl Ready {
    /// An index of `seats` seats, each of which may be free already.
    pub(super) fn new(seats: usize) -> Self {
        let leaves = seats.next_power_of_two();
        let mut ready = Self { seats, leaves, nodes: vec![Instant::NEVER; 2 * leaves] };
        ready.nodes[leaves..leaves + seats].fill(Instant::ZERO);
        for node in (1..leaves).rev() {
            ready.nodes[node] = ready.nodes[2 * node].min(ready.nodes[2 * node + 1]);
        }
        ready
    }

    /// Sets the bound of `seat`.
    pub(super) fn set(&mut self, seat: usize, bound: Instant) {
        let mut node = self.leaves + seat;
        self.nodes[node] = bound;
        while node > 1 {
            node /= 2;
            let least = self.nodes[2 * node].min(self.nodes[2 * node + 1]);
            if self.nodes[node] == least {
                break;
            }
            self.nodes[node] = least;
        }
    }

    /// The first seat in `from..to` whose bound is not after `now`.
    pub(super) fn first_due(&self, from: usize, to: usize, now: Instant) -> Option<usize> {
        if from >= to || to > self.seats {
            return None;
        }
        let mut node = self.leaves + from;
        // Up to the first subtree at or right of `from` that holds a seat that is due …
        while self.nodes[node] > now {
            while node & 1 == 1 {
                node >>= 1;
            }
            if node == 0 {
                return None;
            }
            node += 1;
        }
        // … and down to its leftmost one.
        while node < self.leaves {
            node *= 2;
            if self.nodes[node] > now {
                node += 1;
            }
        }
        let seat = node - self.leaves;
        (seat < to).then_some(seat)
    }

    /// The seat that is free first, where `exact` tells the true time of a seat, which is never
    /// before its bound. `None` if none ever is.
    pub(super) fn first_free<T>(
        &self,
        mut exact: impl FnMut(usize) -> (Instant, T),
    ) -> Option<(Instant, T)> {
        let mut best: Option<(Instant, T)> = None;
        let mut open = BinaryHeap::from([Reverse((self.nodes[1], 1))]);
        while let Some(Reverse((bound, node))) = open.pop() {
            let limit = best.as_ref().map_or(Instant::NEVER, |(at, _)| *at);
            if bound >= limit {
                break;
            }
            if node < self.leaves {
                for child in [2 * node, 2 * node + 1] {
                    open.push(Reverse((self.nodes[child], child)));
                }
            } else {
                let found = exact(node - self.leaves);
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
            bounds in prop::collection::vec(0_u64..20, 1..40),
            from in 0_usize..40,
            to in 0_usize..40,
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
            prop_assert_eq!(found.map(|(free, _)| free), least);
        }
    }
}

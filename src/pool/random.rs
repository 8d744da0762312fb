//! Random numbers for the random strategies: seeded, so that a pool decides alike each time.

use super::affinity::{GOLDEN, mix};

/// The splitmix64 generator.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`, which is not zero. The bias is below 2^-32 for the ends used here.
    pub(super) fn below(&mut self, end: u128) -> u128 {
        self.0 = self.0.wrapping_add(GOLDEN);
        (u128::from(mix(self.0)) * end) >> 64
    }

    /// An index into a slice of `len` elements.
    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u128)).unwrap_or(0)
    }
}

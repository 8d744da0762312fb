//! Mutations of seeds, the same in every run.

/// A splitmix64 generator.
pub(super) struct Mutator(u64);

/// Bytes that mean something to one target or another.
const TELLING: &[u8] = b"\0\n\r\t \"'#%&,-./0129:;<=>@AZ[\\]_az{|}~\x7f\x80\xff";

impl Mutator {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap() % end
    }

    /// One of `seeds`, with up to four changes.
    pub(super) fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, seeds);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let from = self.below(bytes.len() + 1);
        let to = from + self.below((bytes.len() - from).min(40) + 1);
        match self.below(7) {
            0 if from < bytes.len() => bytes[from] ^= 1 << self.below(8),
            1 if from < bytes.len() => bytes[from] = TELLING[self.below(TELLING.len())],
            2 => bytes.insert(from, TELLING[self.below(TELLING.len())]),
            3 => drop(bytes.drain(from..to)),
            4 => {
                let again = bytes[from..to].to_vec();
                bytes.splice(from..from, again);
            }
            5 => bytes.truncate(from),
            _ => {
                let other = &seeds[self.below(seeds.len())];
                let start = self.below(other.len() + 1);
                bytes.splice(from..to, other[start..].iter().take(40).copied());
            }
        }
    }
}

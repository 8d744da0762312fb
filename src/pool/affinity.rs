//! Sticky users by rendezvous hashing: every host ranks the keys alike for one user, and a key that
//! comes or goes moves only the users that rank it first.
//!
//! Keys and users have points on a circle: a key one, a user several. A user ranks the keys by how
//! soon they come after any of the user's points. That is a hash of both like any other, and one
//! whose highest rank is found without a look at every key ([`Ring`](super::ring::Ring)).

/// A hash of `text` that is the same on every host and in every version (FNV-1a, 64 bits).
pub(super) fn hash(text: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    text.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// How many points a user has. More of them share the users out more evenly and take longer: with
/// sixteen no key of eight has an eighth more or less than its share.
pub(super) const POINTS: usize = 16;

/// The points of a user, from the user's hash.
pub(super) fn points(user: u64) -> [u64; POINTS] {
    let mut bits = user;
    std::array::from_fn(|_| {
        bits = bits.wrapping_add(GOLDEN);
        mix(bits)
    })
}

/// The point of a key, from its hash.
pub(super) fn point(key: u64) -> u64 {
    mix(key)
}

/// The rank of a key for a user, from both their hashes: the highest wins.
pub(super) fn rank(user: u64, key: u64) -> u64 {
    let far = points(user).map(|from| point(key).wrapping_sub(from));
    !far.into_iter().min().unwrap_or(u64::MAX)
}

/// 2^64 divided by the golden ratio: its multiples lie evenly.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads every bit of `bits` over the result (the finalizer of splitmix64).
pub(super) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_alike_for_ever() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn ranks_each_of_eight_keys_first_for_an_eighth_of_the_users() {
        let keys: Vec<u64> = (0..8).map(|key| hash(&format!("key_{key:02}"))).collect();
        let mut users_of = [0_u32; 8];
        for user in 0..8000 {
            let user = hash(&format!("u-{user}"));
            let best = (0..8).max_by_key(|&key| rank(user, keys[key])).unwrap();
            users_of[best] += 1;
        }
        assert!(users_of.iter().all(|users| (875..1125).contains(users)), "{users_of:?}");
    }
}

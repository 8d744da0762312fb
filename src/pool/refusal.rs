//! Why a request got no key: an answer, not an error. It says when to come back.

use std::sync::Arc;

use super::group::WaitsFor;
use super::key::Unusable;
use super::settings::KeyId;
use super::time::Instant;

/// Why a request got no key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No matching key can pay now.
    Exhausted {
        /// When the request could be granted if no other call came before.
        free_at: Instant,
        /// What the first matching key waits for until then.
        waits_for: Option<WaitsFor>,
        /// How many requests wait before this one.
        waiting: usize,
    },
    /// No key offers any of the models.
    NoSuchModel {
        /// The models that keys offer.
        offered: Vec<Arc<str>>,
    },
    /// No matching key is usable, whatever its quota.
    NoUsableKey {
        /// Why, for each key.
        why: Vec<(KeyId, NoUse)>,
    },
    /// The tokens are more than any matching key can ever pay at once.
    TooManyTokens {
        /// The most that one can.
        most: u64,
    },
}

/// Why a key is of no use to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoUse {
    /// It serves nobody.
    Unusable(Unusable),
    /// It does not match the request, and why.
    Mismatch(String),
}

//! What an application asks for, and where it stands in a chain of attempts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::settings::KeyId;

/// The most tokens one request can name; more is no request of this world.
pub const MOST_TOKENS: u64 = 1_000_000_000;

/// One request for a key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SelectRequest {
    /// Which keys match.
    pub filter: Filter,
    /// The user who should get the same key each time.
    pub user: Option<String>,
    /// The tokens to reserve, at most [`MOST_TOKENS`].
    pub tokens: Option<u64>,
    /// Keys not to be used.
    pub exclude: Vec<KeyId>,
}

/// Which keys match a request.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Models in the order of preference; empty means any.
    pub models: Vec<Arc<str>>,
    /// The provider's name.
    pub provider: Option<Arc<str>>,
    /// The preferred workload type.
    pub workload: Option<Arc<str>>,
    /// Tags that a key must all have.
    pub tags: BTreeMap<String, String>,
}

/// A request and its attempts so far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) request: SelectRequest,
    /// The keys of the failed attempts of this chain.
    pub(super) tried: Vec<KeyId>,
    /// The last failed attempt.
    pub(super) after: Option<Failure>,
}

/// A failed attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) key: KeyId,
    pub(super) outcome: Outcome,
    pub(super) detail: Arc<str>,
}

impl Ask {
    pub(super) fn first(request: SelectRequest) -> Self {
        Self { request, tried: Vec::new(), after: None }
    }

    /// The next ask of the chain, after `failure`.
    pub(super) fn next(&self, failure: Failure) -> Self {
        let mut next = self.clone();
        next.tried.push(failure.key.clone());
        next.after = Some(failure);
        next
    }

    /// The number of this attempt, from 1.
    pub(super) fn attempt(&self) -> usize {
        self.tried.len() + 1
    }

    /// Whether any matching key may answer it.
    pub(super) fn is_open(&self) -> bool {
        self.request.exclude.is_empty() && self.tried.is_empty()
    }

    /// Whether this ask must not be answered with `key`.
    pub(super) fn excludes(&self, key: &KeyId) -> bool {
        self.request.exclude.contains(key) || self.tried.contains(key)
    }
}

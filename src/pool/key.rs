//! One key: what is configured, whether it is usable, and what came of its uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::affinity;
use super::breaker::ProviderIdx;
use super::group::GroupIdx;
use super::lease::LeaseSeq;
use super::probe::ProbeState;
use super::record::Record;
use super::settings::KeySettings;
use super::time::Instant;

/// The place of a key in the pool's list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(super) struct KeyIdx(pub(super) u32);

impl KeyIdx {
    /// The index of the `place`th key.
    pub(super) fn at(place: usize) -> Self {
        Self(u32::try_from(place).expect("fewer than 2^32 keys"))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) settings: Arc<KeySettings>,
    pub(super) group: GroupIdx,
    pub(super) provider: ProviderIdx,
    /// False once the configuration has dropped it; it stays while leases name it.
    pub(super) configured: bool,
    /// Its part of the rendezvous rank.
    pub(super) affinity: u64,
    /// Why there is no secret.
    pub(super) missing_secret: Option<NoSecret>,
    /// Why the provider does not accept it.
    pub(super) dead: Option<Arc<str>>,
    /// Models this key was refused for, and until when they are not tried again.
    pub(super) refused_models: BTreeMap<Arc<str>, Instant>,
    pub(super) last_granted: Option<LeaseSeq>,
    pub(super) record: Record,
    #[serde(skip)]
    pub(super) probe: ProbeState,
}

/// Why a key cannot be used, whatever its quota.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// Switched off in the configuration.
    Inactive,
    /// There is no secret, and why.
    MissingSecret(Arc<str>),
    /// The provider does not accept it, and what it said.
    Dead(Arc<str>),
    /// The request excludes it.
    Excluded,
}

/// Why a key has no secret, with what was looked up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NoSecret {
    /// It is being looked up.
    NotYet(Arc<str>),
    /// It was looked up in vain.
    Missing(Arc<str>),
}

impl NoSecret {
    /// Of a key that nobody has looked up.
    pub(super) fn not_looked_up() -> Self {
        Self::NotYet("not looked up yet".into())
    }

    /// Why, in words.
    pub const fn reason(&self) -> &Arc<str> {
        match self {
            Self::NotYet(reason) | Self::Missing(reason) => reason,
        }
    }
}

impl Key {
    pub(super) fn new(settings: Arc<KeySettings>, group: GroupIdx, provider: ProviderIdx) -> Self {
        Self {
            affinity: affinity::hash(settings.id.as_str()),
            settings,
            group,
            provider,
            configured: true,
            missing_secret: Some(NoSecret::not_looked_up()),
            dead: None,
            refused_models: BTreeMap::new(),
            last_granted: None,
            record: Record::default(),
            probe: ProbeState::default(),
        }
    }

    /// Why the key cannot be used, if it cannot.
    pub(super) fn unusable(&self) -> Option<Unusable> {
        if !self.settings.active || !self.configured {
            return Some(Unusable::Inactive);
        }
        let missing = self.missing_secret.as_ref().map(NoSecret::reason).cloned();
        let missing = missing.map(Unusable::MissingSecret);
        missing.or_else(|| self.dead.clone().map(Unusable::Dead))
    }

    pub(super) fn is_usable(&self) -> bool {
        self.settings.active
            && self.configured
            && self.missing_secret.is_none()
            && self.dead.is_none()
    }

    /// The earliest time from `now` on at which the key may be tried for `model`.
    pub(super) fn model_free_at(&self, model: Option<&Arc<str>>, now: Instant) -> Instant {
        let refused = model.and_then(|model| self.refused_models.get(model));
        refused.copied().unwrap_or(now).max(now)
    }
}

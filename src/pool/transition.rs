//! What a call changed, as data: the source of every log line, event and counter about state.

use std::sync::Arc;

use super::cooldown::CoolingReason;
use super::lease::LeaseId;
use super::outcome::{LearnedLimit, LimitKind, Outcome};
use super::settings::KeyId;
use super::time::WallTime;

/// One change of the pool.
#[derive(Clone, PartialEq, Debug)]
pub struct Transition {
    /// When it happened.
    pub at: WallTime,
    /// The key it happened to, or the first one of its group.
    pub key: KeyId,
    /// The key's provider.
    pub provider: Arc<str>,
    /// What happened.
    pub change: Change,
}

/// What happened to a key.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// Its group is cooling.
    Cooling {
        /// Every key of the group.
        keys: Vec<KeyId>,
        /// The end.
        until: WallTime,
        /// Why.
        reason: CoolingReason,
        /// What the provider said, in machine-readable words.
        detail: Arc<str>,
    },
    /// Its group's cooldown is over; one trial at a time from here.
    HalfOpen {
        /// Every key of the group.
        keys: Vec<KeyId>,
    },
    /// A trial succeeded: its group is back to normal.
    Recovered {
        /// Every key of the group.
        keys: Vec<KeyId>,
    },
    /// The provider does not accept it.
    Dead {
        /// Every key with this credential.
        keys: Vec<KeyId>,
        /// What the provider said, in machine-readable words.
        detail: Arc<str>,
    },
    /// It is accepted again.
    Revived {
        /// Why that is thought.
        reason: &'static str,
    },
    /// An administrator has had the failures of its group forgotten.
    Cleared {
        /// Every key of the group.
        keys: Vec<KeyId>,
    },
    /// It may not use a model for a while.
    ModelRefused {
        /// The model.
        model: Arc<str>,
        /// The end.
        until: WallTime,
        /// What the provider said, in machine-readable words.
        detail: Arc<str>,
    },
    /// It has no secret.
    SecretMissing {
        /// What was looked up, and why it was not found.
        reason: Arc<str>,
    },
    /// It has a secret again.
    SecretFound,
    /// A failed attempt went on with another key.
    Rotated {
        /// The key of the failed attempt.
        from: KeyId,
        /// What came of it.
        outcome: Outcome,
        /// What the provider said, in machine-readable words.
        detail: Arc<str>,
    },
    /// The used share of a limit has crossed the warning threshold.
    QuotaWarning {
        /// The limit.
        limit: LimitKind,
        /// How much of it is used.
        used: u64,
        /// How much there is.
        of: u64,
    },
    /// The provider names a limit below the configured one.
    LimitLearnt {
        /// The provider's limit.
        learnt: LearnedLimit,
        /// The configured limit; the largest number if there is none.
        configured: u64,
    },
    /// Its provider fails for several groups alike: nothing is sent to it for a while.
    ProviderDown {
        /// When a trial is made.
        until: WallTime,
        /// What the provider said last, in machine-readable words.
        detail: Arc<str>,
    },
    /// Its provider answers again.
    ProviderUp,
    /// A lease was never reported.
    LeaseExpired {
        /// The lease.
        lease: LeaseId,
    },
}

impl Change {
    /// The name used in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Cooling { .. } => "cooling",
            Self::HalfOpen { .. } => "half_open",
            Self::Recovered { .. } => "recovered",
            Self::Dead { .. } => "dead",
            Self::Revived { .. } => "revived",
            Self::Cleared { .. } => "cleared",
            Self::ModelRefused { .. } => "model_refused",
            Self::SecretMissing { .. } => "secret_missing",
            Self::SecretFound => "secret_found",
            Self::Rotated { .. } => "rotated",
            Self::QuotaWarning { .. } => "quota_warning",
            Self::LimitLearnt { .. } => "limit_learnt",
            Self::ProviderDown { .. } => "provider_down",
            Self::ProviderUp => "provider_up",
            Self::LeaseExpired { .. } => "lease_expired",
        }
    }
}

//! What came of a lease: the verdict of the caller or of a provider's answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The outcome of one use of a key. Which thing it blames decides what changes in the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The provider served the request.
    Success,
    /// The provider refused because a quota is used up: blames the quota group.
    RateLimited(RateLimit),
    /// The provider does not accept the key (invalid, expired, revoked, suspended): blames the key.
    AuthFailed,
    /// This key may not use this model: blames the pair.
    ModelRefused,
    /// The provider refuses the place or address the request came from: blames no key.
    EgressRefused,
    /// The provider failed (5xx, overloaded): blames the provider.
    ServerError,
    /// No answer in time, or no connection: blames the provider.
    Timeout,
    /// The request was wrong: blames the caller.
    ClientError,
    /// The caller gave up: blames nobody.
    Cancelled,
}

/// What a provider said when it refused for quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RateLimit {
    /// The delay the provider asked for.
    pub retry_after: Option<Duration>,
    /// Which quota is used up.
    pub spent: Spent,
    /// The true limit, where the provider names it.
    pub limit: Option<LearnedLimit>,
}

impl RateLimit {
    /// A refusal about which nothing is known.
    pub const UNKNOWN: Self = Self { retry_after: None, spent: Spent::Unknown, limit: None };
}

/// Which quota a provider says is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Spent {
    /// It did not say.
    #[default]
    Unknown,
    /// The quota of a minute or another short time.
    Minute,
    /// The quota of the day.
    Day,
    /// The money of the account; it comes back when somebody pays.
    Account,
    /// The spending limit of the month; it comes back on the first of the next month, UTC.
    Month,
}

/// A limit as the provider itself states it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LearnedLimit {
    /// What is limited.
    pub kind: LimitKind,
    /// The limit per minute or day.
    pub value: u64,
}

/// The limits a quota group can have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum LimitKind {
    /// Requests a minute.
    Rpm,
    /// Tokens a minute.
    Tpm,
    /// Requests a day.
    Rpd,
    /// Requests in flight.
    Concurrency,
}

impl LimitKind {
    /// All limits.
    pub const ALL: [Self; 4] = [Self::Rpm, Self::Tpm, Self::Rpd, Self::Concurrency];

    /// The name used in JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rpm => "rpm",
            Self::Tpm => "tpm",
            Self::Rpd => "rpd",
            Self::Concurrency => "concurrency",
        }
    }
}

impl Outcome {
    /// Every name that [`Outcome::name`] gives.
    pub const NAMES: [&'static str; 7] = [
        "success",
        "rate_limited",
        "auth_failed",
        "server_error",
        "timeout",
        "client_error",
        "cancelled",
    ];

    /// The name used in JSON and metrics: one of seven.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.place()]
    }

    /// The place of the name among [`Outcome::NAMES`].
    pub(super) const fn place(self) -> usize {
        match self {
            Self::Success => 0,
            Self::RateLimited(_) => 1,
            Self::AuthFailed => 2,
            Self::ServerError => 3,
            Self::Timeout => 4,
            Self::ModelRefused | Self::EgressRefused | Self::ClientError => 5,
            Self::Cancelled => 6,
        }
    }

    /// Whether another key could do better.
    pub const fn another_key_could_help(self) -> bool {
        match self {
            Self::RateLimited(_)
            | Self::AuthFailed
            | Self::ModelRefused
            | Self::ServerError
            | Self::Timeout => true,
            Self::Success | Self::EgressRefused | Self::ClientError | Self::Cancelled => false,
        }
    }
}

//! What the pool is told by the configuration: valid by construction, without secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::quota::is_sound_guard;
use super::sharing::Part;
use super::snapshot::FAR;
use super::time::ResetZone;

/// Everything the pool is told by the configuration.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PoolSettings {
    /// The keys in the order of their file; ids are unique.
    pub keys: Vec<Arc<KeySettings>>,
    /// Keys in the order of their use after a failure; the ids exist.
    pub fallback_order: Vec<KeyId>,
    /// How one of several equal keys is chosen.
    pub strategy: Strategy,
    /// The share of a limit, in (0, 1], whose use is worth a warning.
    pub warning_threshold: f64,
    /// The time by which a request may take longer from its grant to the provider's counter than
    /// another one; the minute windows are longer by it.
    pub delay_guard: Duration,
    /// The tokens reserved when the request does not say.
    pub default_tokens: u64,
    /// The first cooldown after a refusal without a delay; it doubles from there.
    pub cooldown_first: Duration,
    /// The longest cooldown.
    pub cooldown_max: Duration,
    /// How long a lease may stay unreported.
    pub lease_ttl: Duration,
    /// Whether refusals that were not expected pace a group.
    pub adaptive: bool,
}

impl PoolSettings {
    /// Whether a configuration could have given them.
    pub(super) fn is_sound(&self) -> bool {
        is_sound_guard(self.delay_guard) && self.keys.iter().all(|key| key.limits.is_sound())
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            fallback_order: Vec::new(),
            strategy: Strategy::default(),
            warning_threshold: 0.8,
            delay_guard: Duration::from_millis(500),
            default_tokens: 0,
            cooldown_first: Duration::from_secs(30),
            cooldown_max: Duration::from_hours(1),
            lease_ttl: Duration::from_mins(10),
            adaptive: true,
        }
    }
}

/// One key of the pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeySettings {
    /// The unique id.
    pub id: KeyId,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The models as written; empty means every model of the provider.
    pub models: Vec<Arc<str>>,
    /// The limits of its quota group.
    pub limits: Limits,
    /// The group whose limits it shares with others; its own if absent.
    pub quota_group: Option<Arc<str>>,
    /// What names its secret: keys with equal credentials die together.
    pub credential: Arc<str>,
    /// 1 is used first; absent is last.
    pub priority: Option<u64>,
    /// `light`, `heavy` or any word.
    pub workload: Option<Arc<str>>,
    /// Matched exactly.
    pub tags: BTreeMap<String, String>,
    /// The share of the grants under [`Strategy::Weighted`].
    pub weight: NonZeroU64,
    /// Whether it is in service.
    pub active: bool,
    /// Where the provider's day begins.
    pub reset_zone: ResetZone,
}

/// The limits of a quota group; absent means unlimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Requests a minute.
    pub rpm: Option<NonZeroU64>,
    /// Tokens a minute.
    pub tpm: Option<NonZeroU64>,
    /// Requests a day.
    pub rpd: Option<NonZeroU64>,
    /// Requests in flight.
    pub max_concurrent: Option<NonZeroU64>,
    /// Most requests at once after idling; `rpm` if absent.
    pub burst_capacity: Option<NonZeroU64>,
}

impl Limits {
    /// Whether a configuration could have given them.
    pub(super) fn is_sound(&self) -> bool {
        let Self { rpm, tpm, rpd, max_concurrent, burst_capacity } = self;
        let mut limits = [rpm, tpm, rpd, max_concurrent, burst_capacity].into_iter().flatten();
        limits.all(|limit| limit.get() < FAR)
    }

    /// So much of each, and whether that is enough for a single request. What is paced rather than
    /// limited is never less than one.
    pub(super) fn in_part(&self, part: Part) -> (Self, bool) {
        let cut = |limit: Option<NonZeroU64>| {
            let cut = limit.map(|limit| part.of_limit(limit.get()));
            (cut.map(|cut| NonZeroU64::new(cut).unwrap_or(NonZeroU64::MIN)), cut != Some(0))
        };
        let (rpm, pays) = cut(self.rpm);
        let (tpm, pays_tokens) = cut(self.tpm);
        let (max_concurrent, has_slot) = cut(self.max_concurrent);
        let (burst_capacity, _) = cut(self.burst_capacity);
        let limits = Self { rpm, tpm, rpd: self.rpd, max_concurrent, burst_capacity };
        (limits, pays && pays_tokens && has_slot)
    }

    /// Most requests at once, where requests a minute are limited.
    pub fn burst(&self) -> Option<u64> {
        let rpm = self.rpm?;
        Some(self.burst_capacity.unwrap_or(rpm).min(rpm).get())
    }
}

/// How one of several equal keys is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Strategy {
    /// One after another.
    RoundRobin,
    /// The one with the smallest used share of its limits.
    #[default]
    LeastUtilized,
    /// At random, in proportion to the weights.
    Weighted,
    /// At random.
    Random,
    /// The first of the fallback order.
    FallbackOrder,
}

impl Strategy {
    /// All strategies.
    pub const ALL: [Self; 5] =
        [Self::RoundRobin, Self::LeastUtilized, Self::Weighted, Self::Random, Self::FallbackOrder];

    /// The name used in keys.json and JSON answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastUtilized => "least_utilized",
            Self::Weighted => "weighted",
            Self::Random => "random",
            Self::FallbackOrder => "fallback_order",
        }
    }
}

/// The id of a key: 1 to 64 characters of `[A-Za-z0-9_.-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// The most characters an id has.
    pub const MAX_LENGTH: usize = 64;

    /// The id that `text` spells, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        (fits && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    /// Has memory bring what a copy of it writes to.
    pub(super) fn fetch(&self) -> u64 {
        Arc::strong_count(&self.0) as u64
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a key_id"))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

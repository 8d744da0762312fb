//! The keys of a measured pool: limits of every kind, two models, two regions, and quota groups.

use std::num::NonZeroU64;
use std::sync::Arc;

use keypool::clock::{Clock, JiffCalendar, ManualClock};
use keypool::pool::{KeyId, KeySettings, Limits, Now, Pool, PoolSettings, ResetZone};

pub(crate) const MODELS: [&str; 2] = ["gemini-2.0-flash", "gemini-2.5-pro"];
pub(crate) const REGIONS: [&str; 2] = ["eu", "us"];

/// Requests a minute of a key, and of two keys that share a quota group.
const RPM: u64 = 15;
const RPM_OF_TWO: u64 = 2 * RPM;

/// The tokens that each request names.
pub(crate) const TOKENS: u64 = 1000;

/// The settings of `count` keys, a multiple of four.
pub(crate) fn settings(count: usize) -> PoolSettings {
    PoolSettings {
        keys: (0..count).map(|place| key(place).into()).collect(),
        ..PoolSettings::default()
    }
}

/// Requests a minute that `count` keys allow together.
pub(crate) fn per_minute(count: usize) -> f64 {
    let keys = u32::try_from(count).map_or(f64::MAX, f64::from);
    keys * f64::from(u32::try_from(RPM).unwrap_or(u32::MAX))
}

/// Every eighth key and the one before it share a quota group; each other key is its own.
fn key(place: usize) -> KeySettings {
    let shares = place % 8 >= 6;
    let rpm = if shares { RPM_OF_TWO } else { RPM };
    let name = format!("key_{place:06}");
    KeySettings {
        id: KeyId::parse(&name).expect("a short name of letters and digits is an id"),
        provider: "gemini".into(),
        models: vec![MODELS[place / 2 % 2].into()],
        limits: Limits {
            rpm: NonZeroU64::new(rpm),
            tpm: NonZeroU64::new(4 * rpm * TOKENS),
            rpd: NonZeroU64::new(1_000_000),
            max_concurrent: NonZeroU64::new(100).filter(|_| place % 4 == 1),
            burst_capacity: NonZeroU64::new(5).filter(|_| place.is_multiple_of(4)),
        },
        quota_group: shares.then(|| format!("project_{}", place / 8).into()),
        credential: name.into(),
        priority: None,
        workload: None,
        tags: [("region".to_owned(), REGIONS[place % 2].to_owned())].into(),
        weight: NonZeroU64::MIN,
        active: true,
        reset_zone: ResetZone::new("America/Los_Angeles"),
    }
}

/// A pool of these keys that have their secrets, and the time there.
pub(crate) fn pool(settings: PoolSettings) -> (Pool, Now) {
    let now = Clock::Manual(ManualClock::default()).now();
    let secrets = settings.keys.iter().map(|key| (key.id.clone(), None)).collect();
    let mut pool = Pool::new(Arc::new(JiffCalendar), 1, 1);
    pool.reconfigure_with_secrets(settings, &secrets, now);
    pool.take_transitions();
    (pool, now)
}

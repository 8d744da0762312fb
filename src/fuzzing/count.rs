//! Counts what a pool grants, the simple way: everything is kept, and searched for every question.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::pool::{Instant, KeySettings, Lease, LimitKind, Now, Outcome, Report};

/// The longest window: a minute and the guard.
const SPAN: Duration = Duration::from_millis(60_500);

/// How long a lease lasts that is not reported.
const LEASE: Duration = Duration::from_mins(10);

/// What was granted, by quota group.
#[derive(Default)]
pub(super) struct Count(BTreeMap<String, Granted>);

/// What a quota group was seen to grant.
#[derive(Default)]
struct Granted {
    /// When, and on which day.
    requests: Vec<(Instant, i32)>,
    /// When, and how many of them are charged at least.
    tokens: Vec<(Instant, u64)>,
    /// The leases that are open, until when.
    open: BTreeMap<String, Instant>,
}

/// A lease as it was granted.
pub(super) struct Holding {
    pub(super) lease: Lease,
    /// What was asked for.
    pub(super) tokens: u64,
    group: String,
    /// Which of the group's tokens are its own.
    charge: usize,
}

impl Count {
    /// Takes note of a lease of `key`.
    pub(super) fn granted(
        &mut self,
        key: &KeySettings,
        lease: Lease,
        tokens: u64,
        now: Now,
    ) -> Holding {
        let group = group_of(key);
        let granted = self.0.entry(group.clone()).or_default();
        granted.requests.push((now.at, day(key, now)));
        granted.tokens.push((now.at, tokens));
        granted.open.insert(lease.id.to_string(), now.at.plus(LEASE));
        Holding { lease, tokens, group, charge: granted.tokens.len() - 1 }
    }

    /// A report lowers what is charged, if it says less or that nothing was served.
    pub(super) fn settled(&mut self, holding: &Holding, report: &Report) {
        let Some(granted) = self.0.get_mut(&holding.group) else { return };
        if granted.open.remove(&holding.lease.id.to_string()).is_none() {
            return;
        }
        let charge = &mut granted.tokens[holding.charge].1;
        let served = match report.outcome {
            Outcome::Success | Outcome::Timeout | Outcome::Cancelled => *charge,
            Outcome::RateLimited(_)
            | Outcome::AuthFailed
            | Outcome::ModelRefused
            | Outcome::EgressRefused
            | Outcome::ServerError
            | Outcome::ClientError => 0,
        };
        *charge = report.tokens_used.unwrap_or(served).min(*charge);
    }

    /// No interval of the window's length, no day and no moment has seen more than its limit.
    pub(super) fn check(&mut self, keys: &[Arc<KeySettings>], now: Now) {
        for key in keys {
            let Some(granted) = self.0.get_mut(&group_of(key)) else { continue };
            granted.open.retain(|_, expires| *expires > now.at);
            let recent = |at: Instant| at.plus(SPAN) > now.at;
            let requests = granted.requests.iter().filter(|(at, _)| recent(*at)).count() as u64;
            let today = day(key, now);
            let of_day = granted.requests.iter().filter(|(_, day)| *day == today).count() as u64;
            let tokens: u64 =
                granted.tokens.iter().filter(|(at, _)| recent(*at)).map(|(_, n)| *n).sum();
            let bound = |limit: Option<NonZeroU64>, used: u64, what: LimitKind| {
                let within = limit.is_none_or(|most| used <= most.get());
                assert!(within, "{used} of {limit:?} {what:?} of {}", key.id);
            };
            bound(key.limits.rpm, requests, LimitKind::Rpm);
            bound(key.limits.rpd, of_day, LimitKind::Rpd);
            bound(key.limits.tpm, tokens, LimitKind::Tpm);
            bound(key.limits.max_concurrent, granted.open.len() as u64, LimitKind::Concurrency);
        }
    }
}

/// Those that count together, wherever one of them has moved.
fn group_of(key: &KeySettings) -> String {
    let shared = key.quota_group.as_deref().filter(|group| !group.starts_with("own "));
    shared.unwrap_or(key.id.as_str()).to_owned()
}

/// The day of the key's provider.
fn day(key: &KeySettings, now: Now) -> i32 {
    super::calendar().day(&key.reset_zone, now.wall).number
}

//! The changes of the pool in words, for the log and for events.

use crate::clock::rfc3339;
use crate::pool::{Change, KeyId, Transition, WallTime};

/// A change in words.
#[derive(Default)]
pub(super) struct Told {
    pub(super) message: String,
    pub(super) keys: Vec<KeyId>,
    pub(super) from: Option<KeyId>,
    pub(super) reason: Option<String>,
    pub(super) until: Option<WallTime>,
}

impl Told {
    pub(super) fn of(transition: &Transition) -> Self {
        let change = &transition.change;
        let (reason, until) = reason_and_end(change);
        let from =
            if let Change::Rotated { from, .. } = change { Some(from.clone()) } else { None };
        Self { message: message(transition), keys: affected(change).to_vec(), from, reason, until }
    }
}

fn message(transition: &Transition) -> String {
    let (key, provider) = (&transition.key, &transition.provider);
    let names = names(affected(&transition.change), key);
    match &transition.change {
        Change::Cooling { until, reason, detail, .. } => {
            format!("{names} cooling until {}: {}", rfc3339(*until), said(reason.name(), detail))
        }
        Change::HalfOpen { .. } => format!("{names} half-open: one trial at a time"),
        Change::Recovered { .. } => format!("{names} recovered: the trial succeeded"),
        Change::Dead { detail, .. } => {
            format!("{names} dead: the provider rejects the key ({detail})")
        }
        Change::Revived { reason } => format!("{key} revived: {reason}"),
        Change::Cleared { .. } => format!("{names} cleared: its failures are forgotten"),
        Change::ModelRefused { model, until, detail } => format!(
            "{key} not used for {model} until {}: {}",
            rfc3339(*until),
            said("the provider refuses the model to this key", detail)
        ),
        Change::SecretMissing { reason } => format!("{key} has no secret: {reason}"),
        Change::SecretFound => format!("{key} has its secret again"),
        Change::SecretChanged => format!("{key} has another secret"),
        Change::Rotated { from, outcome, detail } => {
            format!("rotated from {from} to {key} after {}", said(outcome.name(), detail))
        }
        Change::QuotaWarning { limit, used, of } => {
            format!("{key} has used {used} of {of} {}", limit.name())
        }
        Change::LimitLearnt { learnt, configured } => format!(
            "{key}: the provider names a limit of {} {}; {} is configured",
            learnt.value,
            learnt.kind.name(),
            if *configured == u64::MAX { "none".to_owned() } else { configured.to_string() }
        ),
        Change::ProviderDown { until, detail } => format!(
            "the provider {provider} fails for several keys alike; nothing is sent to it until {}: {}",
            rfc3339(*until),
            said("last answer", detail)
        ),
        Change::ProviderUp => format!("the provider {provider} answers again"),
        Change::LeaseExpired { lease } => format!("lease {lease} of {key} was never reported"),
    }
}

/// Every key that shares the fate of the first, where there can be several.
fn affected(change: &Change) -> &[KeyId] {
    match change {
        Change::Cooling { keys, .. }
        | Change::HalfOpen { keys }
        | Change::Recovered { keys }
        | Change::Dead { keys, .. }
        | Change::Cleared { keys } => keys,
        Change::Revived { .. }
        | Change::ModelRefused { .. }
        | Change::SecretMissing { .. }
        | Change::SecretFound
        | Change::SecretChanged
        | Change::Rotated { .. }
        | Change::QuotaWarning { .. }
        | Change::LimitLearnt { .. }
        | Change::ProviderDown { .. }
        | Change::ProviderUp
        | Change::LeaseExpired { .. } => &[],
    }
}

/// Why it happened, in a word or in the provider's codes, and when it ends.
fn reason_and_end(change: &Change) -> (Option<String>, Option<WallTime>) {
    let word = |reason: &str| Some(reason.to_owned());
    match change {
        Change::Cooling { until, reason, .. } => (word(reason.name()), Some(*until)),
        Change::ModelRefused { until, detail, .. } | Change::ProviderDown { until, detail } => {
            (word(detail), Some(*until))
        }
        Change::Dead { detail, .. } => (word(detail), None),
        Change::Revived { reason } => (word(reason), None),
        Change::SecretMissing { reason } => (word(reason), None),
        Change::Rotated { outcome, .. } => (word(outcome.name()), None),
        Change::QuotaWarning { limit, .. } => (word(limit.name()), None),
        Change::LimitLearnt { learnt, .. } => (word(learnt.kind.name()), None),
        Change::LeaseExpired { lease } => (Some(lease.to_string()), None),
        Change::HalfOpen { .. }
        | Change::Recovered { .. }
        | Change::Cleared { .. }
        | Change::SecretFound
        | Change::SecretChanged
        | Change::ProviderUp => (None, None),
    }
}

/// The first key, and how many share its fate.
fn names(keys: &[KeyId], first: &KeyId) -> String {
    match keys.len() {
        0 | 1 => first.to_string(),
        2 => format!("{first} and one more key of its group"),
        more => format!("{first} and {} more keys of its group", more - 1),
    }
}

fn said(reason: &str, detail: &str) -> String {
    if detail.is_empty() { reason.to_owned() } else { format!("{reason} ({detail})") }
}

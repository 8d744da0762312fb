//! What a reload writes to the log and to the journal: ids, places and reasons, and nothing that was said before.

use std::fmt::Write as _;

use crate::control::ReloadOutcome;
use crate::pool::{KeyChanges, KeyId};
use crate::server::Configured;
use crate::telemetry::ReloadNews;

/// Logs what a reload has made of `before`, and says what of it is worth an event.
pub(super) fn outcome(
    outcome: &ReloadOutcome,
    before: &Configured,
    now: &Configured,
) -> Vec<ReloadNews> {
    let mut news = Vec::new();
    let mut tell = |name, message: &str, keys| {
        news.push(ReloadNews { name, message: message.to_owned(), keys });
    };
    for warning in now.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
        tracing::warn!("{warning}");
    }
    if !now.needs_restart.is_empty() && now.needs_restart != before.needs_restart {
        let settings = now.needs_restart.join(", ");
        let message = format!("changed, but in use only after a restart: {settings}");
        tracing::warn!("{message}");
        tell("restart_needed", &message, Vec::new());
    }
    match outcome {
        ReloadOutcome::Applied { keys, .. } => {
            let in_use = format!("{}; {} keys from {}", rotation(now), now.keys, now.source);
            let generation = now.generation;
            // At the start every key is new, and nobody follows events yet.
            if before.generation == 0 {
                tracing::info!(generation, "{in_use}");
            } else {
                let message = in_use + &changes(keys);
                tracing::info!(generation, "{message}");
                tell("reloaded", &message, touched(keys));
            }
        }
        ReloadOutcome::Kept { errors } if *errors == before.errors => {
            tracing::debug!("the configuration is as invalid as before");
        }
        ReloadOutcome::Kept { errors } => {
            for error in errors {
                tracing::error!("{error}");
            }
            let count = errors.len();
            let message = format!(
                "the configuration is not taken ({count} errors); what was in use stays in use"
            );
            tracing::error!("{message}");
            tell("reload_failed", &message, Vec::new());
        }
        ReloadOutcome::Unchanged | ReloadOutcome::NeedsRestart { .. }
            if !before.errors.is_empty() =>
        {
            let message = "the configuration is valid again, and as it was";
            tracing::info!("{message}");
            tell("reloaded", message, Vec::new());
        }
        ReloadOutcome::Unchanged | ReloadOutcome::NeedsRestart { .. } => {
            tracing::debug!("the configuration is as it was");
        }
    }
    news
}

/// How many keys an event names, and how many of each kind a line does. An event is kept for long,
/// and a new file can change every key of a large pool.
const MOST_KEYS: usize = 100;
const MOST_NAMES: usize = 20;

fn touched(keys: &KeyChanges) -> Vec<KeyId> {
    let all = [&keys.added, &keys.removed, &keys.changed].into_iter().flatten();
    all.take(MOST_KEYS).cloned().collect()
}

fn rotation(now: &Configured) -> String {
    format!("rotation is {}: {}", if now.rotation { "on" } else { "off" }, now.rotation_why)
}

/// `; added a, b; removed c`
fn changes(keys: &KeyChanges) -> String {
    let mut told = String::new();
    let parts = [("added", &keys.added), ("removed", &keys.removed), ("changed", &keys.changed)];
    for (what, ids) in parts.into_iter().filter(|(_, ids)| !ids.is_empty()) {
        let names: Vec<&str> = ids.iter().take(MOST_NAMES).map(KeyId::as_str).collect();
        // Writing to a string does not fail.
        write!(told, "; {what} {}", names.join(", ")).ok();
        if ids.len() > MOST_NAMES {
            write!(told, " and {} more", ids.len() - MOST_NAMES).ok();
        }
    }
    if told.is_empty() { "; no key has changed".to_owned() } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_by_their_ids() {
        let ids = |names: &[&str]| names.iter().filter_map(|name| KeyId::parse(name)).collect();
        let keys = KeyChanges { added: ids(&["a", "b"]), removed: ids(&["c"]), changed: ids(&[]) };
        assert_eq!(changes(&keys), "; added a, b; removed c");
        assert_eq!(changes(&KeyChanges::default()), "; no key has changed");
        let many = vec![KeyId::parse("a").unwrap(); 10_000];
        let keys = KeyChanges { changed: many, ..KeyChanges::default() };
        assert!(changes(&keys).ends_with(", a and 9980 more"), "{}", changes(&keys));
        assert_eq!(touched(&keys).len(), MOST_KEYS);
    }
}

//! What a reload writes to the log: ids, places and reasons, and nothing that was said before.

use std::fmt::Write as _;

use crate::control::ReloadOutcome;
use crate::pool::{KeyChanges, KeyId};
use crate::server::Configured;

/// Logs what a reload has made of `before`.
pub(super) fn outcome(outcome: &ReloadOutcome, before: &Configured, now: &Configured) {
    for warning in now.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
        tracing::warn!("{warning}");
    }
    if !now.needs_restart.is_empty() && now.needs_restart != before.needs_restart {
        tracing::warn!(
            "changed, but in use only after a restart: {}",
            now.needs_restart.join(", ")
        );
    }
    match outcome {
        ReloadOutcome::Applied { keys, .. } => tracing::info!(
            generation = now.generation,
            "{}; {} keys from {}{}",
            rotation(now),
            now.keys,
            now.source,
            // At the start every key is new.
            if before.generation == 0 { String::new() } else { changes(keys) },
        ),
        ReloadOutcome::Kept { errors } if *errors == before.errors => {
            tracing::debug!("the configuration is as invalid as before");
        }
        ReloadOutcome::Kept { errors } => {
            for error in errors {
                tracing::error!("{error}");
            }
            let count = errors.len();
            tracing::error!(
                "the configuration is not taken ({count} errors); what was in use stays in use"
            );
        }
        ReloadOutcome::Unchanged | ReloadOutcome::NeedsRestart { .. }
            if !before.errors.is_empty() =>
        {
            tracing::info!("the configuration is valid again, and as it was");
        }
        ReloadOutcome::Unchanged | ReloadOutcome::NeedsRestart { .. } => {
            tracing::debug!("the configuration is as it was");
        }
    }
}

fn rotation(now: &Configured) -> String {
    format!("rotation is {}: {}", if now.rotation { "on" } else { "off" }, now.rotation_why)
}

/// `; added a, b; removed c`
fn changes(keys: &KeyChanges) -> String {
    let mut told = String::new();
    let parts = [("added", &keys.added), ("removed", &keys.removed), ("changed", &keys.changed)];
    for (what, ids) in parts.into_iter().filter(|(_, ids)| !ids.is_empty()) {
        let ids: Vec<&str> = ids.iter().map(KeyId::as_str).collect();
        // Writing to a string does not fail.
        write!(told, "; {what} {}", ids.join(", ")).ok();
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
    }
}

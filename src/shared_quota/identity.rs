//! Who this daemon is in its fleet.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

/// The name under which the id lies in the state directory.
const FILE: &str = "fleet-id";

/// Who a daemon is in its fleet. It keeps its id with its state, so that after a restart it goes
/// on with the groups that it held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub(super) id: String,
    /// Tells this process from others with the same id.
    pub(super) life: String,
    /// Its host and process, for people.
    pub(super) name: String,
}

impl Identity {
    /// That of the daemon whose state is in `dir`; a new one if it keeps none.
    pub fn of(dir: Option<&Path>) -> Self {
        let id = dir.map_or_else(random, |dir| {
            let path = dir.join(FILE);
            let known = fs::read_to_string(&path).ok().filter(|id| is_id(id));
            known.unwrap_or_else(|| {
                let id = random();
                if let Err(error) = fs::write(&path, &id) {
                    tracing::warn!(
                        "{}: {error}; after a restart this daemon will be a new one to its fleet",
                        path.display()
                    );
                }
                id
            })
        });
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { id, life: random(), name: format!("{host}:{}", std::process::id()) }
    }

    /// The same under another id.
    pub(super) fn renewed(&self) -> Self {
        Self { id: random(), ..self.clone() }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A word that nobody else has.
pub(super) fn random() -> String {
    // Keyed by the system's random numbers.
    format!("{:016x}", RandomState::new().hash_one(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_with_a_state_keeps_its_id_and_begins_another_life() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::of(Some(dir.path()));
        let second = Identity::of(Some(dir.path()));
        assert_eq!(first.id, second.id);
        assert_ne!(first.life, second.life);
        assert_ne!(Identity::of(None).id, first.id);
    }

    #[test]
    fn what_is_no_id_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "no id").unwrap();
        assert!(is_id(&Identity::of(Some(dir.path())).id));
    }
}

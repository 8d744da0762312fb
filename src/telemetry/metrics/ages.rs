//! How old the secrets in use are.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use crate::background::{MOST_ROOM, let_go, unhurried};
use crate::pool::{Instant, KeyId};

/// When the secret of each key was last read.
#[derive(Debug, Default)]
pub struct SecretAges(RwLock<HashMap<KeyId, LastRead>>);

/// When a secret was last read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastRead {
    /// When that was.
    pub at: Instant,
    /// The age at which it is not used any more, if its store is asked again and again.
    pub max_stale: Option<Duration>,
}

impl SecretAges {
    /// The secret of `key` has been read.
    pub fn read(&self, key: KeyId, last: LastRead) {
        self.write().insert(key, last);
    }

    /// Every secret has been read, and there are those of `keys` alone.
    pub fn read_all(&self, keys: impl Iterator<Item = (KeyId, LastRead)>) {
        let most = keys.size_hint().1.unwrap_or(0).min(MOST_ROOM);
        let mut new = HashMap::with_capacity(most);
        new.extend(unhurried(keys));
        // Nobody waits until the old ones have been dropped.
        let old = std::mem::replace(&mut *self.write(), new);
        let_go(old);
    }

    /// When the secret of `key` was last read, if it has one.
    pub(super) fn of(&self, key: &KeyId) -> Option<LastRead> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<KeyId, LastRead>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

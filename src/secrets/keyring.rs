//! The secrets that are in use, by key.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Secret;
use crate::pool::KeyId;

/// The secrets that are in use, by key.
///
/// The secret of a key that has gone stays until the second [`Keyring::forget_gone`] from then:
/// somebody may have been granted the key a moment before.
#[derive(Debug, Default)]
pub struct Keyring {
    secrets: RwLock<Secrets>,
}

#[derive(Debug, Default)]
struct Secrets {
    used: HashMap<KeyId, Secret>,
    gone: HashMap<KeyId, Secret>,
    long_gone: HashMap<KeyId, Secret>,
}

impl Keyring {
    /// The secret of `key`.
    pub fn secret(&self, key: &KeyId) -> Option<Secret> {
        let secrets = self.read();
        let gone = || secrets.gone.get(key).or_else(|| secrets.long_gone.get(key));
        secrets.used.get(key).or_else(gone).cloned()
    }

    /// The secret of `key`, unless the key has gone.
    pub fn used(&self, key: &KeyId) -> Option<Secret> {
        self.read().used.get(key).cloned()
    }

    /// Puts the secret of `key` in use.
    pub fn insert(&self, key: KeyId, secret: Secret) {
        self.write().used.insert(key, secret);
    }

    /// `text`, with every secret that is known here taken out.
    pub fn scrub(&self, text: String) -> String {
        if text.is_empty() {
            return text;
        }
        let secrets = self.read();
        let known = [&secrets.used, &secrets.gone, &secrets.long_gone];
        let known = known.into_iter().flat_map(HashMap::values);
        known.fold(text, |text, secret| match secret.scrub(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(scrubbed) => scrubbed,
        })
    }

    /// Keeps the secrets of `keys` alone; the others have gone.
    pub fn retain(&self, keys: impl Fn(&KeyId) -> bool) {
        // Whoever wants a secret does not have to wait until all of them have been looked at.
        let gone: Vec<KeyId> = self.read().used.keys().filter(|key| !keys(key)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        let Secrets { used, gone: away, .. } = &mut *self.write();
        away.extend(gone.iter().filter_map(|key| used.remove_entry(key)));
    }

    /// Forgets the secrets that had gone at the last call of this.
    pub fn forget_gone(&self) {
        let mut secrets = self.write();
        secrets.long_gone = std::mem::take(&mut secrets.gone);
    }

    fn read(&self) -> RwLockReadGuard<'_, Secrets> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Secrets> {
        self.secrets.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_has_gone_is_there_a_while_longer() {
        let ring = Keyring::default();
        let key = KeyId::parse("flash_01").unwrap();
        ring.insert(key.clone(), Secret::new("fake-secret-flash-01"));
        ring.retain(|_| false);
        assert!(ring.used(&key).is_none());
        ring.forget_gone();
        assert!(ring.secret(&key).is_some());
        ring.forget_gone();
        assert!(ring.secret(&key).is_none());
    }
}

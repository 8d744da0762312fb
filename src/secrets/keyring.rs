//! The secrets that are in use, by key.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::Secret;
use crate::pool::KeyId;

/// The secrets that are in use, by key.
#[derive(Debug, Default)]
pub struct Keyring {
    secrets: RwLock<HashMap<KeyId, Secret>>,
}

impl Keyring {
    /// The secret of `key`.
    pub fn secret(&self, key: &KeyId) -> Option<Secret> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Puts the secret of `key` in use.
    pub fn insert(&self, key: KeyId, secret: Secret) {
        self.secrets.write().unwrap_or_else(PoisonError::into_inner).insert(key, secret);
    }

    /// Keeps the secrets of `keys` alone.
    pub fn retain(&self, keys: impl Fn(&KeyId) -> bool) {
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        secrets.retain(|key, _| keys(key));
    }
}

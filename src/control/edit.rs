//! Changes of the keys file, as administrators ask for them, and why they are not made.

use serde_json::Value;

use super::ReloadOutcome;
use crate::pool::KeyId;

/// A change of one entry of the keys file. Members are fields with their values; null takes a field
/// away.
#[derive(Clone, PartialEq, Debug)]
pub enum KeysEdit {
    /// There is to be another entry.
    Add {
        /// Its id.
        key_id: KeyId,
        /// Its other fields.
        members: Vec<(String, Value)>,
    },
    /// An entry is to be another.
    Change {
        /// Its id.
        key_id: KeyId,
        /// The fields that are to be others.
        members: Vec<(String, Value)>,
    },
    /// An entry is to go.
    Remove {
        /// Its id.
        key_id: KeyId,
    },
}

/// What came of a change: of the reload that put it in use, or why it was not made.
pub type EditOutcome = Result<ReloadOutcome, NotEdited>;

/// Why the keys file was not changed; it is as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotEdited {
    /// No entry has the `key_id`.
    NoSuchKey,
    /// An entry has the `key_id` already.
    KeyExists,
    /// Entries have no such field.
    UnknownField {
        /// What it was called.
        name: String,
        /// What it was meant to be called, or could be.
        hint: String,
    },
    /// The file would not be valid.
    Invalid {
        /// Every error with its place.
        errors: Vec<String>,
    },
    /// The keys are not in a file that can be changed; and where they are.
    NotEditable(String),
    /// Somebody else has changed the file at the same time.
    Conflict,
    /// The file cannot be written, and why.
    NotWritten(String),
}

impl KeysEdit {
    /// The entry it is about.
    pub fn key_id(&self) -> &KeyId {
        match self {
            Self::Add { key_id, .. } | Self::Change { key_id, .. } | Self::Remove { key_id } => {
                key_id
            }
        }
    }
}

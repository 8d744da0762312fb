//! Changing the keys file for administrators: the entry that is meant and nothing else, and only if
//! the whole file is valid afterwards. What was written is in use before anybody is told.
//!
//! Changes and reloads come one after another. Who edits the file by hand at the same time loses
//! nothing: the change is then not made.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::loading::{Loaded, Loader};
use crate::clock::rfc3339;
use crate::config::{self, KeysSource, NotSaved, with_changes, with_entry, without_entry};
use crate::control::{EditOutcome, KeysEdit, NotEdited};
use crate::pool::WallTime;
use crate::secrets::{Content, read_protected};
use crate::server::Service;

impl Loader {
    /// Makes a change of the keys file and puts it in use.
    pub(super) fn edit(&self, service: &Service, edit: &KeysEdit) -> EditOutcome {
        let mut loaded = self.loaded();
        let path = editable(&loaded)?;
        let read = read_protected(&path, Content::Configuration, self.process());
        let read = read
            .map_err(|refusal| NotEdited::NotEditable(format!("{}: {refusal}", path.display())))?;
        let now = service.clock.now().wall;
        // Text that is no UTF-8 is no keys file, and told as one that is not valid.
        let after = match std::str::from_utf8(&read.bytes) {
            Ok(text) => edited(text, edit, now)?,
            Err(_) => None,
        };
        let Some(after) = after else {
            let text = String::from_utf8_lossy(&read.bytes);
            judge(&loaded, &path, &text)?;
            let errors = vec![format!("{}: expected {{\"keys\": […]}}", path.display())];
            return Err(NotEdited::Invalid { errors });
        };
        judge(&loaded, &path, &after)?;
        config::save_over(&path, &read.bytes, &after).map_err(|error| match error {
            NotSaved::Conflict => NotEdited::Conflict,
            NotSaved::Failed { .. } => {
                NotEdited::NotWritten(format!("{}: {error}", path.display()))
            }
        })?;
        tracing::info!(key_id = %edit.key_id(), change = name(edit), "the keys file is changed");
        Ok(self.reload_locked(&mut loaded, service))
    }
}

/// The keys file, if it is one whose entries can be changed.
fn editable(loaded: &Loaded) -> Result<Arc<Path>, NotEdited> {
    match loaded.keys.as_ref().map(|keys| &keys.source) {
        Some(KeysSource::Json(path)) => Ok(path.clone()),
        // None was good so far; the one on the disk may be mended by the change.
        None => Ok(loaded.bootstrap.settings.keys.as_path().into()),
        Some(KeysSource::Plain(path)) => Err(NotEdited::NotEditable(format!(
            "{} is a plain file of one key a line; edit it by hand, or turn it into a keys.json \
             with `keypool import`",
            path.display()
        ))),
        Some(KeysSource::SingleKey) => Err(NotEdited::NotEditable(
            "rotation is off and the one key is a variable; there is no keys.json to change"
                .to_owned(),
        )),
    }
}

/// `text` after `edit`; none if it is no keys file.
fn edited(text: &str, edit: &KeysEdit, now: WallTime) -> Result<Option<String>, NotEdited> {
    let now = || Value::from(rfc3339(now));
    let edited = match edit {
        KeysEdit::Add { key_id, members } => {
            let mut members = members.clone();
            if !members.iter().any(|(name, _)| name == "created_at") {
                members.push(("created_at".to_owned(), now()));
            }
            members.push(("updated_at".to_owned(), now()));
            with_entry(text, key_id.as_str(), &members)
        }
        KeysEdit::Change { key_id, members } => {
            let updated = ("updated_at".to_owned(), now());
            let members: Vec<_> = members.iter().cloned().chain([updated]).collect();
            with_changes(text, key_id.as_str(), &members)
        }
        KeysEdit::Remove { key_id } => without_entry(text, key_id.as_str()),
    };
    match edited {
        Ok(text) => Ok(Some(text)),
        Err(config::NotEdited::NoKeysFile) => Ok(None),
        Err(config::NotEdited::NoSuchKey) => Err(NotEdited::NoSuchKey),
        Err(config::NotEdited::KeyExists) => Err(NotEdited::KeyExists),
        Err(config::NotEdited::UnknownField { name, hint }) => {
            Err(NotEdited::UnknownField { name, hint })
        }
    }
}

/// Whether `text` would be a valid keys file as a whole.
fn judge(loaded: &Loaded, path: &Arc<Path>, text: &str) -> Result<(), NotEdited> {
    loaded.bootstrap.judge_keys(path, text).map_err(|problems| NotEdited::Invalid {
        errors: problems.errors().map(ToString::to_string).collect(),
    })
}

/// What is done, in a word for the log.
const fn name(edit: &KeysEdit) -> &'static str {
    match edit {
        KeysEdit::Add { .. } => "add",
        KeysEdit::Change { .. } => "change",
        KeysEdit::Remove { .. } => "remove",
    }
}

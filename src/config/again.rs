//! Reading the configuration again while another reading is in use.
//!
//! Whoever saves a file may empty it or take it away for a moment. What such a moment looks like is
//! not taken for a decision: a file that had text and has none is an error, and so is a keys file
//! that has gone, although either would be valid at a start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::bootstrap::{Bootstrap, USUAL_FILES, bootstrap};
use super::flags::Flags;
use super::keys::{Keys, KeysSource};
use super::problem::{Problem, Problems};
use crate::pool::KeyId;
use crate::secrets::{Process, RemoteRef, SecretRef};

impl Bootstrap {
    /// Reads keypool.toml, the `.env` files it names, the variables and `flags` again. A file
    /// that was found once is not looked for elsewhere.
    pub fn again(&self, flags: &Flags, process: &Process) -> Result<Self, Problems> {
        let found = self.file.as_ref().map(|file| file.to_path_buf());
        let flags = Flags { config: found.or_else(|| flags.config.clone()), ..flags.clone() };
        let built = bootstrap(&flags, process)?;
        let emptied = built.blank.iter().filter(|path| self.had_text(path.as_ref()));
        let message = "is empty, as if it were about to be written; what it said before stays in \
                       use (a comment in it would say that it is meant)";
        let problems: Vec<_> = emptied.map(|path| Problem::error(message).in_file(path)).collect();
        if problems.is_empty() { Ok(built) } else { Err(Problems(problems)) }
    }

    fn had_text(&self, path: &std::path::Path) -> bool {
        let read = self.file.as_deref() == Some(path)
            || self.settings.env_files.iter().any(|file| file == path);
        read && !self.blank.iter().any(|blank| **blank == *path)
    }

    /// Reads the keys again, where `earlier` is in use.
    pub fn load_keys_again(&self, earlier: &Keys) -> Result<Keys, Problems> {
        let keys = self.load_keys()?;
        let rotated = match &earlier.source {
            KeysSource::Json(_) | KeysSource::Plain(_) => true,
            KeysSource::SingleKey => false,
        };
        if rotated && !keys.rotation.on && self.wish.is_none() {
            let message = "there is no such file any more, so its keys stay in use; to switch \
                           rotation off, set ENABLE_KEY_ROTATION=false";
            let problem = Problem::error(message).in_file(&self.settings.keys.as_path().into());
            return Err(problem.into());
        }
        Ok(keys)
    }

    /// Every file that was read, or would have been if it were there; those of secrets are told
    /// by [`Keys::files`].
    pub fn files(&self) -> Vec<PathBuf> {
        let usual = || USUAL_FILES.iter().map(PathBuf::from).collect();
        let mut files = self.file.as_ref().map_or_else(usual, |file| vec![file.to_path_buf()]);
        files.extend(self.settings.env_files.iter().cloned());
        files.push(self.settings.keys.clone());
        files
    }
}

impl Keys {
    /// Every file that holds a secret alone.
    pub fn files(&self) -> Vec<PathBuf> {
        self.secrets.values().filter_map(SecretRef::file).collect()
    }

    /// What keys want of stores on other machines.
    pub fn remote_secrets(&self) -> BTreeMap<KeyId, RemoteRef> {
        let remote =
            |(id, reference): (&KeyId, &SecretRef)| Some((id.clone(), reference.remote()?.clone()));
        self.secrets.iter().filter_map(remote).collect()
    }
}

/// Whether there is no text in `bytes`.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.trim_ascii().is_empty()
}

/// Paths of files without text.
pub(super) type Blank = Vec<Arc<std::path::Path>>;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            files.write("a.env", "GEMINI_KEY_a=fake-secret-a\n");
            files.write("keys.json", r#"{"keys": [{"key_id": "a"}]}"#);
            let [env, keys] = [files.path("a.env"), files.path("keys.json")];
            files.write("keypool.toml", &format!("env_files = [{env:?}]\nkeys = {keys:?}"));
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        fn flags(&self) -> Flags {
            Flags { config: Some(self.path("keypool.toml")), ..Flags::default() }
        }

        /// What a second reading says after `change`.
        fn after(&self, change: impl FnOnce(&Self)) -> Result<Keys, String> {
            let process = Process::new([]);
            let first = bootstrap(&self.flags(), &process).unwrap();
            let keys = first.load_keys().unwrap();
            change(self);
            let again = first.again(&Flags::default(), &process);
            let again = again.and_then(|built| built.load_keys_again(&keys));
            again.map_err(|problems| problems.to_string())
        }
    }

    fn remove(path: &Path) {
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_same_files_read_the_same() {
        assert_eq!(Files::new().after(|_| ()).unwrap().pool.keys.len(), 1);
    }

    #[test]
    fn a_file_that_was_emptied_is_an_error() {
        for name in ["a.env", "keypool.toml", "keys.json"] {
            let told = Files::new().after(|files| files.write(name, " \n")).unwrap_err();
            assert!(told.contains(name) && told.contains("is empty"), "{name}: {told}");
        }
        Files::new().after(|files| files.write("a.env", "# none\n")).unwrap();
    }

    #[test]
    fn a_file_that_was_empty_before_may_be_empty_again() {
        let files = Files::new();
        files.write("a.env", "");
        files.after(|files| files.write("keys.json", r#"{"keys": [{"key_id": "b"}]}"#)).unwrap();
    }

    #[test]
    fn a_file_that_has_gone_is_an_error() {
        for name in ["a.env", "keypool.toml", "keys.json"] {
            let told = Files::new().after(|files| remove(&files.path(name))).unwrap_err();
            assert!(told.contains(name) && told.contains("there is no such file"), "{told}");
        }
    }

    #[test]
    fn rotation_is_switched_off_by_a_word_and_not_by_a_file_that_has_gone() {
        let off = Files::new().after(|files| {
            remove(&files.path("keys.json"));
            files.write("a.env", "ENABLE_KEY_ROTATION=false\nGEMINI_API_KEY=fake-secret");
        });
        assert_eq!(off.unwrap().source, KeysSource::SingleKey);
    }
}

//! Finding a secret: at once where it is on this machine, and as far as it is known where it is
//! in a store that is asked over the network.

use std::fmt;
use std::path::Path;

use super::protected_file::{Content, FileRefusal, FileWarning, read_protected};
use super::{
    Environment, FailureClass, Process, RemoteRef, RemoteSecrets, Secret, SecretRef, Source,
    Unusable,
};
use crate::pool::WallTime;

/// The stores that are on this machine.
#[derive(Clone, Debug)]
pub struct Stores {
    /// The variables.
    pub environment: Environment,
    /// Whose rights count for files.
    pub process: Process,
}

/// A secret and where it was.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The secret; it fits an HTTP header.
    pub secret: Secret,
    /// Where it was.
    pub place: Place,
    /// When it was last written there, if that is known.
    pub changed_at: Option<WallTime>,
    /// What the file's mode gives cause for.
    pub warnings: Vec<FileWarning>,
}

/// Where a secret was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a variable.
    Variable {
        /// Its name.
        name: String,
        /// Where it is set.
        source: Source,
    },
    /// In a file of its own, or a line of the key file.
    File(String),
    /// In a store that is asked over the network.
    Remote(RemoteRef),
}

/// A secret that is not to be had: exactly what was looked up, and why not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{looked_up} {why}")]
pub struct MissingSecret {
    /// The exact variables or the path.
    pub looked_up: String,
    /// Why it cannot serve.
    pub why: Why,
}

/// Why a secret is not to be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Why {
    /// No such variable.
    #[error("is not set")]
    NotSet,
    /// The file does not serve.
    #[error("{0}")]
    File(String),
    /// systemd hands no credentials to this process.
    #[error(
        "cannot be read: CREDENTIALS_DIRECTORY is not set, which systemd does for a service with \
         LoadCredential="
    )]
    NoCredentials,
    /// The store that was asked does not give it.
    #[error("{text}")]
    Remote {
        /// What its last failure means; none if it has not been asked yet.
        class: Option<FailureClass>,
        /// Why, in words.
        text: String,
    },
    /// It is there, but is no key.
    #[error("{what} ({place})")]
    Unusable {
        /// What is wrong with it.
        what: Unusable,
        /// Where it is.
        place: String,
    },
}

impl Why {
    /// Whether nobody knows yet.
    pub const fn is_pending(&self) -> bool {
        matches!(self, Self::Remote { class: None, .. })
    }
}

impl Stores {
    /// The secret of `reference` and where it is. `remote` knows those of other machines.
    pub fn find(
        &self,
        reference: &SecretRef,
        remote: &RemoteSecrets,
    ) -> Result<Fetched, MissingSecret> {
        match reference {
            SecretRef::Variables(names) => self.find_variable(names),
            SecretRef::File(path) => self.find_file(path, Content::OneSecret),
            SecretRef::Credential { dir: Some(dir), name } => {
                self.find_file(&dir.join(name), Content::Credential)
            }
            SecretRef::Credential { dir: None, .. } => {
                let looked_up = reference.looked_up();
                Err(MissingSecret { looked_up, why: Why::NoCredentials })
            }
            SecretRef::Remote(reference) => remote.find(reference),
            SecretRef::Line { secret, .. } => {
                let place = Place::File(reference.looked_up());
                let looked_up = reference.looked_up();
                usable(Fetched::new(secret.clone(), place), looked_up)
            }
        }
    }

    fn find_file(&self, path: &Path, content: Content) -> Result<Fetched, MissingSecret> {
        let looked_up = path.display().to_string();
        let missing = |refusal: FileRefusal| MissingSecret {
            looked_up: looked_up.clone(),
            why: Why::File(refusal.to_string()),
        };
        let file = read_protected(path, content, &self.process).map_err(missing)?;
        let text = std::str::from_utf8(&file.bytes).map_err(|_| MissingSecret {
            looked_up: looked_up.clone(),
            why: Why::Unusable { what: Unusable::NotAscii, place: "file".to_owned() },
        })?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let secret = Secret::new(text.strip_suffix('\r').unwrap_or(text));
        let place = Place::File(looked_up.clone());
        let (changed_at, warnings) = (Some(file.modified), file.warnings);
        usable(Fetched { secret, place, changed_at, warnings }, looked_up)
    }

    fn find_variable(&self, names: &[String]) -> Result<Fetched, MissingSecret> {
        for name in names {
            if let Some(found) = self.environment.lookup(name) {
                let place = Place::Variable { name: name.clone(), source: found.source.clone() };
                return usable(Fetched::new(found.value.clone(), place), name.clone());
            }
        }
        Err(MissingSecret { looked_up: names.join(" or "), why: Why::NotSet })
    }
}

impl Fetched {
    /// A secret of which no more is known.
    fn new(secret: Secret, place: Place) -> Self {
        Self { secret, place, changed_at: None, warnings: Vec::new() }
    }
}

fn usable(fetched: Fetched, looked_up: String) -> Result<Fetched, MissingSecret> {
    match fetched.secret.usable() {
        Ok(()) => Ok(fetched),
        Err(what) => {
            let place = match fetched.place {
                Place::Variable { source, .. } => source.to_string(),
                Place::File(_) => "file".to_owned(),
                Place::Remote(reference) => reference.store.name().to_owned(),
            };
            Err(MissingSecret { looked_up, why: Why::Unusable { what, place } })
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { name, source } => write!(f, "{name} ({source})"),
            Self::File(path) => f.write_str(path),
            Self::Remote(reference) => reference.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::secrets::Store;

    fn stores(variables: &[(&str, &str)]) -> Stores {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let process = Process { umask: 0o022, ..Process::new(variables) };
        Stores { environment: Environment::new(&process), process }
    }

    fn nothing_remote() -> RemoteSecrets {
        RemoteSecrets::new(crate::clock::Clock::System)
    }

    fn from_env(variables: &[(&str, &str)], secret_name: Option<&str>) -> Result<String, String> {
        let reference = SecretRef::new(&Store::Env, "gemini", "flash_01", secret_name);
        let found = stores(variables).find(&reference, &nothing_remote());
        found.map(|found| found.secret.expose().to_owned()).map_err(|missing| missing.to_string())
    }

    fn from_file(bytes: &[u8], mode: u32) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flash_01");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let found = stores(&[]).find(&SecretRef::File(path.clone()), &nothing_remote());
        found
            .map(|found| found.secret.expose().to_owned())
            .map_err(|missing| missing.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn a_variable_is_found_by_provider_and_id() {
        let found = from_env(&[("GEMINI_KEY_flash_01", "fake-secret-flash-01")], None);
        assert_eq!(found.unwrap(), "fake-secret-flash-01");
    }

    #[test]
    fn a_secret_name_is_found_with_the_provider_first_and_else_as_written() {
        let both = [("GEMINI_KEY_team", "fake-secret-a"), ("team", "fake-secret-b")];
        assert_eq!(from_env(&both, Some("team")).unwrap(), "fake-secret-a");
        assert_eq!(from_env(&both[1..], Some("team")).unwrap(), "fake-secret-b");
    }

    #[test]
    fn a_missing_variable_is_told_by_its_exact_names() {
        assert_eq!(from_env(&[], None).unwrap_err(), "GEMINI_KEY_flash_01 is not set");
        let told = from_env(&[], Some("team")).unwrap_err();
        assert_eq!(told, "GEMINI_KEY_team or team is not set");
    }

    #[test]
    fn an_unusable_variable_is_told_with_its_place_and_without_its_text() {
        let told = from_env(&[("GEMINI_KEY_flash_01", "")], None).unwrap_err();
        assert_eq!(told, "GEMINI_KEY_flash_01 is empty (process environment)");
        let told = from_env(&[("GEMINI_KEY_flash_01", "canary\nx")], None).unwrap_err();
        assert!(!told.contains("canary"), "{told}");
    }

    #[test]
    fn a_file_holds_the_secret_and_one_line_end() {
        assert_eq!(from_file(b"fake-secret-flash-01\n", 0o600).unwrap(), "fake-secret-flash-01");
        assert_eq!(from_file(b"fake-secret-flash-01\r\n", 0o600).unwrap(), "fake-secret-flash-01");
        let told = from_file(b"fake-secret\nmore\n", 0o600).unwrap_err();
        assert!(told.contains("line break"), "{told}");
        assert_eq!(from_file(b"\n", 0o600).unwrap_err(), "FILE is empty (file)");
        assert!(from_file(b"\xff", 0o600).is_err());
    }

    #[test]
    fn a_file_that_everybody_can_write_does_not_serve() {
        let told = from_file(b"fake-secret-flash-01", 0o602).unwrap_err();
        assert!(told.contains("everybody can write"), "{told}");
    }
}

//! What exactly is looked up for a key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{RemoteRef, Secret, Store};

/// What exactly is looked up for a key.
#[derive(Clone, Debug)]
pub enum SecretRef {
    /// The first of these variables that is set.
    Variables(Vec<String>),
    /// A file that holds the secret alone.
    File(PathBuf),
    /// A credential that systemd hands to the service.
    Credential {
        /// `$CREDENTIALS_DIRECTORY`; none where systemd has not set it.
        dir: Option<PathBuf>,
        /// The name of the credential.
        name: String,
    },
    /// A secret of a store that is asked over the network.
    Remote(RemoteRef),
    /// A line of the plain-text key file.
    Line {
        /// The key it is.
        key_id: String,
        /// The secret itself.
        secret: Secret,
        /// The file.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
    },
}

impl SecretRef {
    /// What `store` looks up for a key: `secret_name` if it is given, else the id.
    pub fn new(store: &Store, provider: &str, key_id: &str, secret_name: Option<&str>) -> Self {
        let name = secret_name.unwrap_or(key_id);
        match store {
            Store::Env => {
                let mut names = vec![format!("{}_KEY_{name}", variable_prefix(provider))];
                names.extend(secret_name.map(str::to_owned));
                Self::Variables(names)
            }
            Store::File { dir } => Self::File(dir.join(name)),
            Store::Credentials { dir } => {
                Self::Credential { dir: dir.clone(), name: name.to_owned() }
            }
            Store::Remote { store, prefix } => Self::Remote(RemoteRef::new(*store, prefix, name)),
        }
    }

    /// A stable name of the credential: keys for which it is equal have the same secret.
    pub fn credential(&self) -> Arc<str> {
        match self {
            Self::Variables(names) => {
                format!("env:{}", names.first().map_or("", String::as_str)).into()
            }
            Self::File(path) => format!("file:{}", path.display()).into(),
            Self::Credential { name, .. } => format!("credentials:{name}").into(),
            Self::Remote(reference) => reference.identity().into(),
            Self::Line { key_id, .. } => format!("line:{key_id}").into(),
        }
    }

    /// What is looked up, for people: a variable, a path, or a line of a file.
    pub fn looked_up(&self) -> String {
        match self {
            Self::Variables(names) => names.join(" or "),
            Self::File(path) => path.display().to_string(),
            Self::Credential { dir: Some(dir), name } => dir.join(name).display().to_string(),
            Self::Credential { dir: None, name } => format!("$CREDENTIALS_DIRECTORY/{name}"),
            Self::Remote(reference) => reference.to_string(),
            Self::Line { path, line, .. } => format!("{}:{line}", path.display()),
        }
    }
}

impl SecretRef {
    /// The name of the store it is in.
    pub fn store(&self) -> &'static str {
        match self {
            Self::Variables(_) => "env",
            Self::File(_) | Self::Line { .. } => "file",
            Self::Credential { .. } => "credentials",
            Self::Remote(reference) => reference.store.name(),
        }
    }

    /// The file it is in, if it is in one that may be replaced.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Credential { dir, name } => Some(dir.as_ref()?.join(name)),
            Self::Variables(_) | Self::Line { .. } | Self::Remote(_) => None,
        }
    }

    /// The variables that are looked up, if any are.
    pub fn variables(&self) -> &[String] {
        match self {
            Self::Variables(names) => names,
            Self::File(_) | Self::Credential { .. } | Self::Line { .. } | Self::Remote(_) => &[],
        }
    }

    /// What is asked for over the network, if it is.
    pub fn remote(&self) -> Option<&RemoteRef> {
        match self {
            Self::Remote(reference) => Some(reference),
            Self::Variables(_) | Self::File(_) | Self::Credential { .. } | Self::Line { .. } => {
                None
            }
        }
    }
}

/// A provider's name as the beginning of a variable: `my-llm` becomes `MY_LLM`.
fn variable_prefix(provider: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    provider.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_up(store: &Store, provider: &str, secret_name: Option<&str>) -> (String, String) {
        let reference = SecretRef::new(store, provider, "flash_01", secret_name);
        (reference.looked_up(), reference.credential().to_string())
    }

    #[test]
    fn the_variable_is_made_of_provider_and_id() {
        let (names, credential) = looked_up(&Store::Env, "gemini", None);
        assert_eq!(names, "GEMINI_KEY_flash_01");
        assert_eq!(credential, "env:GEMINI_KEY_flash_01");
        assert_eq!(looked_up(&Store::Env, "my-llm.eu", None).0, "MY_LLM_EU_KEY_flash_01");
    }

    #[test]
    fn a_secret_name_stands_for_the_id_and_for_itself() {
        let (names, credential) = looked_up(&Store::Env, "gemini", Some("team_a"));
        assert_eq!(names, "GEMINI_KEY_team_a or team_a");
        assert_eq!(credential, "env:GEMINI_KEY_team_a");
    }

    #[test]
    fn the_file_is_named_after_the_secret_or_the_id() {
        let store = Store::File { dir: "secrets".into() };
        let named = looked_up(&store, "gemini", Some("team_a"));
        assert_eq!(named, ("secrets/team_a".to_owned(), "file:secrets/team_a".to_owned()));
        assert_eq!(looked_up(&store, "gemini", None).0, "secrets/flash_01");
    }

    #[test]
    fn debug_output_of_a_line_is_redacted() {
        let secret = Secret::new("fake-secret-flash-01");
        let path = Path::new("API_Keys.txt").into();
        let line = SecretRef::Line { key_id: "key_01".into(), secret, path, line: 3 };
        assert!(!format!("{line:?}").contains("fake"), "{line:?}");
        assert_eq!(line.looked_up(), "API_Keys.txt:3");
    }
}

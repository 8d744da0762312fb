//! The stores by name, and how they name secrets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::remote::RemoteStore;
use super::{Environment, Process};

/// A store, with what is needed to name a secret in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Store {
    /// Variables of the environment and of `.env` files.
    Env,
    /// One file per secret.
    File {
        /// The directory of the files.
        dir: PathBuf,
    },
    /// What systemd hands to the service.
    Credentials {
        /// The directory of the credentials; none where systemd has set none.
        dir: Option<PathBuf>,
    },
    /// A store that is asked over the network.
    Remote {
        /// Which.
        store: RemoteStore,
        /// What stands before the name of every secret.
        prefix: Arc<str>,
    },
}

/// The name of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreName {
    /// [`Store::Env`].
    Env,
    /// [`Store::File`].
    File,
    /// [`Store::Credentials`].
    Credentials,
    /// [`Store::Remote`].
    Remote(RemoteStore),
}

/// Where the stores have their secrets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StorePlaces {
    /// `[secrets] dir`
    pub dir: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`
    pub credentials: Option<PathBuf>,
    /// `VAULT_SECRET_PATH`
    pub vault_path: Option<Arc<str>>,
    /// `AWS_SECRET_PREFIX`
    pub aws_prefix: Option<Arc<str>>,
}

impl StoreName {
    /// All names.
    pub const ALL: [Self; 6] = [
        Self::Env,
        Self::File,
        Self::Credentials,
        Self::Remote(RemoteStore::Vault),
        Self::Remote(RemoteStore::Aws),
        Self::Remote(RemoteStore::Azure),
    ];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::File => "file",
            Self::Credentials => "credentials",
            Self::Remote(store) => store.name(),
        }
    }
}

impl StorePlaces {
    /// The places that the environment names, and `dir`.
    pub fn new(dir: Option<PathBuf>, environment: &Environment, process: &Process) -> Self {
        let set = |name: &str| {
            let value = environment.lookup(name)?.value.expose().trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let credentials = process.variable("CREDENTIALS_DIRECTORY").filter(|dir| !dir.is_empty());
        Self {
            dir,
            credentials: credentials.map(PathBuf::from),
            vault_path: set("VAULT_SECRET_PATH").map(Into::into),
            aws_prefix: set("AWS_SECRET_PREFIX").map(Into::into),
        }
    }

    /// The store called `name`, if these places are enough for it.
    pub fn store(&self, name: StoreName) -> Result<Store, &'static str> {
        Ok(match name {
            StoreName::Env => Store::Env,
            StoreName::File => {
                let dir = self.dir.clone().ok_or("the store file needs dir under [secrets]")?;
                Store::File { dir }
            }
            StoreName::Credentials => Store::Credentials { dir: self.credentials.clone() },
            StoreName::Remote(store @ RemoteStore::Vault) => {
                let path = self.vault_path.as_deref().unwrap_or("secret/keypool");
                Store::Remote { store, prefix: format!("{}/", path.trim_matches('/')).into() }
            }
            StoreName::Remote(store @ RemoteStore::Aws) => {
                let prefix = self.aws_prefix.clone().unwrap_or_else(|| "keypool/".into());
                Store::Remote { store, prefix }
            }
            StoreName::Remote(store @ RemoteStore::Azure) => {
                Store::Remote { store, prefix: "".into() }
            }
        })
    }
}

impl Store {
    /// Whether a secret of this store can be called `name`, which is not empty.
    pub fn takes(&self, name: &str) -> bool {
        let word = !name.contains([' ', '=']);
        match self {
            Self::Env => word,
            Self::File { .. } | Self::Credentials { .. } => {
                word && Path::new(name).file_name() == Some(name.as_ref())
            }
            Self::Remote { store: RemoteStore::Vault, .. } => {
                word && name.split('/').all(|part| !["", ".", ".."].contains(&part))
            }
            Self::Remote { store: RemoteStore::Aws, .. } => {
                name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+=.@-:".contains(&byte))
            }
            Self::Remote { store: RemoteStore::Azure, .. } => word && name.len() <= 127,
        }
    }

    /// What is expected of a name.
    pub const fn expects(&self) -> &'static str {
        match self {
            Self::Env => "expected the name of a secret without spaces",
            Self::File { .. } | Self::Credentials { .. } => {
                "expected the name of a file, without a directory"
            }
            Self::Remote { store: RemoteStore::Vault, .. } => {
                "expected the path of a secret below VAULT_SECRET_PATH, such as team/flash_01"
            }
            Self::Remote { store: RemoteStore::Aws, .. } => {
                "expected the name of a secret after AWS_SECRET_PREFIX, or its ARN"
            }
            Self::Remote { store: RemoteStore::Azure, .. } => {
                "expected the name of a secret, of at most 127 characters without spaces"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: StoreName) -> Store {
        let environment = Environment::default();
        let places = StorePlaces::new(Some("secrets".into()), &environment, &Process::new([]));
        places.store(name).unwrap()
    }

    #[test]
    fn remote_stores_have_their_usual_places() {
        let prefix = |name| match store(StoreName::Remote(name)) {
            Store::Remote { prefix, .. } => prefix.to_string(),
            Store::Env | Store::File { .. } | Store::Credentials { .. } => "none".to_owned(),
        };
        assert_eq!(RemoteStore::ALL.map(prefix), ["secret/keypool/", "keypool/", ""]);
    }

    #[test]
    fn places_are_set_by_variables() {
        let process = Process::new([
            ("VAULT_SECRET_PATH".into(), "/team/kv/".into()),
            ("AWS_SECRET_PREFIX".into(), " ".into()),
            ("CREDENTIALS_DIRECTORY".into(), "/run/credentials/x".into()),
        ]);
        let places = StorePlaces::new(None, &Environment::new(&process), &process);
        let vault = places.store(StoreName::Remote(RemoteStore::Vault)).unwrap();
        assert_eq!(vault, Store::Remote { store: RemoteStore::Vault, prefix: "team/kv/".into() });
        assert_eq!(places.aws_prefix, None, "nothing but space is not set");
        assert_eq!(places.credentials, Some("/run/credentials/x".into()));
        assert!(places.store(StoreName::File).unwrap_err().contains("[secrets]"));
    }

    #[test]
    fn names_fit_their_store() {
        let takes = |name, text: &str| store(name).takes(text);
        assert!(takes(StoreName::Env, "team_a") && !takes(StoreName::Env, "team a"));
        assert!(takes(StoreName::File, "team_a") && !takes(StoreName::File, "../team"));
        assert!(!takes(StoreName::Credentials, "a/b"));
        let [vault, aws, azure] = RemoteStore::ALL.map(StoreName::Remote);
        assert!(takes(vault, "team/flash_01") && !takes(vault, "../flash") && !takes(vault, "/a"));
        assert!(takes(aws, "arn:aws:secretsmanager:eu-central-1:0:secret:a-b") && !takes(aws, "ä"));
        assert!(takes(azure, "flash_01") && !takes(azure, &"a".repeat(128)));
    }
}

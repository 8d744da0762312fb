//! A Key Vault, because none can be had to test against: with the login service and the machine's
//! metadata service that clients of a vault need.
//!
//! It is judged from two sides: the store under test is Azure's Rust SDK, and
//! `tests/python/key_vault.py` is Azure's Python SDK, which must find everything as it expects.
//! One port speaks TLS, for the vault and the login service by their names; another speaks HTTP,
//! for the metadata service.

mod answer;
mod directory;
mod secrets;
mod server;
mod vault;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keypool::clock::Clock;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Authority;
use directory::Directory;
pub(crate) use directory::{ASSERTION, IDENTITY_HEADER, OFFICER, READER, READER_SECRET, TENANT};
use secrets::Secrets;
use server::Running;

/// The name of the vault.
pub(crate) const VAULT: &str = "pool.vault.localhost";
/// The name of another vault.
pub(crate) const OTHER_VAULT: &str = "other.vault.localhost";
/// The name of the login service.
pub(crate) const LOGIN: &str = "login.localhost";
/// What a token for a vault is for.
pub(crate) const RESOURCE: &str = "https://vault.localhost";

/// A running Key Vault. It ends with this value.
pub(crate) struct KeyVault {
    state: Arc<Mutex<State>>,
    tls: Arc<rustls::ServerConfig>,
    /// Where it serves HTTPS and HTTP; kept when it stops.
    ports: (u16, u16),
    running: Option<Running>,
    folder: tempfile::TempDir,
}

/// All that it knows.
#[derive(Debug, Default)]
struct State {
    secrets: Secrets,
    directory: Directory,
    mood: Mood,
    seen: Vec<Seen>,
}

/// How it answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Mood {
    /// As a Key Vault does.
    #[default]
    Faithful,
    /// The host of this name takes requests and does not answer.
    Silent(&'static str),
    /// The host of this name gives one answer to everything: the status, a header, the body.
    Always(&'static str, u16, Option<(&'static str, String)>, String),
    /// The vault says that a token for this resource is needed.
    Challenges(&'static str),
}

/// A request that came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// Whom it was for.
    pub(crate) host: String,
    /// Its path without the query.
    pub(crate) path: String,
    /// Whether a token came along.
    pub(crate) with_token: bool,
}

impl KeyVault {
    /// Starts it, with the secret `flash-01` in it.
    pub(crate) fn start() -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let folder = tempfile::tempdir().unwrap();
        // Each has its own.
        let authority = Authority::new(&folder.path().display().to_string());
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let tls = tls(&authority);
        let state = Arc::default();
        let (running, ports) = Running::start((0, 0), Arc::clone(&tls), Arc::clone(&state));
        let vault = Self { state, tls, ports, running: Some(running), folder };
        vault.set("flash-01", "fake-secret-flash-01");
        vault
    }

    /// Stops it: connections break, and there are no new ones. It forgets nothing.
    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let (tls, state) = (Arc::clone(&self.tls), Arc::clone(&self.state));
        self.running = Some(Running::start(self.ports, tls, state).0);
    }

    /// The URL of `host` here.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.ports.0)
    }

    /// Where it serves HTTPS.
    pub(crate) fn port(&self) -> u16 {
        self.ports.0
    }

    /// The URL of the metadata service.
    pub(crate) fn metadata(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.1)
    }

    /// The certificate of the authority that vouches for it.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A file with `text`, as long as it runs.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a new version of a secret.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let now = now();
        self.state().secrets.set(name, value, now);
    }

    /// Changes the attributes of a secret: `{"enabled": false}`.
    pub(crate) fn update(&self, name: &str, attributes: &serde_json::Value) {
        let change = serde_json::json!({ "attributes": attributes });
        self.state().secrets.update(name, None, &change, now()).unwrap();
    }

    /// Deletes a secret, so that it can be recovered.
    pub(crate) fn delete(&self, name: &str) {
        self.state().secrets.delete(name, now()).unwrap();
    }

    /// Gives the reader its role, or takes it.
    pub(crate) fn permit_reader(&self, may_read: bool) {
        self.state().directory.permit_reader(may_read);
    }

    /// All tokens that were given end now, and no client knows.
    pub(crate) fn end_tokens(&self) {
        self.state().directory.end_tokens(now());
    }

    /// It answers like this from now on.
    pub(crate) fn answer(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// The requests since this was last asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970, as Azure counts.
pub(crate) fn now() -> i64 {
    i64::try_from(Clock::System.now().wall.as_millis() / 1000).unwrap()
}

/// The identity of all hosts here, as `authority` vouches for it.
fn tls(authority: &Authority) -> Arc<rustls::ServerConfig> {
    let certified = authority.certify_all(&[VAULT, OTHER_VAULT, LOGIN]);
    let chain = CertificateDer::from_pem_slice(certified.chain.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    Arc::new(config)
}

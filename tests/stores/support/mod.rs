//! Servers of one's own, and ways to ask a store.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use keypool::clock::Clock;
use keypool::secrets::{Environment, Process, RemoteRef, RemoteStore, RemoteStores};

pub(crate) mod bao;
mod canned;
mod certificates;
#[cfg(feature = "azure")]
pub(crate) mod key_vault;
mod tap;

pub(crate) use bao::Bao;
pub(crate) use canned::{canned, silent};
pub(crate) use certificates::{Authority, Certified};
pub(crate) use tap::Tap;

/// The program called `name` among those from `PyPI`.
pub(crate) fn installed(name: &str) -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = target.parent().unwrap().join("python/bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/python/install", path.display());
    path
}

/// A port of this machine that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns once `happened`; fails if it does not for long. For what takes real time.
#[track_caller]
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let now = || Clock::System.now().at;
    let begun = now();
    while !happened() {
        assert!(now().since(begun) < Duration::from_mins(1), "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The stores as a process with `variables` has them.
pub(crate) fn stores(variables: &[(&str, &str)], clock: &Clock) -> RemoteStores {
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let process = Process::new(variables);
    RemoteStores::new(&Environment::new(&process), &process, clock)
}

/// What comes of asking `store` for the secret called `name`: the secret, or the class and text of
/// the failure.
pub(crate) async fn fetch(
    stores: &RemoteStores,
    store: RemoteStore,
    name: &str,
) -> Result<String, String> {
    let version = stores.fetch(&RemoteRef { store, name: name.into() }).await;
    version
        .map(|found| found.secret.expose().to_owned())
        .map_err(|failure| format!("{}: {failure}", failure.class.name()))
}

/// What was written, for whoever looks later.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

//! Bringing keys and secrets into the pool: at the start, at a reload, and when a secret that was
//! missing turns up.

use std::sync::{Mutex, PoisonError};

use crate::config::{Bootstrap, Flags, Keys, KeysSource, Problems, bootstrap};
use crate::pool::{KeyChanges, KeyId};
use crate::secrets::Process;
use crate::server::{Configured, Service};

/// Loads the configuration and remembers the last one that was good.
#[derive(Debug)]
pub(super) struct Loader {
    flags: Flags,
    process: Process,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    bootstrap: Bootstrap,
    keys: Option<Keys>,
}

impl Loader {
    pub(super) fn new(flags: Flags, process: Process, bootstrap: Bootstrap) -> Self {
        Self { flags, process, loaded: Mutex::new(Loaded { bootstrap, keys: None }) }
    }

    /// Reads everything anew; what is not valid leaves the pool as it was.
    pub(super) fn reload(&self, service: &Service) {
        match bootstrap(&self.flags, &self.process) {
            Ok(bootstrap) => self.load(service, bootstrap),
            Err(problems) => reject(service, &problems),
        }
    }

    /// Loads the keys for the first time.
    pub(super) fn begin(&self, service: &Service) {
        let bootstrap = self.lock().bootstrap.clone();
        self.load(service, bootstrap);
    }

    fn load(&self, service: &Service, bootstrap: Bootstrap) {
        match bootstrap.load_keys() {
            Ok(keys) => {
                let changes = apply(service, &bootstrap, &keys);
                tell(&bootstrap, &keys, &changes);
                *self.lock() = Loaded { bootstrap, keys: Some(keys) };
            }
            Err(problems) => reject(service, &problems),
        }
    }

    /// Looks again for every secret that is missing.
    pub(super) fn retry_missing(&self, service: &Service) {
        let loaded = self.lock();
        let Some(keys) = &loaded.keys else { return };
        for (id, reference) in &keys.secrets {
            if service.keyring.secret(id).is_none()
                && let Ok(secret) = loaded.bootstrap.stores.fetch(reference)
            {
                service.keyring.insert(id.clone(), secret);
                service.call(|pool, now| pool.set_secret(id, None, now));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts keys and secrets in use: everything that can fail has been done.
fn apply(service: &Service, bootstrap: &Bootstrap, keys: &Keys) -> KeyChanges {
    let fetched: Vec<(&KeyId, Result<_, String>)> = keys
        .secrets
        .iter()
        .map(|(id, reference)| {
            (id, bootstrap.stores.fetch(reference).map_err(|missing| missing.to_string()))
        })
        .collect();
    // A key that is granted must have its secret: secrets come before the keys and go after them.
    for (id, secret) in &fetched {
        if let Ok(secret) = secret {
            service.keyring.insert((*id).clone(), secret.clone());
        }
    }
    let changes = service.call(|pool, now| {
        for (id, secret) in &fetched {
            if let Err(reason) = secret {
                pool.set_secret(id, Some(reason), now);
            }
        }
        let changes = pool.reconfigure(keys.pool.clone(), now);
        for (id, secret) in &fetched {
            pool.set_secret(id, secret.as_ref().err().map(String::as_str), now);
        }
        changes
    });
    let present = |id: &KeyId| fetched.iter().any(|(key, secret)| *key == id && secret.is_ok());
    service.keyring.retain(present);
    service.probing.send_replace(bootstrap.settings.probing(keys.health_check_interval).into());
    let current = service.configuration.current();
    service.configuration.replace(Configured {
        generation: current.generation + 1,
        rotation: keys.rotation.on,
        rotation_why: keys.rotation.why.clone(),
        source: source(keys),
        loaded_at: service.clock.now().wall,
        errors: Vec::new(),
        warnings: warnings(bootstrap, keys),
        auth_headers: auth_headers(bootstrap),
    });
    changes
}

/// Keeps what is in use and says why.
fn reject(service: &Service, problems: &Problems) {
    let errors: Vec<String> = problems.errors().map(ToString::to_string).collect();
    for error in &errors {
        tracing::error!("{error}");
    }
    tracing::error!("the configuration is not taken ({} errors); mend it and reload", errors.len());
    let current = service.configuration.current();
    service.configuration.replace(Configured {
        rotation: true,
        loaded_at: service.clock.now().wall,
        errors,
        ..(*current).clone()
    });
}

fn tell(bootstrap: &Bootstrap, keys: &Keys, changes: &KeyChanges) {
    for warning in warnings(bootstrap, keys) {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        added = changes.added.len(),
        removed = changes.removed.len(),
        changed = changes.changed.len(),
        "{}; {} keys from {}",
        keys.rotation,
        keys.pool.keys.len(),
        source(keys),
    );
}

fn warnings(bootstrap: &Bootstrap, keys: &Keys) -> Vec<String> {
    bootstrap.warnings.iter().chain(&keys.warnings).map(ToString::to_string).collect()
}

fn source(keys: &Keys) -> String {
    match &keys.source {
        KeysSource::Json(path) | KeysSource::Plain(path) => path.display().to_string(),
        KeysSource::SingleKey => "the environment".to_owned(),
    }
}

fn auth_headers(bootstrap: &Bootstrap) -> crate::server::AuthHeaders {
    let providers = bootstrap.settings.providers.iter();
    providers
        .filter_map(|(name, provider)| Some((name.clone(), provider.auth_header.clone()?)))
        .collect()
}

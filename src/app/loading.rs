//! Bringing keys and secrets into the pool: at the start, at a reload, and when a secret that was
//! missing turns up.
//!
//! A reload reads everything anew, compares it with what is in use, prepares all that can fail, and
//! only then changes anything. Reloads come one after another; they read files, so they belong on
//! a thread that may block.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::telling;
use crate::background::{Stretch, gather, let_go, unhurried};
use crate::config::{Bootstrap, Flags, Keys, KeysSource, Problems, Settings, SettingsDiff};
use crate::control::ReloadOutcome;
use crate::pool::{KeyChanges, KeyId, NoSecret, Revision};
use crate::secrets::{MissingSecret, Process, RemoteSecrets, RemoteStores, Secret, SecretRef};
use crate::server::{Configured, Service};
use crate::telemetry::metrics::LastRead;
use crate::watch::Looks;

/// Loads the configuration and remembers the last one that was good.
#[derive(Debug)]
pub(super) struct Loader {
    flags: Flags,
    process: Process,
    /// The settings of the start, some of which only another start changes.
    started: Settings,
    loaded: Mutex<Loaded>,
    /// The files that matter, as the last reload found them.
    looks: watch::Sender<Arc<Looks>>,
    /// The secrets of other machines.
    remote: Arc<RemoteSecrets>,
}

/// What is in use.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) bootstrap: Bootstrap,
    /// None until a keys file was good.
    pub(super) keys: Option<Keys>,
    /// The stores of other machines, as the bootstrap describes them.
    stores: Option<Arc<RemoteStores>>,
}

/// A configuration that was read and is not in use yet, with its secrets.
struct Prepared {
    bootstrap: Bootstrap,
    keys: Keys,
    secrets: BTreeMap<KeyId, Result<Secret, NoSecret>>,
}

impl Loader {
    pub(super) fn new(
        flags: Flags,
        process: Process,
        bootstrap: Bootstrap,
        remote: Arc<RemoteSecrets>,
    ) -> Self {
        let started = bootstrap.settings.clone();
        let loaded = Mutex::new(Loaded { bootstrap, keys: None, stores: None });
        Self { flags, process, started, loaded, looks: watch::Sender::default(), remote }
    }

    /// The files that matter, as the last reload found them.
    pub(super) fn looks(&self) -> watch::Receiver<Arc<Looks>> {
        self.looks.subscribe()
    }

    /// Reads everything anew; what is not valid leaves everything as it was.
    pub(super) fn reload(&self, service: &Service) -> ReloadOutcome {
        self.reload_locked(&mut self.loaded(), service)
    }

    /// The same for who has `loaded` already.
    pub(super) fn reload_locked(&self, loaded: &mut Loaded, service: &Service) -> ReloadOutcome {
        let before = service.configuration.current();
        // Looked at before it is read: what changes from here on is seen as a change.
        let known = Looks::at(loaded.files());
        let read = loaded.bootstrap.again(&self.flags, &self.process);
        let more = read.as_ref().map(Bootstrap::files).unwrap_or_default();
        let mut looks = known.and(Looks::at(more));

        let prepared =
            read.and_then(|bootstrap| Prepared::new(loaded, bootstrap, &self.remote, &mut looks));
        let outcome = match prepared {
            Ok(prepared) => self.take(loaded, service, prepared),
            Err(problems) => keep(service, &problems),
        };
        // What changed while it was read must be read again.
        let after = Looks::at(looks.paths().map(ToOwned::to_owned));
        self.looks.send_replace(Arc::new(looks.if_still(&after)));
        let now = service.clock.now().wall;
        service.metrics.reloaded(&outcome, now);
        for news in telling::outcome(&outcome, &before, &service.configuration.current()) {
            service.journal.reloaded(now, news);
        }
        outcome
    }

    /// Puts in use what differs from what is: nothing here can fail.
    fn take(&self, loaded: &mut Loaded, service: &Service, prepared: Prepared) -> ReloadOutcome {
        let needs_restart = self.started.diff(&prepared.bootstrap.settings).needs_restart;
        let read = LastRead { at: service.clock.now().at, max_stale: None };
        let found = prepared.secrets.iter().filter(|(_, secret)| secret.is_ok());
        let here = found.filter(|(id, _)| {
            prepared.keys.secrets.get(*id).is_some_and(|reference| reference.remote().is_none())
        });
        service.metrics.secrets.read_all(here.map(|(id, _)| (id.clone(), read)));
        let mut news = prepared.news(service);
        let SettingsDiff { reloadable, .. } =
            loaded.bootstrap.settings.diff(&prepared.bootstrap.settings);
        let same = !reloadable
            && news.is_empty()
            && loaded.keys.as_ref().is_some_and(|keys| same_keys(keys, &prepared.keys));
        let outcome = if !same {
            let keys = apply(service, &prepared, &mut news);
            ReloadOutcome::Applied { keys, needs_restart }
        } else if needs_restart.is_empty() {
            ReloadOutcome::Unchanged
        } else {
            ReloadOutcome::NeedsRestart { settings: needs_restart }
        };
        let Prepared { bootstrap, keys, secrets } = prepared;
        let_go(secrets);
        service
            .configuration
            .update(|current| configured(current, &outcome, &bootstrap, &keys, service));
        let environment = &bootstrap.stores.environment;
        let kept = loaded.stores.take().filter(|stores| stores.fit(environment));
        let stores = kept.unwrap_or_else(|| {
            Arc::new(RemoteStores::new(environment, &self.process, &service.clock))
        });
        self.remote.want(keys.remote_secrets(), &stores, bootstrap.settings.secrets.refresh);
        let now = Loaded { bootstrap, keys: Some(keys), stores: Some(stores) };
        std::mem::replace(loaded, now).let_go();
        outcome
    }

    /// Looks again for every secret of this machine that is missing, and forgets those of keys
    /// that have gone.
    pub(super) fn retry_missing(&self, service: &Service) {
        service.keyring.forget_gone();
        self.look_again(service, |id, reference| {
            reference.remote().is_none() && service.keyring.used(id).is_none()
        });
    }

    /// Puts in use what the stores of other machines have answered since.
    pub(super) fn take_remote(&self, service: &Service) {
        self.look_again(service, |_, reference| reference.remote().is_some());
    }

    /// Looks again for the secret of a key whose provider does not accept it.
    pub(super) fn doubt(&self, service: &Service, key_id: &str) {
        if let Some(reference) = self.reference(key_id)
            && let Some(remote) = reference.remote()
        {
            self.remote.hurry(remote);
        } else {
            self.look_again(service, |id, _| id.as_str() == key_id);
        }
    }

    fn reference(&self, key_id: &str) -> Option<SecretRef> {
        self.loaded().keys.as_ref()?.secrets.get(key_id).cloned()
    }

    /// Finds the secrets of `which` keys anew, and puts in use what differs from what is.
    fn look_again(&self, service: &Service, which: impl Fn(&KeyId, &SecretRef) -> bool) {
        // Under the lock, so that no reload comes between finding and putting in use.
        let loaded = self.loaded();
        let Some(keys) = &loaded.keys else { return };
        for (id, reference) in keys.secrets.iter().filter(|(id, reference)| which(id, reference)) {
            let found = loaded.bootstrap.stores.find(reference, &self.remote);
            if found.is_ok() && reference.remote().is_none() {
                let read = LastRead { at: service.clock.now().at, max_stale: None };
                service.metrics.secrets.read(id.clone(), read);
            }
            put_in_use(
                service,
                id,
                found.map(|found| found.secret).map_err(|missing| no_secret(&missing)),
            );
        }
    }

    /// What the process was given by its starter.
    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    pub(super) fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the secret of one key in use, or takes it out of use.
fn put_in_use(service: &Service, id: &KeyId, found: Result<Secret, NoSecret>) {
    match (service.keyring.used(id), found) {
        (Some(used), Ok(secret)) if used.same_as(&secret) => {}
        (Some(_), Ok(secret)) => {
            service.keyring.insert(id.clone(), secret);
            service.call(|pool, now| pool.secret_changed(id, now));
        }
        (None, Ok(secret)) => {
            service.keyring.insert(id.clone(), secret);
            service.call(|pool, now| pool.set_secret(id, None, now));
        }
        (Some(_), Err(missing)) => {
            service.call(|pool, now| pool.set_secret(id, Some(missing), now));
            service.keyring.retain(|key| key != id);
        }
        (None, Err(missing)) => {
            service.call(|pool, now| pool.set_secret(id, Some(missing), now));
        }
    }
}

/// Why a key has no secret, as the pool is told.
fn no_secret(missing: &MissingSecret) -> NoSecret {
    let reason = missing.to_string().into();
    if missing.why.is_pending() { NoSecret::NotYet(reason) } else { NoSecret::Missing(reason) }
}

impl Loaded {
    /// Every file that what is in use depends on.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = self.bootstrap.files();
        files.extend(self.keys.iter().flat_map(Keys::files));
        files
    }

    /// Drops it.
    fn let_go(self) {
        self.bootstrap.stores.environment.let_go();
        self.keys.into_iter().for_each(Keys::let_go);
    }
}

/// What has become of the secrets of keys.
#[derive(Default)]
struct SecretNews {
    /// There is another one in the place of the one in use.
    replaced: BTreeSet<KeyId>,
    /// There is one where there was none, or none where there was one.
    come_or_gone: BTreeSet<KeyId>,
}

impl SecretNews {
    fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.come_or_gone.is_empty()
    }
}

impl Prepared {
    /// Does all that can fail. The files of secrets are added to `looks` before they are read.
    fn new(
        loaded: &Loaded,
        bootstrap: Bootstrap,
        remote: &RemoteSecrets,
        looks: &mut Looks,
    ) -> Result<Self, Problems> {
        let keys = match &loaded.keys {
            Some(earlier) => bootstrap.load_keys_again(earlier),
            None => bootstrap.load_keys(),
        }?;
        *looks = std::mem::take(looks).and(Looks::at(keys.files()));
        let fetch = |(id, reference)| {
            let found = bootstrap.stores.find(reference, remote);
            (
                KeyId::clone(id),
                found.map(|found| found.secret).map_err(|missing| no_secret(&missing)),
            )
        };
        let secrets = gather(keys.secrets.iter().map(fetch));
        Ok(Self { bootstrap, keys, secrets })
    }

    /// What has become of the secrets since the last reload.
    fn news(&self, service: &Service) -> SecretNews {
        let mut news = SecretNews::default();
        for (id, secret) in unhurried(&self.secrets) {
            match (service.keyring.used(id), secret) {
                (Some(used), Ok(found)) if !used.same_as(found) => {
                    news.replaced.insert(id.clone());
                }
                (Some(_), Err(_)) | (None, Ok(_)) => {
                    news.come_or_gone.insert(id.clone());
                }
                (Some(_), Ok(_)) | (None, Err(_)) => {}
            }
        }
        news
    }
}

/// Whether both give the pool and the prober the same.
fn same_keys(one: &Keys, other: &Keys) -> bool {
    (&one.pool, one.health_check_interval, &one.rotation, &one.source)
        == (&other.pool, other.health_check_interval, &other.rotation, &other.source)
}

/// Puts keys and secrets in use.
fn apply(service: &Service, prepared: &Prepared, news: &mut SecretNews) -> KeyChanges {
    let Prepared { bootstrap, keys, secrets } = prepared;
    // A key that is granted must have its secret: secrets come before the keys and go after them.
    for id in news.replaced.iter().chain(&news.come_or_gone) {
        if let Some(Ok(secret)) = secrets.get(id) {
            service.keyring.insert(id.clone(), secret.clone());
        }
    }
    let missing =
        |(id, secret): (&KeyId, &Result<_, NoSecret>)| (id.clone(), secret.as_ref().err().cloned());
    let known = gather(secrets.iter().map(missing));
    // What takes long with a large pool is done before, so that no select has to wait for it.
    let (present, mut stretch) = (service.pool.settings(), Stretch::of_things());
    let mut revision = Revision::new(&present, keys.pool.clone(), &known, || stretch.add(1));
    let expected = service.keeper.as_ref().map(|keeper| keeper.expect(revision.settings()));
    for id in &news.replaced {
        service.call_in_turn(|pool, now| pool.secret_changed(id, now));
    }
    let KeyChanges { added, removed, changed } = service.revise(&mut revision);
    drop(expected);
    let_go(known);
    if !removed.is_empty() || !news.come_or_gone.is_empty() {
        service.keyring.retain(|id| secrets.get(id).is_some_and(Result::is_ok));
    }
    service.probing.send_replace(bootstrap.settings.probing(keys.health_check_interval).into());

    let mut touched: BTreeSet<KeyId> = gather(changed);
    touched.append(&mut news.replaced);
    touched.append(&mut news.come_or_gone);
    for id in &added {
        touched.remove(id);
    }
    KeyChanges { added, removed, changed: unhurried(touched).collect() }
}

/// What is configured after `outcome`.
fn configured(
    current: &Configured,
    outcome: &ReloadOutcome,
    bootstrap: &Bootstrap,
    keys: &Keys,
    service: &Service,
) -> Configured {
    let (applied, needs_restart) = match outcome {
        ReloadOutcome::Applied { needs_restart, .. } => (1, needs_restart.clone()),
        ReloadOutcome::NeedsRestart { settings } => (0, settings.clone()),
        ReloadOutcome::Unchanged | ReloadOutcome::Kept { .. } => (0, Vec::new()),
    };
    let warnings = bootstrap.warnings.iter().chain(&keys.warnings);
    let providers = bootstrap.settings.providers.iter();
    let header = |(name, provider): (&String, &crate::config::ProviderSettings)| {
        Some((name.clone(), provider.auth_header.clone()?))
    };
    Configured {
        generation: current.generation + applied,
        rotation: keys.rotation.on,
        rotation_why: keys.rotation.why.clone(),
        source: match &keys.source {
            KeysSource::Json(path) | KeysSource::Plain(path) => path.display().to_string(),
            KeysSource::SingleKey => "the environment".to_owned(),
        },
        keys: keys.pool.keys.len(),
        loaded_at: service.clock.now().wall,
        result: outcome.name(),
        errors: Vec::new(),
        warnings: warnings.map(ToString::to_string).collect(),
        needs_restart,
        wait_max: bootstrap.settings.wait_max,
        auth_headers: providers.filter_map(header).collect(),
    }
}

/// Keeps what is in use and says why.
fn keep(service: &Service, problems: &Problems) -> ReloadOutcome {
    let errors: Vec<String> = problems.errors().map(ToString::to_string).collect();
    let outcome = ReloadOutcome::Kept { errors: errors.clone() };
    service.configuration.update(|current| Configured {
        // There are no keys because of the errors, and not because rotation were off.
        rotation: current.rotation || current.generation == 0,
        loaded_at: service.clock.now().wall,
        result: outcome.name(),
        errors,
        ..current.clone()
    });
    outcome
}

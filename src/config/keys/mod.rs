//! The keys: from keys.json, from a plain text file of one key a line, or from the variable of a
//! single key where rotation is off.

mod edit;
mod entry;
mod file;
mod json;
mod object;
mod plain;
mod saving;
mod single;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::bootstrap::Bootstrap;
use super::problem::{Problem, Problems};
use super::rotation::Rotation;
use super::settings::Settings;
use crate::background::{gather, let_go, unhurried};
use crate::pool::{KeyId, KeySettings, PoolSettings, Strategy};
use crate::secrets::SecretRef;

pub use edit::{Members, NotEdited, with_changes, with_entries, with_entry, without_entry};
pub(crate) use plain::{Line as PlainLine, lines as plain_lines};
pub use saving::{NotSaved, save_over};

/// The keys and what holds for all of them.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What the pool is told. Without a key where rotation is off and no single key is set.
    pub pool: Arc<PoolSettings>,
    /// What is looked up for each key of the pool.
    pub secrets: BTreeMap<KeyId, SecretRef>,
    /// How often keys are probed.
    pub health_check_interval: Duration,
    /// Whether keys rotate, and why.
    pub rotation: Rotation,
    /// Where the keys are from.
    pub source: KeysSource,
    /// What is worth a word in the keys file and the `.env` files.
    pub warnings: Vec<Problem>,
}

impl Keys {
    /// Drops them.
    pub fn let_go(self) {
        let_go(self.secrets);
        if let Some(pool) = Arc::into_inner(self.pool) {
            let_go(pool.keys);
        }
    }
}

/// Where the keys are from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeysSource {
    /// A file such as keys.json.
    Json(Arc<Path>),
    /// A file of one key a line.
    Plain(Arc<Path>),
    /// Variables such as `GEMINI_API_KEY`.
    SingleKey,
}

/// One key that was read.
#[derive(Debug)]
struct ReadKey {
    settings: KeySettings,
    secret: SecretRef,
}

/// What a file gives, whatever its form.
#[derive(Debug)]
struct ReadFile {
    keys: Vec<ReadKey>,
    fallback_order: Vec<KeyId>,
    strategy: Strategy,
    health_check_interval: Duration,
    warning_threshold: f64,
}

impl ReadFile {
    /// Keys alone, with the usual settings around them.
    fn of(keys: Vec<ReadKey>, strategy: Strategy) -> Self {
        Self {
            keys,
            fallback_order: Vec::new(),
            strategy,
            health_check_interval: Duration::from_mins(1),
            warning_threshold: 0.8,
        }
    }
}

impl Bootstrap {
    /// Reads the keys. Errors in a `.env` file are among the errors, because secrets are in it.
    pub fn load_keys(&self) -> Result<Keys, Problems> {
        let path: Arc<Path> = self.settings.keys.as_path().into();
        let mut problems = self.env_problems.clone();
        let rotation = Rotation::of(self.wish.as_ref(), &path);
        let (read, source) = if rotation.on {
            file::read(&path, &self.settings, &self.stores.process, &mut problems)
        } else {
            (single::read(&self.stores.environment, &self.settings), KeysSource::SingleKey)
        };
        let keys = keys(read, &self.settings, rotation, source);
        let (keys, warnings) = Problems::unless_errors(keys, problems)?;
        Ok(Keys { warnings, ..keys })
    }
}

impl Bootstrap {
    /// Reads the keys file alone, whether rotation is on or not.
    pub fn load_keys_file(&self) -> Result<Keys, Problems> {
        let path: Arc<Path> = self.settings.keys.as_path().into();
        let mut problems = Vec::new();
        let (read, source) = file::read(&path, &self.settings, &self.stores.process, &mut problems);
        let rotation = Rotation::of(self.wish.as_ref(), &path);
        let keys = keys(read, &self.settings, rotation, source);
        let (keys, warnings) = Problems::unless_errors(keys, problems)?;
        Ok(Keys { warnings, ..keys })
    }
}

impl Bootstrap {
    /// What would be wrong with the keys file at `path` if `text` were in it.
    pub fn judge_keys(&self, path: &Arc<Path>, text: &str) -> Result<(), Problems> {
        let mut problems = Vec::new();
        file::judge(path, text, &self.settings, &mut problems);
        Problems::unless_errors((), problems).map(|_| ())
    }
}

#[cfg(any(doc, fuzzing, test))]
impl Bootstrap {
    /// What a keys file at `path` gives that holds `bytes`, as JSON or as one key a line.
    pub(crate) fn keys_of(
        &self,
        path: &Arc<Path>,
        bytes: &[u8],
        json: bool,
    ) -> Result<Keys, Problems> {
        let mut problems = Vec::new();
        let (read, source) = if json {
            let read = file::of_bytes(path, bytes, &self.settings, &mut problems);
            (read, KeysSource::Json(path.clone()))
        } else {
            let keys = plain::read(path, bytes, &self.settings, &mut problems);
            (ReadFile::of(keys, Strategy::RoundRobin), KeysSource::Plain(path.clone()))
        };
        let rotation = Rotation { on: true, why: String::new() };
        let keys = keys(read, &self.settings, rotation, source);
        let (keys, warnings) = Problems::unless_errors(keys, problems)?;
        Ok(Keys { warnings, ..keys })
    }
}

fn keys(read: ReadFile, settings: &Settings, rotation: Rotation, source: KeysSource) -> Keys {
    let id = |key: &ReadKey| key.settings.id.clone();
    let secrets = gather(read.keys.iter().map(|key| (id(key), key.secret.clone())));
    let pool = PoolSettings {
        keys: unhurried(read.keys).map(|key| key.settings.into()).collect(),
        fallback_order: read.fallback_order,
        strategy: read.strategy,
        warning_threshold: read.warning_threshold,
        delay_guard: settings.quota.delay_guard,
        default_tokens: settings.quota.default_tokens,
        cooldown_first: settings.cooldown.first,
        cooldown_max: settings.cooldown.max,
        lease_ttl: settings.lease_ttl,
        adaptive: settings.quota.adaptive,
    };
    let health_check_interval = read.health_check_interval;
    let pool = pool.into();
    Keys { pool, secrets, health_check_interval, rotation, source, warnings: Vec::new() }
}

#[cfg(test)]
mod tests;

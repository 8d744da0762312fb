//! What a check concludes, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::advice;
use super::look::Seen;
use super::online::Answer;
use super::redis::RedisRow;
use crate::config::{Bootstrap, Keys, Problem, Problems, Severity};
use crate::pool::KeySettings;
use crate::secrets::SecretRef;

/// What a check concludes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether the daemon would serve with this configuration.
    pub valid: bool,
    /// The answer in one line.
    pub verdict: Verdict,
    /// What to mend, the most urgent first.
    pub advice: Vec<Advice>,
    /// The keys in the order of their file.
    pub keys: Vec<KeyRow>,
    /// The models that are offered.
    pub models: Vec<ModelRow>,
    /// Keys with one secret, if there are several to one.
    pub shared_secrets: Vec<Vec<String>>,
    /// Keys with one quota.
    pub shared_quotas: Vec<SharedGroup>,
    /// The Redis that limits are shared through, if there is one.
    pub redis: Option<RedisRow>,
    /// The errors and warnings of the files, with their places.
    pub problems: Vec<Problem>,
    /// What was read, where settings could be.
    pub sources: Option<Sources>,
}

/// The answer in one line.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Verdict {
    /// The daemon would end with code 78.
    NoStart {
        /// How many errors there are.
        errors: usize,
    },
    /// The daemon would run and serve nothing until the file is mended.
    NoKeys {
        /// How many errors there are.
        errors: usize,
    },
    /// The daemon would serve.
    Serves {
        /// Whether keys rotate.
        rotation: bool,
        /// Why they do or don't.
        why: String,
        /// How many keys can serve.
        serving: usize,
        /// How many keys there are.
        keys: usize,
    },
}

/// How soon something should be mended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Nothing works before.
    Error,
    /// A key or a setting does not do what it should.
    Warning,
    /// It may be meant so.
    Hint,
}

/// Something to mend.
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// How soon.
    pub urgency: Urgency,
    /// What is the matter.
    pub what: String,
    /// What to do, if `what` does not say it.
    pub mend: Option<String>,
}

/// A key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyRow {
    /// Its id.
    pub key_id: String,
    /// Its provider.
    pub provider: String,
    /// Its models; none for any.
    pub models: Vec<String>,
    /// Requests a minute; none for no limit.
    pub rpm: Option<u64>,
    /// 1 is used first.
    pub priority: Option<u64>,
    /// Whether it is in service.
    pub active: bool,
    /// Whether its secret was found.
    pub found: bool,
    /// Where the secret was found, or exactly what was looked up and why it cannot serve.
    pub secret: String,
    /// The store it is in.
    pub store: &'static str,
    /// How long ago the secret was written there, in seconds, if the store tells.
    pub age_seconds: Option<u64>,
    /// What its provider says about it, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<Answer>,
}

/// A model that is offered.
#[derive(Clone, Debug, Serialize)]
pub struct ModelRow {
    /// Its provider.
    pub provider: String,
    /// Its name; none for every model that no key names.
    pub model: Option<String>,
    /// How many keys offer it.
    pub keys: usize,
    /// How many of them can serve.
    pub serving: usize,
    /// Requests a minute of those that can serve, each quota group once; none for no limit.
    pub requests_per_minute: Option<u64>,
}

/// Keys with one quota.
#[derive(Clone, Debug, Serialize)]
pub struct SharedGroup {
    /// The quota group.
    pub quota_group: String,
    /// Its keys.
    pub keys: Vec<String>,
}

/// What was read.
#[derive(Clone, Debug, Serialize)]
pub struct Sources {
    /// keypool.toml, if there is one.
    pub settings: Option<String>,
    /// The keys file.
    pub keys: String,
    /// The `.env` files.
    pub env_files: Vec<String>,
    /// The socket the daemon would listen on.
    pub socket: String,
}

impl Sources {
    fn of(built: &Bootstrap) -> Self {
        let shown = |path: &Path| path.display().to_string();
        let settings = &built.settings;
        Self {
            settings: built.file.as_deref().map(shown),
            keys: shown(&settings.keys),
            env_files: settings.env_files.iter().map(|path| shown(path)).collect(),
            socket: shown(&settings.socket),
        }
    }
}

impl KeyRow {
    /// Whether it would be handed out.
    pub fn serves(&self) -> bool {
        self.active && self.found && !self.online.as_ref().is_some_and(Answer::rejects)
    }
}

impl Report {
    fn new(verdict: Verdict, problems: Vec<Problem>) -> Self {
        let advice = problems.iter().map(|problem| {
            let urgency = match problem.severity {
                Severity::Error => Urgency::Error,
                Severity::Warning => Urgency::Warning,
            };
            Advice { urgency, what: problem.to_string(), mend: None }
        });
        let mut advice: Vec<_> = advice.collect();
        advice.sort_by_key(|advice| advice.urgency);
        Self {
            valid: false,
            verdict,
            advice,
            keys: Vec::new(),
            models: Vec::new(),
            shared_secrets: Vec::new(),
            shared_quotas: Vec::new(),
            redis: None,
            problems,
            sources: None,
        }
    }

    /// Concludes from settings that nothing can start with.
    pub(super) fn of_no_start(problems: &Problems) -> Self {
        let errors = problems.errors().count();
        Self::new(Verdict::NoStart { errors }, problems.0.clone())
    }

    /// Concludes from a keys file that is rejected.
    pub(super) fn of_no_keys(built: &Bootstrap, problems: &Problems) -> Self {
        let errors = problems.errors().count();
        let problems = [built.warnings.clone(), problems.0.clone()].concat();
        Self {
            sources: Some(Sources::of(built)),
            ..Self::new(Verdict::NoKeys { errors }, problems)
        }
    }

    /// Concludes from a configuration that serves.
    pub(super) fn of(built: &Bootstrap, keys: &Keys, seen: &Seen) -> Self {
        let row = |key: &Arc<KeySettings>| key_row(key, keys.secrets.get(&key.id), seen);
        let rows: Vec<KeyRow> = keys.pool.keys.iter().map(row).collect();
        let verdict = Verdict::Serves {
            rotation: keys.rotation.on,
            why: keys.rotation.why.clone(),
            serving: rows.iter().filter(|row| row.serves()).count(),
            keys: rows.len(),
        };
        let mut problems = [built.warnings.clone(), keys.warnings.clone()].concat();
        // What is not about a place in a file is about the file's mode, and can wait.
        problems.sort_by_key(|problem| problem.position.is_none());
        let located = problems.iter().take_while(|problem| problem.position.is_some()).count();
        let mut report = Self {
            valid: true,
            models: model_rows(&keys.pool.keys, &rows),
            keys: rows,
            shared_secrets: shared_secrets(seen),
            shared_quotas: shared_quotas(&keys.pool.keys),
            redis: RedisRow::of(built, seen),
            sources: Some(Sources::of(built)),
            ..Self::new(verdict, problems)
        };
        let advice = advice::give(built, keys, seen, &report);
        let modes = report.advice.split_off(located);
        report.advice.extend(advice);
        report.advice.sort_by_key(|advice| advice.urgency);
        report.advice.extend(modes);
        report
    }
}

fn key_row(key: &KeySettings, reference: Option<&SecretRef>, seen: &Seen) -> KeyRow {
    let changed_at = match seen.secrets.get(&key.id) {
        Some(Ok(fetched)) => fetched.changed_at,
        Some(Err(_)) | None => None,
    };
    let (found, secret) = match seen.secrets.get(&key.id) {
        Some(Ok(fetched)) => (true, fetched.place.to_string()),
        Some(Err(missing)) => (false, missing.to_string()),
        None => (false, "was not looked up".to_owned()),
    };
    KeyRow {
        key_id: key.id.to_string(),
        provider: key.provider.to_string(),
        models: key.models.iter().map(ToString::to_string).collect(),
        rpm: key.limits.rpm.map(std::num::NonZero::get),
        priority: key.priority,
        active: key.active,
        found,
        secret,
        store: reference.map(SecretRef::store).unwrap_or_default(),
        age_seconds: changed_at.map(|at| seen.at.since(at).as_secs()),
        online: seen.answers.get(&key.id).cloned(),
    }
}

fn model_rows(keys: &[Arc<KeySettings>], rows: &[KeyRow]) -> Vec<ModelRow> {
    let mut named: BTreeSet<(&str, Option<&str>)> = BTreeSet::new();
    for key in keys {
        let models = key.models.iter().map(|model| (&*key.provider, Some(&**model)));
        named.extend(models);
        if key.models.is_empty() {
            named.insert((&key.provider, None));
        }
    }
    named.into_iter().map(|(provider, model)| model_row(provider, model, keys, rows)).collect()
}

fn model_row(
    provider: &str,
    model: Option<&str>,
    keys: &[Arc<KeySettings>],
    rows: &[KeyRow],
) -> ModelRow {
    let offers = |key: &KeySettings| {
        let named = model.is_some_and(|model| key.models.iter().any(|name| **name == *model));
        *key.provider == *provider && (named || key.models.is_empty())
    };
    let offering = || keys.iter().zip(rows).filter(|(key, _)| offers(key));
    let serving = || offering().filter(|(_, row)| row.serves());
    // Keys of one group and model share one limit, so it counts once.
    let mut limits = BTreeMap::new();
    for (key, row) in serving() {
        let group = key.quota_group.as_ref().map(|group| (group, &key.models));
        let alone = group.is_none().then_some(&key.id);
        limits.insert((group, alone), row.rpm);
    }
    let requests_per_minute = limits.into_values().sum();
    let (keys, serving) = (offering().count(), serving().count());
    let model = model.map(str::to_owned);
    ModelRow { provider: provider.to_owned(), model, keys, serving, requests_per_minute }
}

fn shared_secrets(seen: &Seen) -> Vec<Vec<String>> {
    let mut ids: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (id, fetched) in &seen.secrets {
        if let Ok(fetched) = fetched {
            ids.entry(fetched.secret.expose()).or_default().push(id.to_string());
        }
    }
    let mut shared: Vec<_> = ids.into_values().filter(|ids| ids.len() > 1).collect();
    // By id, because the order of secrets would say something about them.
    shared.sort();
    shared
}

fn shared_quotas(keys: &[Arc<KeySettings>]) -> Vec<SharedGroup> {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for key in keys {
        if let Some(group) = &key.quota_group {
            groups.entry(group).or_default().push(key.id.to_string());
        }
    }
    let shared = groups.into_iter().filter(|(_, keys)| keys.len() > 1);
    shared.map(|(group, keys)| SharedGroup { quota_group: group.to_owned(), keys }).collect()
}

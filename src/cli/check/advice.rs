//! What to do about what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::look::Seen;
use super::models;
use super::redis;
use super::report::{Advice, Report, Urgency};
use super::stores;
use crate::config::{BUILT_IN_PROVIDERS, Bootstrap, Keys, KeysSource, nearest};
use crate::pool::KeyId;
use crate::secrets::{EnvFile, FailureClass, MissingSecret, RemoteStore, SecretRef, Source, Why};

/// Everything there is to advise.
pub(super) fn give(built: &Bootstrap, keys: &Keys, seen: &Seen, report: &Report) -> Vec<Advice> {
    let advisor = Advisor { built, keys, seen };
    let mut advice = Vec::new();
    advice.extend(advisor.rotation());
    advice.extend(advisor.missing_secrets());
    advice.extend(advisor.rejected_keys());
    advice.extend(advisor.modes());
    advice.extend(advisor.misspelt_models());
    advice.extend(advisor.shared_secrets(report));
    advice.extend(redis::advise(built, seen));
    advice.extend(advisor.unused_variables());
    advice.extend(nothing_to_rotate_to(keys, report));
    advice
}

struct Advisor<'a> {
    built: &'a Bootstrap,
    keys: &'a Keys,
    seen: &'a Seen,
}

fn advise(urgency: Urgency, what: String, mend: impl Into<Option<String>>) -> Advice {
    Advice { urgency, what, mend: mend.into() }
}

impl Advisor<'_> {
    fn rotation(&self) -> Option<Advice> {
        if self.keys.rotation.on {
            return None;
        }
        let what = format!("rotation is off: {}", self.keys.rotation.why);
        let file = self.built.settings.keys.display();
        let mend = if self.built.settings.keys.exists() {
            "set ENABLE_KEY_ROTATION to true there, or take it out".to_owned()
        } else {
            let toml = self.settings_file();
            format!("write {file}, or name your keys file as `keys` in {toml} or in KEYPOOL_KEYS")
        };
        Some(advise(Urgency::Warning, what, mend))
    }

    /// The missing secrets: those of one unread file together, then each for itself.
    fn missing_secrets(&self) -> Vec<Advice> {
        let mut advice = Vec::new();
        let mut by_file: BTreeMap<&Path, Vec<(String, String)>> = BTreeMap::new();
        for (id, missing) in self.missing() {
            if self.of_store(id, missing).is_some() {
                continue;
            }
            let names = self.names_of(id);
            let unread = self.unread_with(names);
            if let (Why::NotSet, Some((file, name))) = (&missing.why, unread) {
                by_file.entry(&file.path).or_default().push((id.to_string(), name));
            } else {
                let what = format!("key {id} has no secret: {missing}");
                advice.push(advise(Urgency::Warning, what, self.mend_missing(id, missing)));
            }
        }
        let single = BUILT_IN_PROVIDERS.map(|name| format!("{}_API_KEY", name.to_uppercase()));
        if self.keys.pool.keys.is_empty() {
            if let Some((file, name)) = self.unread_with(&single) {
                by_file.entry(&file.path).or_default().push(("default".to_owned(), name));
            } else {
                let what = format!("there is no key: none of {} is set", single.join(", "));
                advice.push(advise(Urgency::Warning, what, None));
            }
        }
        for (path, missing) in by_file {
            let (ids, names): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
            let (ids, names, file) = (several("key", &ids), names.join(", "), path.display());
            let what = format!("no secret for {ids}: {file} sets {names}, but is not read");
            advice.insert(0, advise(Urgency::Warning, what, self.mend_unread(path)));
        }
        advice.extend(self.stores_away());
        advice
    }

    /// The missing secrets that have one cause, which is their store's, together.
    fn stores_away(&self) -> Vec<Advice> {
        let mut by_cause: BTreeMap<(RemoteStore, FailureClass, &str), Vec<String>> =
            BTreeMap::new();
        for (id, missing) in self.missing() {
            if let Some(cause) = self.of_store(id, missing) {
                by_cause.entry(cause).or_default().push(id.to_string());
            }
        }
        let advise =
            |((store, class, why), ids): ((RemoteStore, FailureClass, &str), Vec<String>)| {
                let ids = several("key", &ids);
                let what =
                    format!("no secret for {ids}: secrets of the store {} {why}", store.name());
                let unreached = (class == FailureClass::Unavailable)
                    .then(|| "see that the store can be reached from here".to_owned());
                advise(Urgency::Warning, what, unreached)
            };
        by_cause.into_iter().map(advise).collect()
    }

    /// The store, the class and the words, if a secret is missing because of its store.
    fn of_store<'a>(
        &self,
        id: &KeyId,
        missing: &'a MissingSecret,
    ) -> Option<(RemoteStore, FailureClass, &'a str)> {
        let store = self.keys.secrets.get(id)?.remote()?.store;
        match &missing.why {
            Why::Remote {
                class: Some(class @ (FailureClass::Unavailable | FailureClass::Unset)),
                text,
            } => Some((store, *class, text)),
            Why::Remote { .. }
            | Why::NotSet
            | Why::File(_)
            | Why::NoCredentials
            | Why::Unusable { .. } => None,
        }
    }

    fn missing(&self) -> impl Iterator<Item = (&KeyId, &MissingSecret)> {
        self.seen.secrets.iter().filter_map(|(id, found)| Some((id, found.as_ref().err()?)))
    }

    /// The variables that are looked up for a key.
    fn names_of(&self, id: &KeyId) -> &[String] {
        self.keys.secrets.get(id).map(SecretRef::variables).unwrap_or_default()
    }

    fn unread_with(&self, names: &[String]) -> Option<(&EnvFile, String)> {
        self.seen.unread.iter().find_map(|file| {
            let set = |name: &&String| file.entries.iter().any(|entry| entry.name == **name);
            Some((file, names.iter().find(set)?.clone()))
        })
    }

    fn mend_unread(&self, path: &Path) -> String {
        let files = self.built.settings.env_files.iter().map(|file| file.display().to_string());
        let files = files.chain([path.display().to_string()]);
        let files: Vec<_> = files.map(|file| format!("\"{file}\"")).collect();
        format!(
            "add it to env_files in {}: env_files = [{}]",
            self.settings_file(),
            files.join(", ")
        )
    }

    fn settings_file(&self) -> String {
        let usual = || Path::new(crate::config::USUAL_FILES[0]);
        self.built.file.as_deref().unwrap_or_else(usual).display().to_string()
    }

    fn mend_missing(&self, id: &KeyId, missing: &MissingSecret) -> String {
        match (&missing.why, self.keys.secrets.get(id)) {
            (Why::Unusable { place, .. }, _) => {
                format!("write the secret anew: {} ({place})", missing.looked_up)
            }
            (_, Some(SecretRef::File(path))) => {
                format!("put the secret alone in {}, with mode 0600", path.display())
            }
            (_, Some(SecretRef::Variables(names))) => self.mend_variable(names),
            (_, Some(SecretRef::Credential { name, .. })) => {
                format!("add LoadCredential={name}:/path/of/the/file to the service of keypool")
            }
            (Why::Remote { class, .. }, Some(SecretRef::Remote(reference))) => {
                stores::mend(*class, reference)
            }
            (_, Some(SecretRef::Remote(_))) => String::new(),
            (_, Some(SecretRef::Line { .. }) | None) => "write the line anew".to_owned(),
        }
    }

    fn mend_variable(&self, names: &[String]) -> String {
        let Some(name) = names.first() else { return String::new() };
        let unused = self.unused();
        let near = nearest(name, unused.iter().map(|(name, _)| *name))
            .filter(|near| !differ_in_digits_alone(near, name));
        if let Some((near, place)) = unused.iter().find(|(unused, _)| near == Some(unused)) {
            return format!("rename {near} ({place}) to {name}");
        }
        if let Some(file) = self.built.settings.env_files.first() {
            return format!("set {name} in {} or in the environment", file.display());
        }
        let toml = self.settings_file();
        format!("set {name} in the environment or in a file of env_files in {toml}")
    }

    /// The variables of `.env` files that look like secrets of keys and that no key looks up.
    fn unused(&self) -> Vec<(&str, &Source)> {
        let used: BTreeSet<&str> = self
            .keys
            .secrets
            .values()
            .flat_map(|reference| reference.variables().iter().map(String::as_str))
            .collect();
        let secret = |name: &str| name.contains("_KEY_") && name != "ENABLE_KEY_ROTATION";
        let names = self.built.stores.environment.names_in_files();
        names.filter(|(name, _)| secret(name) && !used.contains(name)).collect()
    }

    fn unused_variables(&self) -> Vec<Advice> {
        // In single-key mode every one of them is unused, and the advice on rotation says why.
        if self.keys.source == KeysSource::SingleKey {
            return Vec::new();
        }
        let ids = || self.keys.secrets.keys().map(KeyId::as_str);
        let advise = |(name, place): (&str, &Source)| {
            let id = name.split_once("_KEY_").map_or("", |(_, id)| id);
            let near = nearest(id, ids());
            let mend = near.map(|near| format!("the nearest key is {near}"));
            advise(Urgency::Hint, format!("{name} ({place}) is used by no key"), mend)
        };
        self.unused().into_iter().map(advise).collect()
    }

    fn rejected_keys(&self) -> Vec<Advice> {
        let rejected = self.seen.answers.iter().filter(|(_, answer)| answer.rejects());
        rejected
            .map(|(id, answer)| {
                let detail = answer.detail.as_deref().unwrap_or_default();
                let what = format!("key {id}: the provider rejects its secret ({detail})");
                let found = self.seen.secrets.get(id).and_then(|found| found.as_ref().ok());
                let mend = found.map(|found| format!("write a valid one: {}", found.place));
                advise(Urgency::Warning, what, mend)
            })
            .collect()
    }

    fn modes(&self) -> Vec<Advice> {
        let found =
            self.seen.secrets.iter().filter_map(|(id, found)| Some((id, found.as_ref().ok()?)));
        found
            .flat_map(|(id, found)| {
                let place = &found.place;
                found.warnings.iter().map(move |warning| {
                    advise(Urgency::Warning, format!("key {id}: {place}: {warning}"), None)
                })
            })
            .collect()
    }

    fn misspelt_models(&self) -> Vec<Advice> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for model in self.keys.pool.keys.iter().flat_map(|key| &key.models) {
            *counts.entry(model).or_default() += 1;
        }
        let mut advice = Vec::new();
        for key in &self.keys.pool.keys {
            for model in &key.models {
                let count = counts[&**model];
                let others = counts.iter().filter(|(_, other)| **other > count);
                if let Some(meant) = models::meant(model, others.map(|(name, _)| *name)) {
                    let what = format!("key {}: the model {model} looks misspelt", key.id);
                    let file = self.built.settings.keys.display();
                    let mend =
                        format!("if {meant} is meant, write that as its model_name in {file}");
                    advice.push(advise(Urgency::Hint, what, mend));
                }
            }
        }
        advice
    }

    fn shared_secrets(&self, report: &Report) -> Vec<Advice> {
        let key = |id: &String| self.keys.pool.keys.iter().find(|key| key.id.as_str() == id);
        let mut advice = Vec::new();
        for ids in &report.shared_secrets {
            let keys: Vec<_> = ids.iter().filter_map(key).collect();
            let apart = keys.iter().enumerate().any(|(index, one)| {
                keys[..index].iter().any(|other| {
                    let grouped = one.quota_group.is_some() && one.quota_group == other.quota_group;
                    one.models == other.models && !grouped
                })
            });
            if apart {
                let ids = several("key", ids);
                let what = format!("one secret and one model, but quotas of their own: {ids}");
                let mend = "give them one quota_group: the provider counts them together";
                advice.push(advise(Urgency::Warning, what, mend.to_owned()));
            }
        }
        advice
    }
}

fn nothing_to_rotate_to(keys: &Keys, report: &Report) -> Vec<Advice> {
    if !keys.rotation.on {
        return Vec::new();
    }
    let alone = report.models.iter().filter(|row| row.serving <= 1);
    alone
        .map(|row| {
            let model = row.model.clone();
            let model = model.unwrap_or_else(|| format!("any other model of {}", row.provider));
            if row.serving == 0 {
                advise(Urgency::Warning, format!("no key can serve {model}"), None)
            } else {
                let what = format!("only one key can serve {model}, so there is none to rotate to");
                advise(Urgency::Hint, what, None)
            }
        })
        .collect()
}

fn several(noun: &str, names: &[String]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} {}", names.join(", "))
}

fn differ_in_digits_alone(a: &str, b: &str) -> bool {
    let rest = |name: &str| name.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    rest(a) == rest(b)
}

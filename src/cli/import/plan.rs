//! What an import will write, decided before anything is written.

use serde_json::Value;
use zeroize::Zeroizing;

use super::Failure;
use super::target::{SourceFile, SourceKey, Target};
use crate::config::{Position, Problem};
use crate::pool::{KeyId, WallTime};
use crate::secrets::{EnvFile, SecretRef, Store};

/// What every new entry has.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) prefix: String,
    pub(super) provider: String,
    pub(super) models: Vec<String>,
    pub(super) limits: [(&'static str, Option<u64>); 3],
    pub(super) priority: Option<u64>,
    pub(super) now: WallTime,
}

/// What will be written.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) key_ids: Vec<KeyId>,
    /// The new entries as JSON.
    pub(super) entries: Vec<String>,
    /// The new lines of the `.env` file.
    pub(super) lines: Zeroizing<String>,
    /// How many keys the pool has already.
    pub(super) present: usize,
}

impl Plan {
    /// Gives every key of `source` that is new an id that is free.
    pub(super) fn make(
        source: &SourceFile,
        target: &Target,
        shape: &Shape,
    ) -> Result<Self, Failure> {
        let new: Vec<_> =
            source.keys.iter().filter(|key| !target.has_secret(&key.secret)).collect();
        let present = source.keys.len() - new.len();
        // A line is a name, a key and a few more characters; growth would leave copies behind.
        let longest = |key: &&SourceKey| key.secret.expose().len() + 256;
        let mut lines = Zeroizing::new(String::with_capacity(new.iter().map(longest).sum()));
        let ids = (1_u64..).map(|number| format!("{}{number:02}", shape.prefix));
        let ids = ids.map_while(|id| KeyId::parse(&id));
        let mut free = ids
            .map(|id| (variable(&shape.provider, &id), id))
            .filter(|(variable, id)| !target.has_id(id) && !target.has_variable(variable));
        let mut key_ids = Vec::with_capacity(new.len());
        let mut entries = Vec::with_capacity(new.len());
        for key in new {
            let Some((variable, id)) = free.next() else {
                let expected = "expected a shorter beginning: the numbers do not fit";
                return Err(Failure::Usage { flag: "prefix", expected });
            };
            let Some(line) = env_line(&variable, key.secret.expose()) else {
                let message = "expected a key without quotes at its beginning";
                let problem = Problem::error(message).in_file(&source.path);
                return Err(Failure::Source(problem.at(Position::line(key.line)).into()));
            };
            lines.push_str(&line);
            entries.push(shape.entry(&id, target.store_is_env));
            key_ids.push(id);
        }
        Ok(Self { key_ids, entries, lines, present })
    }
}

impl Shape {
    fn entry(&self, id: &KeyId, store_is_env: bool) -> String {
        let mut fields: Vec<(&str, Value)> =
            vec![("key_id", id.as_str().into()), ("provider", self.provider.clone().into())];
        match &self.models[..] {
            [] => {}
            [model] => fields.push(("model_name", model.clone().into())),
            models => fields.push(("model_name", models.to_vec().into())),
        }
        let limits = self.limits.into_iter().chain([("priority", self.priority)]);
        fields.extend(limits.filter_map(|(name, limit)| Some((name, limit?.into()))));
        if !store_is_env {
            fields.push(("secret_store", "env".into()));
        }
        let now = i64::try_from(self.now.as_millis()).ok();
        if let Some(now) = now.and_then(|now| jiff::Timestamp::from_millisecond(now).ok()) {
            let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            fields.push(("created_at", now.clone().into()));
            fields.push(("updated_at", now.into()));
        }
        // Written by hand, because a map would sort the fields.
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        format!("{{{}}}", fields.join(", "))
    }
}

/// The variable that the store `env` looks up for a key.
fn variable(provider: &str, id: &KeyId) -> String {
    let reference = SecretRef::new(&Store::Env, provider, id.as_str(), None);
    reference.variables().first().cloned().unwrap_or_default()
}

/// A line that sets `name` to `value`, if there is one that is read as just that.
fn env_line(name: &str, value: &str) -> Option<Zeroizing<String>> {
    ["", "'", "\""].into_iter().find_map(|quote| {
        let line = Zeroizing::new(format!("{name}={quote}{value}{quote}\n"));
        let (file, faults) = EnvFile::parse(std::path::Path::new(""), line.as_bytes());
        let [entry] = &file.entries[..] else { return None };
        let same = entry.name == name && entry.value.expose() == value;
        (faults.is_empty() && same).then_some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_quoted_if_it_must_be() {
        let line = |value| env_line("A", value).map(|line| line.to_string());
        assert_eq!(line("fake#secret=").as_deref(), Some("A=fake#secret=\n"));
        assert_eq!(line("'fake").as_deref(), Some("A=\"'fake\"\n"));
        assert_eq!(line("\"fake").as_deref(), Some("A='\"fake'\n"));
        assert_eq!(line("\"'"), None);
    }
}

//! What is in the vault: secrets with versions, live and deleted.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::Refusal;

/// For how many days a deleted secret can be recovered.
const DAYS: i64 = 90;

/// The secrets of a vault.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    live: BTreeMap<String, Vec<Version>>,
    deleted: BTreeMap<String, (Vec<Version>, i64)>,
    versions: u64,
}

#[derive(Clone, Debug)]
struct Version {
    id: String,
    value: String,
    attributes: Map<String, Value>,
    content_type: Option<Value>,
    tags: Option<Value>,
}

/// A page of a list, and where the next begins.
pub(super) type Page = (Vec<Value>, Option<usize>);

impl Secrets {
    /// Writes a version without any attribute.
    pub(super) fn set(&mut self, name: &str, value: &str, now: i64) {
        self.put(name, &json!({ "value": value }), now).unwrap();
    }

    /// Writes a version as a request describes it.
    pub(super) fn put(&mut self, name: &str, asked: &Value, now: i64) -> Result<Value, Refusal> {
        if self.deleted.contains_key(name) {
            return Err(Refusal::STILL_DELETED);
        }
        let value = asked["value"].as_str();
        let value = value.ok_or(Refusal::bad_parameter("The property value must be a string."))?;
        if value.len() > 25 * 1024 {
            return Err(Refusal::bad_parameter("Secret value exceeds the limit of 25k."));
        }
        self.versions += 1;
        let mut version = Version {
            id: format!("{:032x}", self.versions),
            value: value.to_owned(),
            attributes: Map::new(),
            content_type: None,
            tags: None,
        };
        version.attributes.insert("enabled".to_owned(), json!(true));
        version.attributes.insert("created".to_owned(), json!(now));
        version.attributes.insert("recoveryLevel".to_owned(), json!("Recoverable+Purgeable"));
        version.attributes.insert("recoverableDays".to_owned(), json!(DAYS));
        version.change(asked, now)?;
        let bundle = version.bundle(name, true);
        self.live.entry(name.to_owned()).or_default().push(version);
        Ok(bundle)
    }

    /// A version with its value, or the newest.
    pub(super) fn read(&self, name: &str, version: Option<&str>) -> Result<Value, Refusal> {
        let versions = self.live.get(name).ok_or(Refusal::NOT_FOUND)?;
        let found = find(versions, version)?;
        if versions[found].attributes["enabled"] == json!(false) {
            return Err(Refusal::DISABLED);
        }
        Ok(versions[found].bundle(name, true))
    }

    /// Changes what is not the value.
    pub(super) fn update(
        &mut self,
        name: &str,
        version: Option<&str>,
        asked: &Value,
        now: i64,
    ) -> Result<Value, Refusal> {
        let versions = self.live.get_mut(name).ok_or(Refusal::NOT_FOUND)?;
        let found = find(versions, version)?;
        versions[found].change(asked, now)?;
        Ok(versions[found].bundle(name, false))
    }

    /// Deletes a secret with all versions.
    pub(super) fn delete(&mut self, name: &str, now: i64) -> Result<Value, Refusal> {
        let versions = self.live.remove(name).ok_or(Refusal::NOT_FOUND)?;
        self.deleted.insert(name.to_owned(), (versions, now));
        self.read_deleted(name)
    }

    pub(super) fn read_deleted(&self, name: &str) -> Result<Value, Refusal> {
        let (versions, at) = self.deleted.get(name).ok_or(Refusal::NOT_FOUND)?;
        let mut bundle = versions[versions.len() - 1].bundle(name, false);
        bundle["recoveryId"] = json!(format!("{{vault}}/deletedsecrets/{name}"));
        bundle["deletedDate"] = json!(at);
        bundle["scheduledPurgeDate"] = json!(at + DAYS * 24 * 3600);
        Ok(bundle)
    }

    pub(super) fn recover(&mut self, name: &str) -> Result<Value, Refusal> {
        let (versions, _) = self.deleted.remove(name).ok_or(Refusal::NOT_FOUND)?;
        let bundle = versions[versions.len() - 1].bundle(name, false);
        self.live.insert(name.to_owned(), versions);
        Ok(bundle)
    }

    pub(super) fn purge(&mut self, name: &str) -> Result<(), Refusal> {
        self.deleted.remove(name).map(|_| ()).ok_or(Refusal::NOT_FOUND)
    }

    /// All secrets, without values.
    pub(super) fn list(&self, from: usize, most: usize) -> Page {
        let all = self.live.iter().map(|(name, versions)| versions[versions.len() - 1].item(name));
        page(all, from, most)
    }

    pub(super) fn list_deleted(&self, from: usize, most: usize) -> Page {
        let all = self.deleted.keys().map(|name| {
            let mut item = self.read_deleted(name).unwrap();
            item["id"] = json!(format!("{{vault}}/secrets/{name}"));
            item
        });
        page(all, from, most)
    }

    pub(super) fn list_versions(
        &self,
        name: &str,
        from: usize,
        most: usize,
    ) -> Result<Page, Refusal> {
        let versions = self.live.get(name).ok_or(Refusal::NOT_FOUND)?;
        Ok(page(versions.iter().map(|version| version.bundle(name, false)), from, most))
    }
}

impl Version {
    fn change(&mut self, asked: &Value, now: i64) -> Result<(), Refusal> {
        const MISTAKE: Refusal = Refusal::bad_parameter("An attribute is of the wrong type.");
        for (attribute, value) in asked["attributes"].as_object().into_iter().flatten() {
            let is_good = match attribute.as_str() {
                "enabled" => value.is_boolean(),
                "nbf" | "exp" => value.is_i64(),
                // These are the service's own, and passed over.
                "created" | "updated" | "recoveryLevel" | "recoverableDays" => continue,
                _ => false,
            };
            if !is_good {
                return Err(MISTAKE);
            }
            self.attributes.insert(attribute.clone(), value.clone());
        }
        self.attributes.insert("updated".to_owned(), json!(now));
        let given = |name: &str| asked.get(name).filter(|value| !value.is_null()).cloned();
        self.content_type = given("contentType").or(self.content_type.take());
        self.tags = given("tags").or(self.tags.take());
        Ok(())
    }

    fn bundle(&self, name: &str, with_value: bool) -> Value {
        let mut bundle = self.item(name);
        bundle["id"] = json!(format!("{{vault}}/secrets/{name}/{}", self.id));
        if with_value {
            bundle["value"] = json!(self.value);
        }
        bundle
    }

    fn item(&self, name: &str) -> Value {
        let id = format!("{{vault}}/secrets/{name}");
        let mut item = json!({"id": id, "attributes": self.attributes});
        if let Some(content_type) = &self.content_type {
            item["contentType"] = content_type.clone();
        }
        if let Some(tags) = &self.tags {
            item["tags"] = tags.clone();
        }
        item
    }
}

fn find(versions: &[Version], version: Option<&str>) -> Result<usize, Refusal> {
    let Some(id) = version else { return Ok(versions.len() - 1) };
    versions.iter().position(|version| version.id == id).ok_or(Refusal::NOT_FOUND)
}

fn page(all: impl Iterator<Item = Value>, from: usize, most: usize) -> Page {
    let mut rest = all.skip(from).peekable();
    let page: Vec<_> = rest.by_ref().take(most).collect();
    let next = rest.peek().map(|_| from + page.len());
    (page, next)
}

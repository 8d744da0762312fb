//! One entry of keys.json.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::ReadKey;
use super::json::{Kind, Node};
use super::object::{Object, Reading};
use crate::config::BUILT_IN_PROVIDERS;
use crate::config::problem::Problem;
use crate::config::settings::Settings;
use crate::config::text::nearest;
use crate::pool::{KeyId, KeySettings, Limits};
use crate::secrets::{SecretRef, Store, StoreName};

/// Every field an entry can have.
pub(super) const FIELDS: [&str; 18] = [
    "key_id",
    "model_name",
    "provider",
    "rpm",
    "tpm",
    "rpd",
    "max_concurrent",
    "burst_capacity",
    "priority",
    "workload_type",
    "active",
    "tags",
    "quota_group",
    "secret_name",
    "secret_store",
    "weight",
    "created_at",
    "updated_at",
];

/// An entry as far as it could be read; its errors are noted.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: ReadKey,
    /// What its secret was called, before a store's rules for names.
    pub(super) secret_name: String,
    /// The limits before this daemon's share was taken.
    pub(super) written: Limits,
    /// Whether the weight is its own.
    pub(super) weighted: bool,
    /// Where it begins in the file.
    pub(super) offset: usize,
    /// Where its id is.
    pub(super) id_offset: usize,
}

/// Reads an entry. None if it has no id that could be spoken of.
pub(super) fn read(
    reading: &mut Reading<'_>,
    node: &Node<'_>,
    settings: &Settings,
) -> Option<Entry> {
    let mut from = Object::open(reading, node, "expected an object: {\"key_id\": \"flash_01\"}")?;
    let id = id(&mut from);
    from.key_id = id.as_ref().map(ToString::to_string);
    from.warn_of_unknown(&FIELDS);
    let provider = provider(&mut from, settings);
    let written = limits(&mut from);
    let weight = from.whole("weight");
    let (secret, secret_name) = secret(&mut from, settings, &provider, id.as_ref());
    for name in ["created_at", "updated_at"] {
        from.text(name, "expected a text such as \"2024-01-01T00:00:00\"", |_| Some(()));
    }
    let word = "expected a word of letters, digits, `_`, `.` and `-`";
    let models = models(&mut from);
    let workload = from.text("workload_type", word, |text| KeyId::parse(text).map(|_| text.into()));
    let group = "expected a name without control characters";
    let quota_group = from.text("quota_group", group, |text| is_name(text).then(|| text.into()));
    let priority = from.whole("priority").map(NonZeroU64::get);
    let tags = from.map("tags");
    let active = from.switch("active").unwrap_or(true);
    let id_offset = from.field("key_id").map_or(node.offset, |id| id.offset);
    let settings = KeySettings {
        id: id?,
        reset_zone: settings.reset_zone(&provider),
        provider,
        models,
        limits: share(written, settings.quota.share),
        quota_group,
        credential: secret.credential(),
        priority,
        workload,
        tags,
        weight: weight.or(written.rpm).unwrap_or(NonZeroU64::MIN),
        active,
    };
    let key = ReadKey { settings, secret };
    let weighted = weight.is_some() || written.rpm.is_some();
    Some(Entry { key, secret_name, written, weighted, offset: node.offset, id_offset })
}

fn id(from: &mut Object<'_, '_>) -> Option<KeyId> {
    let expected = "expected 1 to 64 characters of A-Z, a-z, 0-9, `_`, `.` and `-`";
    if from.field("key_id").is_none() {
        from.error("key_id", format!("is missing: {expected}"));
    }
    from.text("key_id", expected, KeyId::parse)
}

fn provider(from: &mut Object<'_, '_>, settings: &Settings) -> Arc<str> {
    let expected = "expected gemini, openai, anthropic or another name of letters, digits, `_`, \
                    `.` and `-`";
    let name = from.text("provider", expected, |text| KeyId::parse(text).map(|_| text.to_owned()));
    let name: Arc<str> = name.map_or("gemini".into(), Into::into);
    let known = BUILT_IN_PROVIDERS.contains(&&*name) || settings.providers.contains_key(&*name);
    if let Some(meant) = nearest(&name, BUILT_IN_PROVIDERS).filter(|_| !known) {
        let message = format!("unknown provider, so general rules apply; did you mean {meant}?");
        from.note("provider", Problem::warning(message));
    }
    name
}

fn limits(from: &mut Object<'_, '_>) -> Limits {
    let limits = Limits {
        rpm: from.whole("rpm"),
        tpm: from.whole("tpm"),
        rpd: from.whole("rpd"),
        max_concurrent: from.whole("max_concurrent"),
        burst_capacity: from.whole("burst_capacity"),
    };
    if limits.burst_capacity.is_some() && from.field("rpm").is_none() {
        from.note("burst_capacity", Problem::warning("has no effect without rpm"));
        return Limits { burst_capacity: None, ..limits };
    }
    limits
}

fn models(from: &mut Object<'_, '_>) -> Vec<Arc<str>> {
    const NAME: &str = "model_name";
    let expected = "expected the name of a model, or a list of names";
    let Some(node) = from.field(NAME) else { return Vec::new() };
    if let Kind::Text(_) = node.kind {
        let model = from.text(NAME, expected, |text| is_name(text).then(|| text.into()));
        return Vec::from_iter(model);
    }
    let Some(items) = from.list(NAME, expected) else { return Vec::new() };
    if items.is_empty() {
        from.error(NAME, "expected at least one model; leave the field out for any model");
    }
    let mut models: Vec<Arc<str>> = Vec::new();
    for item in items {
        match &item.kind {
            Kind::Text(text) if models.iter().any(|model| **model == **text) => {
                from.note_at(item.offset, NAME, Problem::warning("this model is there twice"));
            }
            Kind::Text(text) if is_name(text) => models.push((&**text).into()),
            Kind::Text(_)
            | Kind::Null
            | Kind::Bool(_)
            | Kind::Number(_)
            | Kind::List(_)
            | Kind::Object(_) => from.note_at(item.offset, NAME, Problem::error(expected)),
        }
    }
    models
}

/// What is looked up, and the name that was given for it.
fn secret(
    from: &mut Object<'_, '_>,
    settings: &Settings,
    provider: &str,
    id: Option<&KeyId>,
) -> (SecretRef, String) {
    let name = from.one_of("secret_store", &StoreName::ALL, StoreName::name);
    let store = name.map(|name| {
        settings.secrets.places.store(name).unwrap_or_else(|message| {
            from.error("secret_store", message);
            Store::Env
        })
    });
    let store = store.as_ref().unwrap_or(&settings.secrets.store);
    let fits = |text: &str| is_name(text) && store.takes(text);
    let secret_name =
        from.text("secret_name", store.expects(), |text| fits(text).then(|| text.to_owned()));
    let id = id.map_or("", KeyId::as_str);
    let secret = SecretRef::new(store, provider, id, secret_name.as_deref());
    (secret, secret_name.unwrap_or_else(|| id.to_owned()))
}

/// A name that people chose: some text, and nothing that would upset a log or a terminal.
fn is_name(text: &str) -> bool {
    const LONGEST: usize = 256;
    let plain = !text.chars().any(char::is_control) && text.trim().len() == text.len();
    plain && (1..=LONGEST).contains(&text.chars().count())
}

/// This daemon's share of every limit, rounded down, at least 1.
fn share(limits: Limits, share: f64) -> Limits {
    let part = |limit: NonZeroU64| {
        // What is a whole number but for rounding counts as whole: 0.29 of 100 is 29.
        #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
        let part = limit.get() as f64 * share * (1.0 + 1e-12);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rounding down is meant, and the part is positive"
        )]
        let part = part as u64;
        NonZeroU64::new(part.min(limit.get())).unwrap_or(NonZeroU64::MIN)
    };
    Limits {
        rpm: limits.rpm.map(part),
        tpm: limits.tpm.map(part),
        rpd: limits.rpd.map(part),
        max_concurrent: limits.max_concurrent.map(part),
        burst_capacity: limits.burst_capacity.map(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_and_at_least_one() {
        let rpm = |limit: u64, part| {
            let limits = Limits { rpm: NonZeroU64::new(limit), ..Limits::default() };
            share(limits, part).rpm.unwrap().get()
        };
        assert_eq!(rpm(100, 0.29), 29);
        assert_eq!(rpm(15, 0.5), 7);
        assert_eq!(rpm(1, 0.1), 1);
        assert_eq!(rpm(1_000_000_000_000, 1.0), 1_000_000_000_000);
    }

    #[test]
    fn a_name_is_plain_text() {
        assert!(is_name("gemini-2.0-flash") && is_name("ft:gpt-4o:org::id"));
        assert!(!is_name("") && !is_name(" a") && !is_name("a\u{1b}[0m"));
    }
}

//! The keys file: which form it has, and what keys.json says around and across its entries.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{self, Entry};
use super::json::{Kind, Node};
use super::object::{Object, Reading};
use super::{KeysSource, ReadFile, ReadKey, json, plain};
use crate::background::{MOST_ROOM, let_go, unhurried};
use crate::config::problem::Problem;
use crate::config::settings::Settings;
use crate::config::text::{Position, did_you_mean};
use crate::pool::{KeyId, Strategy};
use crate::secrets::{Content, Process, Protected, read_protected};

/// Every field of the file itself.
const FIELDS: [&str; 5] = [
    "keys",
    "fallback_order",
    "rotation_strategy",
    "health_check_interval",
    "quota_warning_threshold",
];

/// Reads the keys file at `path`; what is wrong goes to `problems`.
pub(super) fn read(
    path: &Arc<Path>,
    settings: &Settings,
    process: &Process,
    problems: &mut Vec<Problem>,
) -> (ReadFile, KeysSource) {
    let nothing = || ReadFile::of(Vec::new(), Strategy::default());
    let bytes = |content, problems: &mut Vec<Problem>| match read_protected(path, content, process)
    {
        Ok(Protected { bytes, warnings, .. }) => {
            let warning = |warning: &dyn std::fmt::Display| {
                Problem::warning(warning.to_string()).in_file(path)
            };
            problems.extend(warnings.iter().map(|text| warning(text)));
            Some(bytes)
        }
        Err(refusal) => {
            problems.push(Problem::error(refusal.to_string()).in_file(path));
            None
        }
    };
    let json = KeysSource::Json(Arc::clone(path));
    let mut warnings = Vec::new();
    let Some(content) = bytes(Content::Configuration, &mut warnings) else {
        problems.append(&mut warnings);
        return (nothing(), json);
    };
    if is_plain(path, &content) {
        let source = KeysSource::Plain(Arc::clone(path));
        // Once more, because who may read it matters as well.
        let content = bytes(Content::Secrets, problems);
        let keys = content.map(|content| plain::read(path, &content, settings, problems));
        return (ReadFile::of(keys.unwrap_or_default(), Strategy::RoundRobin), source);
    }
    problems.append(&mut warnings);
    (of_bytes(path, &content, settings, problems), json)
}

/// Reads `bytes`, which are those of a JSON file at `path`.
pub(super) fn of_bytes(
    path: &Arc<Path>,
    bytes: &[u8],
    settings: &Settings,
    problems: &mut Vec<Problem>,
) -> ReadFile {
    match decode(bytes) {
        Ok(text) => read_json(&mut Reading { path, text, problems }, settings),
        Err((position, what)) => {
            problems.push(Problem::error(what).in_file(path).at(position));
            ReadFile::of(Vec::new(), Strategy::default())
        }
    }
}

/// Notes what would be wrong with a file at `path` that says `text`.
pub(super) fn judge(
    path: &Arc<Path>,
    text: &str,
    settings: &Settings,
    problems: &mut Vec<Problem>,
) {
    read_json(&mut Reading { path, text, problems }, settings);
}

/// A file of one key a line has another name and does not begin like JSON.
fn is_plain(path: &Path, bytes: &[u8]) -> bool {
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    !json && !matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// The text of a JSON file.
fn decode(bytes: &[u8]) -> Result<&str, (Position, &'static str)> {
    let start = Position { line: 1, column: Some(1) };
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || bytes.get(1) == Some(&0)
    {
        return Err((start, "expected UTF-8 text; this file looks like UTF-16"));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err((start, "begins with a byte order mark; save it as UTF-8 without one"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        (Position::of(&valid, valid.len()), "expected UTF-8 text")
    })
}

fn read_json(reading: &mut Reading<'_>, settings: &Settings) -> ReadFile {
    let mut file = ReadFile::of(Vec::new(), Strategy::default());
    let root = match json::parse(reading.text) {
        Ok(root) => root,
        Err(faults) => {
            for fault in faults {
                reading.note(fault.offset, Problem::error(fault.what));
            }
            return file;
        }
    };
    let expected = "expected an object: {\"keys\": […]}";
    let Some(mut from) = Object::open(reading, &root, expected) else { return file };
    from.warn_of_unknown(&FIELDS);
    let strategy = from.one_of("rotation_strategy", &Strategy::ALL, Strategy::name);
    file.strategy = strategy.unwrap_or_default();
    if let Some(seconds) = from.whole("health_check_interval") {
        file.health_check_interval = Duration::from_secs(seconds.get());
    }
    if let Some(threshold) = from.part("quota_warning_threshold") {
        file.warning_threshold = threshold;
    }
    let expected = "expected a list of at least one key: [{\"key_id\": \"flash_01\"}]";
    let nodes = from.list("keys", expected);
    if from.field("keys").is_none() || nodes.is_some_and(<[_]>::is_empty) {
        from.error("keys", expected);
    }
    let order = from.list("fallback_order", "expected a list of key_ids").unwrap_or_default();
    if file.strategy == Strategy::FallbackOrder && order.is_empty() {
        let message = "fallback_order without a list fallback_order takes the keys as they come";
        from.note("rotation_strategy", Problem::warning(message));
    }
    let nodes = nodes.unwrap_or_default();
    let mut entries: Vec<Entry> = Vec::with_capacity(nodes.len().min(MOST_ROOM));
    entries.extend(unhurried(nodes).filter_map(|node| entry::read(from.reading(), node, settings)));
    weigh(&mut entries);
    let entries = unique(from.reading(), entries);
    same_limits(from.reading(), &entries);
    distinct_secrets(from.reading(), &entries);
    file.fallback_order = fallback_order(&mut from, order, &entries);
    file.keys = unhurried(entries).map(|entry| entry.key).collect::<Vec<ReadKey>>();
    root.let_go();
    file
}

/// Keys without a weight and without a limit can do what the largest can.
fn weigh(entries: &mut [Entry]) {
    let largest = entries.iter().filter_map(|entry| entry.written.rpm).max();
    for entry in entries.iter_mut().filter(|entry| !entry.weighted) {
        entry.key.settings.weight = largest.unwrap_or(NonZeroU64::MIN);
    }
}

fn unique(reading: &mut Reading<'_>, entries: Vec<Entry>) -> Vec<Entry> {
    let mut first: HashMap<KeyId, usize> = HashMap::with_capacity(entries.len());
    let mut kept = Vec::with_capacity(entries.len());
    for entry in unhurried(entries) {
        let id = &entry.key.settings.id;
        if let Some(&offset) = first.get(id) {
            let line = reading.line(offset);
            let problem = Problem::error(format!("line {line} has this key_id already"));
            let problem = problem.of_key(Some(id.as_str())).about("key_id");
            reading.note(entry.id_offset, problem);
        } else {
            first.insert(id.clone(), entry.id_offset);
            kept.push(entry);
        }
    }
    let_go(first);
    kept
}

/// Entries of one group and model count against the same limits, so they cannot differ in them.
fn same_limits(reading: &mut Reading<'_>, entries: &[Entry]) {
    let mut first: BTreeMap<_, &Entry> = BTreeMap::new();
    for entry in unhurried(entries) {
        let key = &entry.key.settings;
        let Some(group) = &key.quota_group else { continue };
        let other = *first.entry((group, &key.models)).or_insert(entry);
        if other.written != entry.written {
            let problem = Problem::error(format!(
                "expected the same rpm, tpm, rpd, max_concurrent and burst_capacity as key {}, \
                 which has the same quota_group and model_name",
                other.key.settings.id
            ));
            let problem = problem.of_key(Some(key.id.as_str())).about("quota_group");
            reading.note(entry.offset, problem);
        }
    }
}

/// Keys whose different names would be bent to one name of a secret would share it by accident.
fn distinct_secrets(reading: &mut Reading<'_>, entries: &[Entry]) {
    let mut first: BTreeMap<_, &Entry> = BTreeMap::new();
    for entry in unhurried(entries).filter(|entry| entry.key.secret.remote().is_some()) {
        let key = &entry.key.settings;
        let other = *first.entry(&key.credential).or_insert(entry);
        if other.secret_name != entry.secret_name {
            let problem = Problem::error(format!(
                "its secret would be {}, as that of key {} is; give both a secret_name",
                entry.key.secret.looked_up(),
                other.key.settings.id
            ));
            reading.note(entry.offset, problem.of_key(Some(key.id.as_str())).about("secret_name"));
        }
    }
}

fn fallback_order(from: &mut Object<'_, '_>, nodes: &[Node<'_>], entries: &[Entry]) -> Vec<KeyId> {
    const NAME: &str = "fallback_order";
    let mut order: Vec<KeyId> = Vec::new();
    for node in nodes {
        let text = if let Kind::Text(text) = &node.kind { &**text } else { "" };
        let ids = || entries.iter().map(|entry| &entry.key.settings.id);
        let message = match ids().find(|id| id.as_str() == text) {
            Some(id) if order.contains(id) => "this key is there twice".to_owned(),
            Some(id) => {
                order.push(id.clone());
                continue;
            }
            None => {
                let hint = did_you_mean(text, ids().map(KeyId::as_str));
                format!("expected the key_id of a key in this file{hint}")
            }
        };
        from.note_at(node.offset, NAME, Problem::error(message));
    }
    order
}

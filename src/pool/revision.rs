//! Another configuration, compared with the present one before the pool takes it: the pool of many
//! keys should not have to wait for the comparison.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::group::GroupId;
use super::key::{KeyIdx, NoSecret};
use super::settings::{KeyId, KeySettings, PoolSettings};

/// Which keys a new configuration has touched.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyChanges {
    /// Keys that were not there before.
    pub added: Vec<KeyId>,
    /// Keys that are not there any more.
    pub removed: Vec<KeyId>,
    /// Keys whose entry is another.
    pub changed: Vec<KeyId>,
}

/// What is known of the secrets of keys: why one has none, or that it has one.
pub type SecretsKnown = BTreeMap<KeyId, Option<NoSecret>>;

/// Another configuration, and what it makes of the present one.
#[derive(Debug)]
pub struct Revision {
    pub(super) settings: Arc<PoolSettings>,
    /// The configuration it was compared with.
    pub(super) before: Arc<PoolSettings>,
    pub(super) changes: KeyChanges,
    /// What is known of the secrets of keys by their places.
    pub(super) secrets: Vec<(KeyIdx, Option<NoSecret>)>,
    /// The entries that are others, if every key keeps its place and its group.
    pub(super) entries: Option<Vec<NewEntry>>,
    /// Whether the same keys serve the same requests in the same order.
    pub(super) same_views: bool,
}

/// Another entry of a key that keeps its place.
#[derive(Debug)]
pub(super) struct NewEntry {
    pub(super) key: KeyIdx,
    /// The entry, and the old one once the pool has taken it.
    pub(super) settings: Arc<KeySettings>,
    pub(super) other_credential: bool,
}

impl Revision {
    /// Compares `settings` with what was configured `before`. No waiting request will be refused
    /// for want of a secret that is there by what is known of the `secrets`.
    pub fn new(
        before: &Arc<PoolSettings>,
        settings: impl Into<Arc<PoolSettings>>,
        secrets: &SecretsKnown,
    ) -> Self {
        let settings = settings.into();
        let known = |(place, key): (usize, &Arc<KeySettings>)| {
            Some((KeyIdx::at(place), secrets.get(&key.id)?.clone()))
        };
        let mut revision = Self {
            secrets: settings.keys.iter().enumerate().filter_map(known).collect(),
            settings,
            before: before.clone(),
            changes: KeyChanges::default(),
            entries: None,
            same_views: false,
        };
        revision.compare_with(before);
        revision
    }

    /// What it makes of the configuration `before`.
    pub(super) fn compare_with(&mut self, before: &Arc<PoolSettings>) {
        let settings = &self.settings;
        self.before = before.clone();
        self.changes = changes(before, settings);
        self.entries = new_entries(before, settings);
        self.same_views = (before.strategy, &before.fallback_order)
            == (settings.strategy, &settings.fallback_order)
            && pairs(before, settings).all(|(old, new)| same_use(old, new));
    }

    /// The configuration.
    pub fn settings(&self) -> &Arc<PoolSettings> {
        &self.settings
    }
}

/// The keys at the same places, before and after.
fn pairs<'a>(
    before: &'a PoolSettings,
    after: &'a PoolSettings,
) -> impl Iterator<Item = (&'a Arc<KeySettings>, &'a Arc<KeySettings>)> {
    before.keys.iter().zip(&after.keys)
}

/// The entries that are others, if every key keeps its place and its group.
fn new_entries(before: &PoolSettings, after: &PoolSettings) -> Option<Vec<NewEntry>> {
    let stays = |(old, new): (&Arc<KeySettings>, &Arc<KeySettings>)| {
        (&old.id, &old.provider) == (&new.id, &new.provider) && GroupId::of(old) == GroupId::of(new)
    };
    if before.keys.len() != after.keys.len() || !pairs(before, after).all(stays) {
        return None;
    }
    let others = pairs(before, after).enumerate().filter(|(_, (old, new))| old != new);
    let entry = |(place, (old, new)): (usize, (&Arc<KeySettings>, &Arc<KeySettings>))| NewEntry {
        key: KeyIdx::at(place),
        settings: new.clone(),
        other_credential: old.credential != new.credential,
    };
    Some(others.map(entry).collect())
}

/// Whether a key serves the same requests before and after, as early among others.
fn same_use(before: &KeySettings, after: &KeySettings) -> bool {
    (&before.models, &before.tags, &before.workload, before.priority)
        == (&after.models, &after.tags, &after.workload, after.priority)
}

fn changes(before: &PoolSettings, after: &PoolSettings) -> KeyChanges {
    let mut old: HashMap<&KeyId, &Arc<KeySettings>> =
        before.keys.iter().map(|key| (&key.id, key)).collect();
    let mut changes = KeyChanges::default();
    for key in &after.keys {
        match old.remove(&key.id) {
            None => changes.added.push(key.id.clone()),
            Some(old) if old != key => changes.changed.push(key.id.clone()),
            Some(_) => {}
        }
    }
    changes.removed = old.into_keys().cloned().collect();
    changes.removed.sort();
    changes
}

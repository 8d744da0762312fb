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

impl KeyChanges {
    /// Nothing but these entries is new.
    fn of(entries: &[NewEntry]) -> Self {
        let changed = entries.iter().map(|entry| entry.settings.id.clone()).collect();
        Self { changed, ..Self::default() }
    }
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
    /// What is known of the secrets of keys, in the order of their places.
    pub(super) secrets: Vec<(KeyIdx, Option<NoSecret>)>,
    /// The entries that are others in the same order, if every key keeps its place and its group.
    pub(super) entries: Option<Vec<NewEntry>>,
    /// Whether the pool has begun to take it, and of how many keys it has what is new.
    pub(super) begun: bool,
    taken: usize,
    /// Whether the same keys serve the same requests in the same order.
    pub(super) same_views: bool,
    /// Whether each key can be changed by itself, and no request is refused meanwhile that both
    /// configurations serve.
    pub(super) can_be_in_steps: bool,
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
            begun: false,
            taken: 0,
            same_views: false,
            can_be_in_steps: false,
        };
        revision.compare_with(before);
        revision
    }

    /// What it makes of the configuration `before`.
    pub(super) fn compare_with(&mut self, before: &Arc<PoolSettings>) {
        let settings = &self.settings;
        self.before = before.clone();
        self.entries = new_entries(before, settings);
        self.changes = match &self.entries {
            Some(entries) => KeyChanges::of(entries),
            None => changes(before, settings),
        };
        self.same_views = (before.strategy, &before.fallback_order)
            == (settings.strategy, &settings.fallback_order)
            && pairs(before, settings).all(|(old, new)| same_use(old, new));
        self.can_be_in_steps = self.same_views
            && self.entries.is_some()
            && self.secrets.iter().all(|(_, missing)| missing.is_none())
            && pairs(before, settings).all(|(old, new)| same_means(old, new));
    }

    /// What is new of the next `most` keys: entries, and what is known of secrets.
    pub(super) fn next(
        &mut self,
        most: usize,
    ) -> (&mut [NewEntry], impl Iterator<Item = (KeyIdx, Option<NoSecret>)>) {
        let [from, to] =
            [self.taken, self.settings.keys.len().min(self.taken.saturating_add(most))];
        self.taken = to;
        let entries = self.entries.as_deref_mut().unwrap_or_default();
        let [first, last] =
            [from, to].map(|end| entries.partition_point(|entry| entry.key < KeyIdx::at(end)));
        let [known, still] =
            [from, to].map(|end| self.secrets.partition_point(|(key, _)| *key < KeyIdx::at(end)));
        let secrets = self.secrets[known..still].iter_mut();
        (&mut entries[first..last], secrets.map(|(key, missing)| (*key, missing.take())))
    }

    /// Whether the pool has taken all of it.
    pub(super) fn is_taken(&self) -> bool {
        self.taken == self.settings.keys.len()
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

/// Whether a key can serve at all, and as large requests, before and after.
fn same_means(before: &KeySettings, after: &KeySettings) -> bool {
    (before.active, &before.credential, before.limits.tpm)
        == (after.active, &after.credential, after.limits.tpm)
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

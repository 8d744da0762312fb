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
    /// What is known of the secrets of keys, in the order of their places.
    pub(super) secrets: Vec<(KeyIdx, Option<NoSecret>)>,
    /// What is new in place, if every key keeps its place and its group.
    pub(super) in_place: Option<InPlace>,
    /// Whether the pool has begun to take it, and of how many keys it has what is new.
    pub(super) begun: bool,
    taken: usize,
}

/// What is new of keys that keep their places and groups.
#[derive(Debug)]
pub(super) struct InPlace {
    /// The entries that are others, in the order of their places.
    pub(super) entries: Vec<NewEntry>,
    /// Whether the same keys serve the same requests in the same order.
    pub(super) same_views: bool,
    /// Whether each key can be changed by itself, and no request is refused meanwhile that both
    /// configurations serve.
    pub(super) in_steps: bool,
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
    /// Compares `settings` with what was configured `before`; calls `each` after every key, for who
    /// must not compute for long at a stretch. No waiting request will be refused for want of a
    /// secret that is there by what is known of the `secrets`.
    pub fn new(
        before: &Arc<PoolSettings>,
        settings: impl Into<Arc<PoolSettings>>,
        secrets: &SecretsKnown,
        mut each: impl FnMut(),
    ) -> Self {
        let settings = settings.into();
        let known = |(place, key): (usize, &Arc<KeySettings>)| {
            each();
            Some((KeyIdx::at(place), secrets.get(&key.id)?.clone()))
        };
        let mut revision = Self {
            secrets: settings.keys.iter().enumerate().filter_map(known).collect(),
            settings,
            before: before.clone(),
            changes: KeyChanges::default(),
            in_place: None,
            begun: false,
            taken: 0,
        };
        revision.compare_with(before, each);
        revision
    }

    /// What it makes of the configuration `before`.
    pub(super) fn compare_with(&mut self, before: &Arc<PoolSettings>, mut each: impl FnMut()) {
        self.before = before.clone();
        self.in_place = in_place(before, &self.settings, &mut each);
        match &self.in_place {
            Some(in_place) => {
                let ids = in_place.entries.iter().map(|entry| entry.settings.id.clone());
                self.changes = KeyChanges { changed: ids.collect(), ..KeyChanges::default() };
            }
            None => self.changes = changes(before, &self.settings, each),
        }
    }

    /// What is new of the next `most` keys: entries, and what is known of secrets.
    pub(super) fn next(
        &mut self,
        most: usize,
    ) -> (&mut [NewEntry], impl Iterator<Item = (KeyIdx, Option<NoSecret>)>) {
        let [from, to] =
            [self.taken, self.settings.keys.len().min(self.taken.saturating_add(most))];
        self.taken = to;
        let entries = self.in_place.as_mut().map(|in_place| &mut in_place.entries[..]);
        let entries = entries.unwrap_or_default();
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

/// What is new, if every key keeps its place and its group.
fn in_place(
    before: &PoolSettings,
    after: &PoolSettings,
    mut each: impl FnMut(),
) -> Option<InPlace> {
    if before.keys.len() != after.keys.len() {
        return None;
    }
    let mut same_views =
        (before.strategy, &before.fallback_order) == (after.strategy, &after.fallback_order);
    let mut same_means = true;
    let mut entries = Vec::new();
    for (place, (old, new)) in before.keys.iter().zip(&after.keys).enumerate() {
        each();
        if old == new {
            continue;
        }
        if !keeps_its_place(old, new) {
            return None;
        }
        same_views &= has_same_use(old, new);
        same_means &= has_same_means(old, new);
        entries.push(NewEntry {
            key: KeyIdx::at(place),
            settings: new.clone(),
            other_credential: old.credential != new.credential,
        });
    }
    Some(InPlace { entries, same_views, in_steps: same_views && same_means })
}

/// Whether it is the same key in the same group.
fn keeps_its_place(before: &KeySettings, after: &KeySettings) -> bool {
    (&before.id, &before.provider) == (&after.id, &after.provider)
        && GroupId::of(before) == GroupId::of(after)
}

/// Whether a key serves the same requests before and after, as early among others.
fn has_same_use(before: &KeySettings, after: &KeySettings) -> bool {
    (&before.models, &before.tags, &before.workload, before.priority)
        == (&after.models, &after.tags, &after.workload, after.priority)
}

/// Whether a key can serve at all, and as large requests, before and after.
fn has_same_means(before: &KeySettings, after: &KeySettings) -> bool {
    (before.active, &before.credential, before.limits.tpm)
        == (after.active, &after.credential, after.limits.tpm)
}

fn changes(before: &PoolSettings, after: &PoolSettings, mut each: impl FnMut()) -> KeyChanges {
    let mut old: HashMap<&KeyId, &Arc<KeySettings>> =
        before.keys.iter().map(|key| (&key.id, key)).collect();
    let mut changes = KeyChanges::default();
    for key in &after.keys {
        each();
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

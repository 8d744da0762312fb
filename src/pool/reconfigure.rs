//! Taking another configuration: what stays keeps its counters, cooldowns and leases.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::core::Pool;
use super::group::{Group, GroupId, GroupIdx};
use super::key::{Key, KeyIdx, NoSecret};
use super::lease::LeaseId;
use super::probe::ProbeState;
use super::revision::{KeyChanges, NewEntry, Revision, SecretsKnown};
use super::rules::Rules;
use super::settings::{KeyId, KeySettings, PoolSettings};
use super::snapshot::What;
use super::time::{Instant, Now};

/// How many keys memory is asked for at once.
const AT_ONCE: usize = 16;

/// Why what a key or a lease names has a place in the new lists.
const NAMED: &str = "what is named is kept";

impl Pool {
    /// Takes another configuration.
    ///
    /// Keys are known by their id, groups by theirs. A key that moves to another group takes the
    /// uses of its old one along, and its own requests in flight, because the provider may have
    /// counted them there. A group that loses its last key is kept while anything used in it still
    /// counts, so that a key that comes back finds its limits as they are.
    ///
    /// New keys have no secret until [`Pool::set_secret`] says so.
    pub fn reconfigure(&mut self, settings: impl Into<Arc<PoolSettings>>, now: Now) -> KeyChanges {
        self.reconfigure_with_secrets(settings, &BTreeMap::new(), now)
    }

    /// The same, together with what is known of the secrets. No waiting request is refused for
    /// want of a secret that is there.
    pub fn reconfigure_with_secrets(
        &mut self,
        settings: impl Into<Arc<PoolSettings>>,
        secrets: &SecretsKnown,
        now: Now,
    ) -> KeyChanges {
        let mut revision = Revision::new(&self.settings, settings, secrets, || {});
        self.revise(&mut revision, now)
    }

    /// Takes the configuration of `revision`. It leaves the old one there, so that nobody who
    /// waits for the pool waits until all of that is let go.
    pub fn revise(&mut self, revision: &mut Revision, now: Now) -> KeyChanges {
        loop {
            if let Some(changes) = self.revise_some(revision, usize::MAX, now) {
                return changes;
            }
        }
    }

    /// The same for `most` keys at a time, where nothing but what keys may be granted how often is
    /// new; what has changed, once all of it is taken. Until then every key is as one configuration
    /// or the other has it.
    pub fn revise_some(
        &mut self,
        revision: &mut Revision,
        most: usize,
        now: Now,
    ) -> Option<KeyChanges> {
        self.advance(now);
        if !revision.begun {
            self.begin_revision(revision, now);
        }
        // What holds for all keys together cannot be of both configurations, as parts of limits.
        let in_place = revision.in_place.as_ref();
        let in_steps = in_place.is_some_and(|in_place| in_place.in_steps) && !self.sharing.on;
        let most = if in_steps { most } else { usize::MAX };
        let (entries, secrets) = revision.next(most);
        self.replace_entries(entries);
        for (key, missing) in secrets {
            self.note_secret(key, missing, now);
        }
        if !revision.is_taken() {
            return None;
        }
        if self.sharing.on {
            self.scale_groups(now);
        }
        self.settings = revision.settings.clone();
        self.keys_lost = true;
        self.probes_moved = true;
        self.serve_line(now);
        Some(std::mem::take(&mut revision.changes))
    }

    fn begin_revision(&mut self, revision: &mut Revision, now: Now) {
        if !Arc::ptr_eq(&revision.before, &self.settings) {
            revision.compare_with(&self.settings, || {});
        }
        let settings = revision.settings.clone();
        self.note(What::Reconfigured { settings: settings.clone() }, now);
        let other_guard = self.rules.guard != settings.delay_guard;
        self.rules = Rules::of(&settings);
        if other_guard || !self.stock.has_no_spares() {
            revision.in_place = None;
        }
        if let Some(in_place) = &mut revision.in_place {
            let stays_so = |key: KeyIdx| self.stock[key].missing_secret.is_some();
            let mut missing = revision.secrets.iter().filter(|(_, missing)| missing.is_some());
            in_place.in_steps &= missing.all(|(key, _)| stays_so(*key));
        }
        match &revision.in_place {
            None => self.rebuild(&settings, now),
            Some(in_place) if !in_place.same_views => self.views.clear(),
            Some(_) => {}
        }
        revision.begun = true;
    }

    /// Takes these entries of keys that keep their places and groups.
    fn replace_entries(&mut self, entries: &mut [NewEntry]) {
        for some in entries.chunks_mut(AT_ONCE) {
            for entry in &*some {
                self.fetch_for_grant(entry.key, self.stock[entry.key].group);
            }
            for entry in some {
                self.replace_entry(entry);
            }
        }
    }

    fn replace_entry(&mut self, entry: &mut NewEntry) {
        let NewEntry { key: idx, settings, other_credential } = entry;
        let key = &mut self.stock[*idx];
        // The old entry is let go by whoever has the revision.
        std::mem::swap(&mut key.settings, settings);
        let group = key.group;
        if *other_credential {
            key.take_credential();
            self.stock.credential_changed();
        }
        if self.stock[group].members.first() == Some(idx) {
            let entry = self.stock[*idx].settings.clone();
            self.stock[group].resize(&entry, self.rules.guard);
        }
        self.views.ease(*idx, Instant::ZERO);
    }

    /// Puts keys and groups together anew.
    fn rebuild(&mut self, settings: &PoolSettings, now: Now) {
        let old_keys = self.stock.keys.replace(Vec::new());
        let old_groups = self.stock.groups.replace(Vec::new());
        let mut groups = Groups::adopt(old_groups, self.rules.guard, self.sharing.on);
        let mut old_keys: Vec<Option<Key>> = old_keys.into_iter().map(Some).collect();
        let mut moved: Vec<Option<KeyIdx>> = vec![None; old_keys.len()];
        let mut keys: Vec<Key> = Vec::with_capacity(settings.keys.len());

        for entry in &settings.keys {
            let group = groups.place(entry);
            let place = KeyIdx::at(keys.len());
            let old_idx = self.stock.by_id.get(&entry.id).copied();
            let old = old_idx.and_then(|idx| old_keys[idx.0 as usize].take());
            let provider = self.stock.provider(&entry.provider);
            let mut key = Key::new(entry.clone(), group, provider);
            if let (Some(old_idx), Some(old)) = (old_idx, old) {
                moved[old_idx.0 as usize] = Some(place);
                groups.move_uses(old.group, group, now, &*self.stock.calendar);
                key.inherit(old);
            } else {
                groups.come_back(&key.settings.id, group, now, &*self.stock.calendar);
            }
            groups.all[group.0 as usize].members.push(place);
            keys.push(key);
        }
        self.stock.by_id = keys
            .iter()
            .enumerate()
            .map(|(n, key)| (key.settings.id.clone(), KeyIdx::at(n)))
            .collect();

        // Keys that leases still name stay at the end of the list, out of service. The group of an
        // open lease is kept; the one that the key has moved to since may be kept no longer.
        let leased: HashMap<KeyIdx, GroupIdx> =
            self.leases.iter().map(|(_, lease)| (lease.key, lease.group)).collect();
        for (n, old) in old_keys.into_iter().enumerate() {
            if let Some(old) = old.as_ref().filter(|old| old.configured) {
                groups.all[old.group.0 as usize].gone.insert(old.settings.id.clone());
            }
            if let Some(mut old) = old
                && let Some(&group) = leased.get(&KeyIdx::at(n))
            {
                old.configured = false;
                old.group = group;
                moved[n] = Some(KeyIdx::at(keys.len()));
                keys.push(old);
            }
        }
        self.stock.keys.replace(keys);
        let moved = |key: KeyIdx| moved.get(key.0 as usize).copied().flatten();
        self.last_key = self.last_key.and_then(moved);

        let mut kept = groups.keep_remembered(now);
        self.stock.groups.replace(std::mem::take(&mut kept.groups));
        for key in self.stock.keys.iter_mut() {
            key.group = kept.place(key.group).expect(NAMED);
        }
        for lease in self.leases.iter_mut() {
            lease.key = moved(lease.key).expect(NAMED);
            lease.group = kept.place(lease.group).expect(NAMED);
        }
        let recoveries = std::mem::take(&mut self.recoveries);
        let recoveries = recoveries.into_iter();
        self.recoveries =
            recoveries.filter_map(|(at, group)| Some((at, kept.place(group)?))).collect();

        for provider in &mut self.stock.providers {
            provider.breaker.regroup(|group| kept.place(group));
        }
        self.count_in_flight_of_moved_keys();
        self.stock.restocked();
        self.scale_groups(now);
        self.sharing.wishes.clear();
        self.views.clear();
    }

    /// The requests in flight of a key that has moved count in its group of now as well.
    fn count_in_flight_of_moved_keys(&mut self) {
        let leases = &self.leases;
        let is_open = |name: &str| LeaseId::parse(name).is_some_and(|id| leases.find(id).is_ok());
        for group in self.stock.groups.iter_mut() {
            group.foreign.forget(is_open);
        }
        for (seq, lease) in leases.iter() {
            let group = self.stock[lease.key].group;
            if group != lease.group {
                self.stock[group].foreign.begin(leases.id(seq), lease.expires);
            }
        }
    }
}

impl Key {
    /// Has another credential, of which nothing is known.
    fn take_credential(&mut self) {
        self.dead = None;
        self.probe = ProbeState::default();
        self.missing_secret = Some(NoSecret::not_looked_up());
    }

    /// Takes over what is known of the key's earlier self.
    fn inherit(&mut self, old: Self) {
        if self.settings.credential == old.settings.credential {
            self.dead = old.dead;
            self.probe = old.probe;
            self.missing_secret = old.missing_secret;
        }
        self.refused_models = old.refused_models;
        self.last_granted = old.last_granted;
        self.record = old.record;
    }
}

/// Groups while they are put together anew. The indices of the old ones stay as they are.
struct Groups {
    all: Vec<Group>,
    by_id: HashMap<GroupId, GroupIdx>,
    /// The groups that keys were in when they left the configuration.
    gone: HashMap<KeyId, Vec<GroupIdx>>,
    sized: HashSet<GroupIdx>,
    moves: HashSet<(GroupIdx, GroupIdx)>,
    guard: std::time::Duration,
    sharing: bool,
}

/// The groups that are kept, and where each one went.
struct Kept {
    groups: Vec<Group>,
    moved: Vec<Option<GroupIdx>>,
}

impl Kept {
    /// Where `group` went, if it is kept: every group that a key or a lease names is.
    fn place(&self, group: GroupIdx) -> Option<GroupIdx> {
        self.moved.get(group.0 as usize).copied().flatten()
    }
}

impl Groups {
    fn adopt(mut old: Vec<Group>, guard: std::time::Duration, sharing: bool) -> Self {
        for group in &mut old {
            group.members.clear();
        }
        let by_id = old.iter().enumerate();
        let by_id = by_id.map(|(n, group)| (group.id.clone(), GroupIdx::at(n))).collect();
        let mut gone: HashMap<KeyId, Vec<GroupIdx>> = HashMap::new();
        for (n, group) in old.iter().enumerate() {
            for key in &group.gone {
                gone.entry(key.clone()).or_default().push(GroupIdx::at(n));
            }
        }
        let (sized, moves) = Default::default();
        Self { all: old, by_id, gone, sized, moves, guard, sharing }
    }

    /// The group of `entry`, with the limits that it gives.
    fn place(&mut self, entry: &KeySettings) -> GroupIdx {
        let id = GroupId::of(entry);
        if let Some(&idx) = self.by_id.get(&id) {
            if self.sized.insert(idx) {
                self.all[idx.0 as usize].resize(entry, self.guard);
            }
            return idx;
        }
        let idx = GroupIdx::at(self.all.len());
        self.all.push(Group::new(id.clone(), entry, self.guard, self.sharing));
        self.by_id.insert(id, idx);
        self.sized.insert(idx);
        idx
    }

    /// Counts the uses of `from` in `to` as well, once.
    fn move_uses(
        &mut self,
        from: GroupIdx,
        to: GroupIdx,
        now: Now,
        calendar: &dyn super::time::Calendar,
    ) {
        if from != to && self.moves.insert((from, to)) {
            let mut source = self.all[from.0 as usize].clone();
            self.all[to.0 as usize].absorb(&mut source, now, calendar);
        }
    }

    /// A key that was gone is in group `to` now: counts there what it used where it was.
    fn come_back(
        &mut self,
        key: &KeyId,
        to: GroupIdx,
        now: Now,
        calendar: &dyn super::time::Calendar,
    ) {
        for from in self.gone.remove(key).unwrap_or_default() {
            self.move_uses(from, to, now, calendar);
            self.all[from.0 as usize].gone.remove(key);
        }
    }

    /// Drops the groups that have no key and nothing to remember.
    fn keep_remembered(self, now: Now) -> Kept {
        let (count, groups) = (self.all.len(), Vec::with_capacity(self.all.len()));
        let mut kept = Kept { groups, moved: vec![None; count] };
        for (n, mut group) in self.all.into_iter().enumerate() {
            if !group.quota.remembers(now) {
                group.gone.clear();
            }
            if !group.members.is_empty() || group.remembers(now) {
                kept.moved[n] = Some(GroupIdx::at(kept.groups.len()));
                kept.groups.push(group);
            }
        }
        kept
    }
}

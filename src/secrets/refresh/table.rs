//! Every secret of the remote stores that some key wants: what is known of it, and what is to be
//! fetched now. Pure: time and chance are handed in.

use std::collections::BTreeMap;

use super::super::remote::{Failure, FailureClass, RemoteRef, RemoteStore, Version};
use super::freshness::{Freshness, RefreshRules};
use super::gate::{Gate, Moved};
use crate::pool::Instant;
use crate::telemetry::metrics::Refresh;

/// Every secret that some key wants.
#[derive(Debug)]
pub(super) struct Table {
    rules: RefreshRules,
    entries: BTreeMap<RemoteRef, Entry>,
    gates: BTreeMap<RemoteStore, Gate>,
    /// Why stores do not answer, for those that don't.
    away: BTreeMap<RemoteStore, Failure>,
}

/// What is known of one secret.
#[derive(Debug)]
struct Entry {
    freshness: Freshness,
    /// As it was last fetched.
    version: Option<Version>,
    /// Why it was not, if the last attempt failed.
    failure: Option<Failure>,
    /// When the attempt began that is under way.
    begun: Option<Instant>,
    /// When the last attempt ended.
    tried_at: Option<Instant>,
    /// Whether those who want it were last told that it serves.
    serves: bool,
}

/// What is known of a secret at some time.
#[derive(Debug)]
pub(super) enum Known<'a> {
    /// It serves.
    Serves(&'a Version),
    /// It has been fetched, but does not serve any more.
    Lost {
        /// When it was last fetched.
        fetched_at: Instant,
        /// Why not.
        failure: &'a Failure,
    },
    /// It was asked for in vain.
    Failed(&'a Failure),
    /// It has not been asked for yet.
    NotYet,
}

/// What an answer has changed.
#[derive(Debug)]
pub(super) struct Learnt {
    /// What came of asking.
    pub(super) refresh: Refresh,
    /// Whether somebody who wants a secret has another answer now.
    pub(super) news: bool,
    /// What it did to the store's gate.
    pub(super) moved: Moved,
}

impl Table {
    pub(super) fn new(rules: RefreshRules) -> Self {
        let (entries, gates, away) = Default::default();
        Self { rules, entries, gates, away }
    }

    /// From now on `wanted` are kept up to date, and no others.
    pub(super) fn want(
        &mut self,
        wanted: impl IntoIterator<Item = RemoteRef>,
        rules: RefreshRules,
    ) {
        self.rules = rules;
        let mut known = std::mem::take(&mut self.entries);
        let keep = |reference: RemoteRef| {
            let entry = known.remove(&reference).unwrap_or_else(Entry::new);
            (reference, entry)
        };
        self.entries = wanted.into_iter().map(keep).collect();
    }

    /// The stores are others: everything is asked for anew, and what there is serves meanwhile.
    pub(super) fn stores_changed(&mut self, now: Instant) {
        self.gates.clear();
        self.away.clear();
        for entry in self.entries.values_mut() {
            entry.freshness.hurry(now);
        }
    }

    /// Takes up to `room` secrets to fetch now, those first that were asked for the longest ago.
    pub(super) fn begin(&mut self, room: usize, now: Instant) -> Vec<RemoteRef> {
        let mut due: Vec<_> = self.entries.iter_mut().filter(|(_, e)| e.is_due(now)).collect();
        due.sort_by_key(|(_, entry)| entry.tried_at);
        let mut begun = Vec::new();
        for (reference, entry) in due {
            let gate = self.gates.entry(reference.store).or_default();
            if begun.len() < room && gate.opens_at().is_some_and(|opens| opens <= now) {
                gate.pass();
                entry.begun = Some(now);
                begun.push(reference.clone());
            }
        }
        begun
    }

    /// When there is something to do, unless something happens before: something to fetch, or a
    /// secret that stops serving.
    pub(super) fn wakes_at(&self) -> Instant {
        let wakes = |(reference, entry): (&RemoteRef, &Entry)| {
            let opens =
                self.gates.get(&reference.store).map_or(Some(Instant::ZERO), Gate::opens_at);
            let fetch = opens.filter(|_| entry.begun.is_none()).map(|at| at.max(entry.due()));
            let stops = entry.serves.then(|| entry.freshness.expires(self.rules));
            fetch.into_iter().chain(stops).min()
        };
        self.entries.iter().filter_map(wakes).min().unwrap_or(Instant::NEVER)
    }

    /// Whether a secret has stopped serving because it has become too old.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let rules = self.rules;
        let mut news = false;
        for entry in self.entries.values_mut() {
            if entry.serves && !entry.freshness.holds(rules, now) {
                entry.serves = false;
                news = true;
            }
        }
        news
    }

    /// Takes note of an answer to what was begun at `begun`.
    pub(super) fn end(
        &mut self,
        reference: &RemoteRef,
        begun: Instant,
        answer: Result<Version, Failure>,
        chance: f64,
        now: Instant,
    ) -> Learnt {
        let moved = self.move_gate(reference.store, begun, &answer, chance, now);
        let rules = self.rules;
        let Some(entry) = self.entries.get_mut(reference) else {
            return Learnt { refresh: Refresh::Unchanged, news: false, moved };
        };
        entry.begun = None;
        entry.tried_at = Some(now);
        let (refresh, news) = match answer {
            Ok(version) => {
                entry.freshness.succeeded(rules, chance, now);
                let same = |old: &Version| old.secret.same_as(&version.secret);
                let same = entry.version.as_ref().is_some_and(same);
                let news = !same || !entry.serves;
                (entry.version, entry.failure) = (Some(version), None);
                entry.serves = true;
                (if same { Refresh::Unchanged } else { Refresh::Replaced }, news)
            }
            Err(failure) => {
                entry.freshness.failed(failure.class, chance, now);
                let holds = entry.freshness.holds(rules, now);
                let told =
                    entry.serves == holds && (holds || entry.failure.as_ref() == Some(&failure));
                let refresh = refresh_of(failure.class);
                (entry.failure, entry.serves) = (Some(failure), holds);
                (refresh, !told)
            }
        };
        Learnt { refresh, news, moved }
    }

    fn move_gate(
        &mut self,
        store: RemoteStore,
        begun: Instant,
        answer: &Result<Version, Failure>,
        chance: f64,
        now: Instant,
    ) -> Moved {
        let gate = self.gates.entry(store).or_default();
        match answer {
            Err(failure) if failure.class == FailureClass::Unavailable => {
                self.away.insert(store, failure.clone());
                gate.failed(begun, chance, now)
            }
            Ok(_) | Err(_) => {
                let moved = gate.answered();
                if self.away.remove(&store).is_some() {
                    self.hurry_failed(store, now);
                }
                moved
            }
        }
    }

    /// A store is back: what it failed to give is asked for at once.
    fn hurry_failed(&mut self, store: RemoteStore, now: Instant) {
        let of_store = self.entries.iter_mut().filter(|(reference, _)| reference.store == store);
        for (_, entry) in of_store {
            let away = |failure: &Failure| failure.class == FailureClass::Unavailable;
            if entry.failure.as_ref().is_some_and(away) {
                entry.freshness.hurry(now);
            }
        }
    }

    /// Somebody has reason to think that a secret is another one by now.
    pub(super) fn hurry(&mut self, reference: &RemoteRef, now: Instant) {
        if let Some(entry) = self.entries.get_mut(reference) {
            entry.freshness.hurry(now);
        }
    }

    /// What is known of a secret.
    pub(super) fn known(&self, reference: &RemoteRef, now: Instant) -> Known<'_> {
        let Some(entry) = self.entries.get(reference) else { return Known::NotYet };
        let of_store = || self.away.get(&reference.store);
        match (&entry.version, &entry.failure) {
            (Some(version), _) if entry.freshness.holds(self.rules, now) => Known::Serves(version),
            (Some(_), Some(failure)) => {
                let fetched_at = entry.freshness.fetched_at().unwrap_or_default();
                Known::Lost { fetched_at, failure }
            }
            (None, Some(failure)) => Known::Failed(failure),
            (_, None) => of_store().map_or(Known::NotYet, Known::Failed),
        }
    }

    /// When a secret was last fetched, if it was.
    pub(super) fn fetched_at(&self, reference: &RemoteRef) -> Option<Instant> {
        self.entries.get(reference)?.freshness.fetched_at()
    }

    /// How a store is, if some key wants a secret of it.
    pub(super) fn store(&self, store: RemoteStore, now: Instant) -> Option<StoreState> {
        let mut state = StoreState::default();
        for (_, entry) in self.entries.iter().filter(|(reference, _)| reference.store == store) {
            state.secrets += 1;
            let holds = entry.freshness.holds(self.rules, now);
            state.serving += usize::from(holds);
            state.stale += usize::from(holds && entry.freshness.is_stale());
        }
        state.failure = self.away.get(&store).cloned();
        state.away_since = self.gates.get(&store).and_then(Gate::closed_since);
        (state.secrets > 0).then_some(state)
    }

    /// How many secrets have been asked for, or cannot be because their store is away; and how
    /// many there are.
    pub(super) fn tried(&self) -> (usize, usize) {
        let tried = |(reference, entry): &(&RemoteRef, &Entry)| {
            entry.tried_at.is_some() || entry.begun.is_none() && self.is_away(reference.store)
        };
        (self.entries.iter().filter(tried).count(), self.entries.len())
    }

    fn is_away(&self, store: RemoteStore) -> bool {
        self.gates.get(&store).is_some_and(|gate| gate.closed_since().is_some())
    }
}

/// A failure, as it is counted.
const fn refresh_of(class: FailureClass) -> Refresh {
    match class {
        FailureClass::Gone => Refresh::Missing,
        FailureClass::Denied => Refresh::Denied,
        FailureClass::Unusable | FailureClass::Unavailable | FailureClass::Unset => Refresh::Failed,
    }
}

/// How a store is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreState {
    /// How many secrets keys want of it.
    pub secrets: usize,
    /// How many of them can serve.
    pub serving: usize,
    /// How many of those were not fetched when they should have been.
    pub stale: usize,
    /// Since when it does not answer.
    pub away_since: Option<Instant>,
    /// What went wrong, if it does not answer.
    pub failure: Option<Failure>,
}

impl Entry {
    const fn new() -> Self {
        Self {
            freshness: Freshness::new(),
            version: None,
            failure: None,
            begun: None,
            tried_at: None,
            serves: false,
        }
    }

    const fn due(&self) -> Instant {
        self.freshness.due()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.begun.is_none() && self.due() <= now
    }
}

#[cfg(test)]
mod tests;

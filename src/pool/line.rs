//! The waiting line: requests that wait for a key, served first in, first out.
//!
//! Requests with the same filter and exclusions form a *queue*; only its head can be served next.
//! Across queues the older head goes first, and no later request takes a key that an earlier one
//! is waiting for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::request::{Ask, Filter};
use super::settings::KeyId;
use super::time::Instant;

/// The number of a waiting request within one life of the pool; lower came first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WaiterId(u64);

#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) ask: Arc<Ask>,
    pub(super) since: Instant,
    pub(super) deadline: Instant,
}

/// What makes two waiting requests wait for the same keys.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct QueueId {
    filter: Filter,
    excluded: Vec<KeyId>,
}

impl QueueId {
    pub(super) fn of(ask: &Ask) -> Self {
        let mut excluded = [ask.request.exclude.as_slice(), ask.tried.as_slice()].concat();
        excluded.sort();
        excluded.dedup();
        Self { filter: ask.request.filter.clone(), excluded }
    }
}

#[derive(Debug, Default)]
pub(super) struct Line {
    next: u64,
    waiters: BTreeMap<WaiterId, Waiter>,
    queues: HashMap<QueueId, BTreeSet<WaiterId>>,
    deadlines: BTreeSet<(Instant, WaiterId)>,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn join(&mut self, waiter: Waiter) -> WaiterId {
        let id = WaiterId(self.next);
        self.next += 1;
        self.queues.entry(QueueId::of(&waiter.ask)).or_default().insert(id);
        self.deadlines.insert((waiter.deadline, id));
        self.waiters.insert(id, waiter);
        id
    }

    pub(super) fn leave(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        self.deadlines.remove(&(waiter.deadline, id));
        let queue = QueueId::of(&waiter.ask);
        if let Some(members) = self.queues.get_mut(&queue) {
            members.remove(&id);
            if members.is_empty() {
                self.queues.remove(&queue);
            }
        }
        Some(waiter)
    }

    /// The head of every queue, the oldest first.
    pub(super) fn heads(&self) -> Vec<(WaiterId, Arc<Ask>)> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut heads: Vec<WaiterId> =
            self.queues.values().filter_map(|queue| queue.first().copied()).collect();
        heads.sort_unstable();
        heads.into_iter().map(|id| (id, self.waiters[&id].ask.clone())).collect()
    }

    /// Everybody in the line, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (WaiterId, &Waiter)> {
        self.waiters.iter().map(|(&id, waiter)| (id, waiter))
    }

    /// The next waiter whose deadline has passed.
    pub(super) fn overdue(&self, now: Instant) -> Option<WaiterId> {
        let &(deadline, id) = self.deadlines.first()?;
        (deadline <= now).then_some(id)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }
}

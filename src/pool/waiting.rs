//! Waiting: joining and leaving the line, serving it, and foreseeing when a request is served.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::core::Pool;
use super::group::{Group, GroupIdx, Leases, WaitsFor};
use super::key::Key;
use super::lease::LeaseSeq;
use super::line::{QueueId, Waiter, WaiterId};
use super::outcome::Outcome;
use super::refusal::Refusal;
use super::report::Report;
use super::request::Ask;
use super::select::Lease;
use super::time::{Instant, Now};
use super::view::serves;

impl Pool {
    /// Puts `ask` at the end of the line, unless it could not be served before its deadline even
    /// if every open lease ended at once.
    pub(super) fn join_line(
        &mut self,
        ask: &Arc<Ask>,
        deadline: Instant,
        now: Now,
    ) -> Result<WaiterId, Refusal> {
        match self.forecast(ask, Leases::MayEnd, now) {
            Some((start, _)) if start <= deadline => {
                self.sharing.asking = self.sharing.on;
                Ok(self.line.join(Waiter { ask: ask.clone(), since: now.at, deadline }))
            }
            _ => Err(self.refusal(ask, now)),
        }
    }

    /// Takes a request out of the line whose caller has gone. A lease that it was granted
    /// meanwhile is given back.
    pub fn cancel(&mut self, waiter: WaiterId, now: Now) {
        self.line.leave(waiter);
        let place = self.served.iter().position(|(served, _)| *served == waiter);
        if let Some((_, Ok(lease))) = place.and_then(|place| self.served.remove(place)) {
            self.give_back(&lease, now);
        }
        self.advance(now);
    }

    /// Ends a lease that nobody received.
    pub fn give_back(&mut self, lease: &Lease, now: Now) {
        let unused = Report { tokens_used: Some(0), ..Report::of(Outcome::Cancelled) };
        // A lease that has expired meanwhile needs no giving back.
        self.report(lease.id, &unused, now).ok();
    }

    /// How many requests wait, and since when the first one does.
    pub fn waiting(&self) -> (usize, Option<Instant>) {
        (self.line.len(), self.line.iter().next().map(|(_, waiter)| waiter.since))
    }

    /// Serves every waiting request that can be served now, and refuses those whose time is up.
    pub(super) fn serve_line(&mut self, now: Now) {
        if self.line.is_empty() {
            return;
        }
        while let Some((id, lease)) = self.serve_one(now) {
            self.line.leave(id);
            self.served.push_back((id, Ok(lease)));
        }
        while let Some(id) = self.line.overdue(now.at) {
            self.refuse_waiter(id, now);
        }
        if std::mem::take(&mut self.keys_lost) {
            let in_vain: Vec<WaiterId> = self.in_vain(now);
            for id in in_vain {
                self.refuse_waiter(id, now);
            }
        }
        self.sharing.asking = self.sharing.on && !self.line.is_empty();
    }

    /// Grants the first head of the line that can be served.
    fn serve_one(&mut self, now: Now) -> Option<(WaiterId, Lease)> {
        let mut ahead = Vec::new();
        for (id, ask) in self.line.heads() {
            if let Some(lease) = self.try_grant(&ask, &ahead, now) {
                return Some((id, lease));
            }
            ahead.push(ask);
        }
        None
    }

    fn refuse_waiter(&mut self, id: WaiterId, now: Now) {
        if let Some(waiter) = self.line.leave(id) {
            let refusal = self.refusal(&waiter.ask, now);
            self.served.push_back((id, Err(refusal)));
        }
    }

    /// The waiting requests that no key will ever serve as things are.
    fn in_vain(&mut self, now: Now) -> Vec<WaiterId> {
        let line: Vec<(WaiterId, Arc<Ask>)> =
            self.line.iter().map(|(id, waiter)| (id, waiter.ask.clone())).collect();
        let servable = |pool: &mut Self, ask: &Ask| {
            pool.first_free(ask, |key| ask.excludes(&key.settings.id), now).is_some()
        };
        line.into_iter().filter(|(_, ask)| !servable(self, ask)).map(|(id, _)| id).collect()
    }

    /// When the line needs attention next.
    pub(super) fn line_due(&mut self, now: Now) -> Option<Instant> {
        let mut due = self.line.next_deadline()?;
        let mut ahead = Vec::new();
        for (_, ask) in self.line.heads() {
            let barred = |key: &Key| {
                let id = &key.settings.id;
                let contested =
                    |other: &Arc<Ask>| serves(&other.request.filter, key) && !other.excludes(id);
                ask.excludes(id) || ahead.iter().any(contested)
            };
            let first = self.first_free(&ask, barred, now);
            due = due.min(first.map_or(Instant::NEVER, |(at, _)| at));
            ahead.push(ask);
        }
        Some(due)
    }

    /// When `ask` would be served if it joined the line now and no other call came, and what it
    /// waits for. `None` if never.
    ///
    /// This plays the line through on copies of the groups: each request in its turn takes the
    /// first slot that its keys offer.
    pub(super) fn forecast(
        &mut self,
        ask: &Arc<Ask>,
        leases: Leases,
        now: Now,
    ) -> Option<(Instant, Option<WaitsFor>)> {
        let line: Vec<(Arc<Ask>, Instant)> =
            self.line.iter().map(|(_, waiter)| (waiter.ask.clone(), waiter.deadline)).collect();
        let mut play = Play { leases, now, next: self.leases.next(), played: HashMap::new() };
        let mut queues: HashMap<QueueId, Slots> = HashMap::new();
        for (waiting, deadline) in &line {
            let slots = queues.entry(QueueId::of(waiting));
            let slots = slots.or_insert_with(|| self.slots(waiting, leases, now));
            if let Some((at, group, _)) = play.first(self, slots, waiting)
                && at <= *deadline
            {
                play.take(self, group, waiting, at);
                slots.not_before = at;
            }
        }
        let own = queues.remove(&QueueId::of(ask));
        let mut own = own.unwrap_or_else(|| self.slots(ask, leases, now));
        play.first(self, &mut own, ask).map(|(at, _, waits_for)| (at, waits_for))
    }

    /// The groups that can serve `ask` and when each is free.
    fn slots(&mut self, ask: &Ask, leases: Leases, now: Now) -> Slots {
        let view = self.view_for(ask);
        let view = &self.views[view];
        let mut groups: HashMap<GroupIdx, Instant> = HashMap::new();
        for seat in (0..view.seats.len()).map(|place| view.seat(place)) {
            if !ask.excludes(&self.stock[seat.key].settings.id) {
                let (at, _) = self.stock.free_at(seat, 0, leases, now);
                let slot = groups.entry(self.stock[seat.key].group).or_insert(Instant::NEVER);
                *slot = at.min(*slot);
            }
        }
        let groups = groups.into_iter().map(|(group, at)| Reverse((at, group))).collect();
        Slots { groups, not_before: now.at }
    }
}

/// What one queue of the line can be served with.
struct Slots {
    /// Groups by a time before which each cannot serve the queue.
    groups: BinaryHeap<Reverse<(Instant, GroupIdx)>>,
    /// When the last one of the queue was served.
    not_before: Instant,
}

/// A game with copies of the groups.
struct Play {
    leases: Leases,
    now: Now,
    next: LeaseSeq,
    /// Groups that have served somebody in the game, and when they last did.
    played: HashMap<GroupIdx, (Group, Instant)>,
}

impl Play {
    /// The first slot for `ask`.
    fn first(
        &self,
        pool: &Pool,
        slots: &mut Slots,
        ask: &Ask,
    ) -> Option<(Instant, GroupIdx, Option<WaitsFor>)> {
        let tokens = pool.rules.tokens(&ask.request);
        let mut best: Option<(Instant, GroupIdx, Option<WaitsFor>)> = None;
        let mut seen = Vec::new();
        while let Some(Reverse((bound, group))) = slots.groups.pop() {
            if bound >= best.map_or(Instant::NEVER, |(at, ..)| at) {
                slots.groups.push(Reverse((bound, group)));
                break;
            }
            let (state, bound) = match self.played.get(&group) {
                Some((state, last)) => (state, bound.max(*last)),
                None => (&pool.stock[group], bound),
            };
            let free_at = |tokens| {
                let (at, waits_for) = state.free_at(tokens, self.leases, self.now);
                (at.max(bound), waits_for)
            };
            seen.push(Reverse((free_at(0).0, group)));
            let (at, waits_for) = free_at(tokens);
            let at = at.max(slots.not_before);
            if at < best.map_or(Instant::NEVER, |(at, ..)| at) {
                best = Some((at, group, waits_for));
            }
        }
        slots.groups.extend(seen);
        best
    }

    /// Charges `ask` to the copy of `group` at `at`.
    fn take(&mut self, pool: &Pool, group: GroupIdx, ask: &Ask, at: Instant) {
        let then = Now { at, wall: self.now.wall_at(at) };
        let played = self.played.entry(group);
        let (state, last) = played.or_insert_with(|| (pool.stock[group].clone(), at));
        *last = at;
        state.quota.expire(then, &*pool.stock.calendar);
        let tokens = pool.rules.tokens(&ask.request);
        state.grant(self.next, tokens, at.plus(pool.rules.lease_ttl), then);
        self.next = self.next.following();
    }
}

//! Select: from a request to a lease, a place in the line, or a refusal.

use std::sync::Arc;
use std::time::Duration;

use super::choice::Choice;
use super::core::Pool;
use super::group::{GroupIdx, Leases, WaitsFor};
use super::key::{Key, KeyIdx, Unusable};
use super::lease::{LeaseId, OpenLease};
use super::line::WaiterId;
use super::refusal::{NoUse, Refusal};
use super::request::{Ask, SelectRequest};
use super::settings::KeyId;
use super::snapshot::What;
use super::standing::KeyPlaces;
use super::time::{Instant, Now, WallTime};
use super::transition::Change;
use super::view::{Seat, has_model, mismatch};
use super::views::ViewIdx;

/// The right to use a key once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// The key.
    pub key_id: KeyId,
    /// The key's provider.
    pub provider: Arc<str>,
    /// The requested model, or the key's first; absent if the key serves any and none was named.
    pub model: Option<Arc<str>>,
    /// When it must be reported.
    pub expires_at: WallTime,
    /// How long after the grant the request may be sent without leaving the guard.
    pub use_within: Duration,
    /// The number of the attempt in its chain, from 1.
    pub attempt: usize,
    /// How many more keys the chain can try.
    pub attempts_left: usize,
}

/// How a request was answered that was not refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// It has a key.
    Granted(Lease),
    /// It waits in the line; [`Pool::take_served`] will tell.
    Waiting(WaiterId),
}

impl Pool {
    /// Selects a key. If none can pay now and `wait` is given, the request waits that long, unless
    /// it is clear that it would wait in vain.
    pub fn select(
        &mut self,
        request: SelectRequest,
        wait: Option<Duration>,
        now: Now,
    ) -> Result<Selection, Refusal> {
        self.advance(now);
        self.answer(&Arc::new(Ask::first(request)), wait, now)
    }

    pub(super) fn answer(
        &mut self,
        ask: &Arc<Ask>,
        wait: Option<Duration>,
        now: Now,
    ) -> Result<Selection, Refusal> {
        let ahead: Vec<Arc<Ask>> = self.line.heads().into_iter().map(|(_, ask)| ask).collect();
        if let Some(lease) = self.try_grant(ask, &ahead, now) {
            return Ok(Selection::Granted(lease));
        }
        match wait.or(self.sharing.patience) {
            Some(wait) if self.can_try(ask) => {
                self.join_line(ask, now.at.plus(wait), now).map(Selection::Waiting)
            }
            _ => Err(self.refusal(ask, now)),
        }
    }

    /// Grants a key that can pay now and that no request of `ahead` waits for.
    pub(super) fn try_grant(
        &mut self,
        ask: &Arc<Ask>,
        ahead: &[Arc<Ask>],
        now: Now,
    ) -> Option<Lease> {
        let idx = self.view_for(ask);
        let view = &mut self.views[idx];
        let seat = Choice {
            view,
            stock: &mut self.stock,
            random: &mut self.random,
            rules: &self.rules,
            ask,
            ahead,
            now,
        }
        .make()?;
        let tier = view.tier_of(seat);
        view.tiers[tier].passed(seat);
        if tier > 0 {
            let better = &view.seats[..view.tiers[tier].seats.start];
            self.sharing.wish_for(better, &self.stock, ask, now);
        }
        let Seat { key, model } = view.seat(seat);
        let model = model.cloned();
        Some(self.grant(ask, idx, key, model, now))
    }

    pub(super) fn grant(
        &mut self,
        ask: &Arc<Ask>,
        view: ViewIdx,
        key: KeyIdx,
        model: Option<Arc<str>>,
        now: Now,
    ) -> Lease {
        let KeyPlaces { group, provider, .. } = self.stock.places(key);
        let provider = provider.0 as usize;
        self.fetch_for_grant(key, group);
        if self.facts.is_some() {
            let key = self.stock.id(key).clone();
            self.note(What::Granted { key, model: model.clone(), ask: ask.clone() }, now);
        }
        let tokens = self.rules.tokens(&ask.request);
        let expires = self.leases.expiry(now.at.plus(self.rules.lease_ttl));
        let seq = self.leases.next();
        if self.stock[group].holding.is_part() {
            self.sharing.part_used = Some(now.at);
        }
        let reservation = self.stock.refresh(group, now).grant(seq, tokens, expires, now);
        self.stock.providers[provider].breaker.granted(seq, expires, now.at);
        let model = model.or_else(|| self.stock.first_model(key).cloned());
        self.leases.open(OpenLease {
            key,
            group,
            ask: ask.clone(),
            model: model.clone(),
            expires,
            reservation,
        });
        self.stock.roll_record(key, now).granted(model.as_ref(), now.wall);
        self.stock.granted_last(key, seq);
        let lease = Lease {
            id: self.leases.id(seq),
            key_id: self.stock.id(key).clone(),
            // The same name, of which there is one for all keys: it is at hand.
            provider: self.stock.providers[provider].name.clone(),
            model,
            expires_at: now.wall_at(expires),
            use_within: self.rules.guard,
            attempt: ask.attempt(),
            attempts_left: self.untried(view, ask, None).saturating_sub(1),
        };
        self.last_key = Some(key);
        self.warn_of_use(key, group, now);
        // Now it is at hand: what the next search would find out of it is noted here.
        if self.stock.standing(group, now).free_at > now.at {
            self.ease(group, now);
        }
        if let Some(failure) = &ask.after {
            self.stock.rotated(failure, key);
            let rotated = Change::Rotated {
                from: failure.key.clone(),
                outcome: failure.outcome,
                detail: failure.detail.clone(),
            };
            self.changed(key, rotated, now);
        }
        lease
    }

    fn warn_of_use(&mut self, key: KeyIdx, group: GroupIdx, now: Now) {
        let threshold = self.rules.warning_threshold;
        let crossed = self.stock[group].crossed(threshold, now);
        for (limit, used, of) in crossed {
            self.stock.roll_record(key, now).warned(limit);
            self.changed(key, Change::QuotaWarning { limit, used, of }, now);
        }
    }

    /// Whether there is a matching key that the chain of `ask` has not tried.
    fn can_try(&mut self, ask: &Ask) -> bool {
        let view = self.view_for(ask);
        self.untried(view, ask, None) > 0
    }

    /// How many different keys of `view` the chain of `ask` has not tried, which has tried `key` as
    /// well if there is one.
    pub(super) fn untried(&self, view: ViewIdx, ask: &Ask, key: Option<&KeyId>) -> usize {
        let view = &self.views[view];
        if ask.is_open() && key.is_none() {
            return view.keys;
        }
        let tried = ask.request.exclude.iter().chain(&ask.tried).chain(key);
        let mut excluded: Vec<&KeyId> = tried.collect();
        excluded.sort_unstable();
        excluded.dedup();
        let seated = excluded.iter().filter_map(|id| self.stock.by_id.get(id.as_str()));
        let seated = seated.filter(|&&key| view.seats_of(key).next().is_some()).count();
        view.keys - seated
    }

    /// Why `ask` gets no key now.
    pub(super) fn refusal(&mut self, ask: &Arc<Ask>, now: Now) -> Refusal {
        if !self.line.is_empty()
            && let Some((free_at, waits_for)) = self.forecast(ask, Leases::Expire, now)
        {
            return Refusal::Exhausted { free_at, waits_for, waiting: self.line.len() };
        }
        let excluded = |key: &Key| ask.request.exclude.contains(&key.settings.id);
        match self.first_free(ask, excluded, now) {
            Some((free_at, waits_for)) => Refusal::Exhausted { free_at, waits_for, waiting: 0 },
            None => self.no_use(ask),
        }
    }

    /// When the first key is free that may serve `ask` if no lease ends early, and what it waits for
    /// until then; `barred` tells which must not.
    pub(super) fn first_free(
        &mut self,
        ask: &Ask,
        barred: impl Fn(&Key) -> bool,
        now: Now,
    ) -> Option<(Instant, Option<WaitsFor>)> {
        let tokens = self.rules.tokens(&ask.request);
        let view = self.view_for(ask);
        let (view, stock) = (&mut self.views[view], &mut self.stock);
        // Mostly the seat with the least bound is the one, as soon as its bound is exact.
        while let Some((bound, place)) = view.ready().least() {
            let seat = view.seat(place);
            let (exact, _) = stock.next_free_at(seat, 0, now);
            if exact > bound {
                view.bound(place, exact);
                continue;
            }
            let free = stock.next_free_at(seat, tokens, now);
            if free.0 <= exact && !barred(&stock[seat.key]) {
                return Some(free);
            }
            break;
        }
        view.ready().first_free(|place| {
            let seat = view.seat(place);
            if barred(&stock[seat.key]) {
                return (Instant::NEVER, None);
            }
            stock.next_free_at(seat, tokens, now)
        })
    }

    /// Why no key will ever serve `ask` as things are.
    fn no_use(&self, ask: &Ask) -> Refusal {
        let filter = &ask.request.filter;
        let configured = || self.stock.keys.iter().filter(|key| key.configured);
        let offers = |model| configured().any(|key| has_model(key, model));
        if !filter.models.is_empty() && !filter.models.iter().any(offers) {
            return Refusal::NoSuchModel { offered: self.models_offered() };
        }
        let mut why = Vec::new();
        let mut most_tokens = None;
        for key in configured() {
            if !filter.models.is_empty() && !filter.models.iter().any(|m| has_model(key, m)) {
                continue;
            }
            let excluded = ask.request.exclude.contains(&key.settings.id);
            let mismatch = mismatch(filter, key).map(NoUse::Mismatch);
            let unusable = key.unusable().or(excluded.then_some(Unusable::Excluded));
            match mismatch.or(unusable.map(NoUse::Unusable)) {
                Some(reason) => why.push((key.settings.id.clone(), reason)),
                None => {
                    most_tokens = most_tokens.max(Some(self.stock[key.group].quota.most_tokens()));
                }
            }
        }
        match most_tokens {
            Some(most) => Refusal::TooManyTokens { most },
            None => Refusal::NoUsableKey { why },
        }
    }

    /// Every model that keys name, sorted.
    pub fn models_offered(&self) -> Vec<Arc<str>> {
        let keys = self.stock.keys.iter().filter(|key| key.configured);
        let mut models: Vec<Arc<str>> =
            keys.flat_map(|key| key.settings.models.iter().cloned()).collect();
        models.sort_unstable();
        models.dedup();
        models
    }
}

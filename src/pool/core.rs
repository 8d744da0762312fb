//! The pool's state, and what every call begins and ends with.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::group::GroupIdx;
use super::key::{KeyIdx, NoSecret};
use super::lease::LeaseBook;
use super::line::{Line, WaiterId};
use super::random::Random;
use super::refusal::Refusal;
use super::request::Ask;
use super::rules::Rules;
use super::select::Lease;
use super::settings::{KeyId, PoolSettings};
use super::sharing::{News, Plan, Sharing};
use super::snapshot::{Fact, What};
use super::stock::Stock;
use super::time::{Calendar, Instant, Now};
use super::transition::{Change, Transition};
use super::views::{ViewIdx, Views};

/// A pool of keys with their quotas.
///
/// It is told the time with every call, and times never fall from one call to the next. What a
/// call changes is kept as [`Transition`]s until [`Pool::take_transitions`].
#[derive(Debug)]
pub struct Pool {
    pub(super) rules: Rules,
    /// The configuration that was taken last.
    pub(super) settings: Arc<PoolSettings>,
    pub(super) stock: Stock,
    pub(super) views: Views,
    pub(super) leases: LeaseBook,
    pub(super) line: Line,
    pub(super) random: Random,
    /// What became of waiting requests, until somebody asks.
    pub(super) served: VecDeque<(WaiterId, Result<Lease, Refusal>)>,
    /// When groups stop cooling.
    pub(super) recoveries: BTreeSet<(Instant, GroupIdx)>,
    /// Whether a waiting request may have lost its last usable key.
    pub(super) keys_lost: bool,
    /// Whether a probe may be due earlier than the prober thinks.
    pub(super) probes_moved: bool,
    pub(super) last_key: Option<KeyIdx>,
    pub(super) sharing: Sharing,
    pub(super) transitions: Vec<Transition>,
    /// What must outlive the process, if anything must.
    pub(super) facts: Option<Vec<Fact>>,
}

impl Pool {
    /// A pool without keys; `epoch` tells its leases from those of other pools, and `seed` decides
    /// the draws of the random strategies.
    pub fn new(calendar: Arc<dyn Calendar>, epoch: u32, seed: u64) -> Self {
        let none = Arc::<PoolSettings>::default();
        Self {
            rules: Rules::of(&none),
            settings: none,
            stock: Stock::empty(calendar),
            views: Views::default(),
            leases: LeaseBook::new(epoch),
            line: Line::default(),
            random: Random::new(seed),
            served: VecDeque::new(),
            recoveries: BTreeSet::new(),
            keys_lost: false,
            probes_moved: false,
            last_key: None,
            sharing: Sharing::default(),
            transitions: Vec::new(),
            facts: None,
        }
    }

    /// What has changed since the last call of this.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }

    /// What became of waiting requests since the last call of this.
    pub fn take_served(&mut self) -> VecDeque<(WaiterId, Result<Lease, Refusal>)> {
        std::mem::take(&mut self.served)
    }

    /// Does what is due: ends leases that were not reported, notes the end of cooldowns, serves
    /// waiting requests. Every other call does this first.
    pub fn advance(&mut self, now: Now) {
        self.expire_leases(now);
        self.end_cooldowns(now);
        self.go_on_in_part(now);
        self.serve_line(now);
    }

    /// When [`Pool::advance`] has something to do next, if nothing else happens.
    pub fn next_due(&mut self, now: Now) -> Instant {
        let lease = self.leases.next_expiry();
        let recovery = self.recoveries.first().map(|&(at, _)| at);
        let line = self.line_due(now);
        let part = self.sharing.plan.map(Plan::due);
        lease.into_iter().chain(recovery).chain(line).chain(part).min().unwrap_or(Instant::NEVER)
    }

    fn expire_leases(&mut self, now: Now) {
        while let Some((seq, lease)) = self.leases.expire(now.at) {
            if self.stock[lease.group].release(seq) {
                self.ease(lease.group, now);
            }
            if self.stock.breaker_of(lease.key).released(seq) {
                self.ease_provider(lease.key);
            }
            self.stock.roll_record(lease.key, now).expired(lease.model.as_ref());
            self.changed(lease.key, Change::LeaseExpired { lease: self.leases.id(seq) }, now);
        }
    }

    fn end_cooldowns(&mut self, now: Now) {
        while let Some(&(at, group)) = self.recoveries.first()
            && at <= now.at
        {
            self.recoveries.remove(&(at, group));
            let keys = self.stock.ids_in(group);
            if self.stock[group].cooldown.is_half_open(now.at)
                && let Some(&first) = self.stock[group].members.first()
            {
                self.changed(first, Change::HalfOpen { keys }, now);
            }
        }
    }

    /// The keys of `group` may be free earlier than thought, or are not any more.
    pub(super) fn ease(&mut self, group: GroupIdx, now: Now) {
        let bound = self.stock.standing(group, now).free_at;
        for &key in &self.stock[group].members {
            self.views.bound(key, bound, now.at);
        }
    }

    /// Every key of the provider of `key` may be free earlier than thought.
    pub(super) fn ease_provider(&mut self, key: KeyIdx) {
        let provider = self.stock[key].provider;
        for idx in self.stock.by_id.values() {
            if self.stock[*idx].provider == provider {
                self.views.ease(*idx, Instant::ZERO);
            }
        }
    }

    /// `key` may be free earlier than thought.
    pub(super) fn ease_key(&mut self, key: KeyIdx) {
        self.views.ease(key, Instant::ZERO);
    }

    /// The view of the keys that match `ask`.
    pub(super) fn view_for(&mut self, ask: &Ask) -> ViewIdx {
        self.views.of(&ask.request.filter, &mut self.stock, &self.rules)
    }

    pub(super) fn changed(&mut self, key: KeyIdx, change: Change, now: Now) {
        let settings = &self.stock[key].settings;
        self.transitions.push(Transition {
            at: now.wall,
            key: settings.id.clone(),
            provider: settings.provider.clone(),
            change,
        });
    }

    /// Tells whether `key` has a secret, and why not.
    pub fn set_secret(&mut self, key: &KeyId, missing: Option<NoSecret>, now: Now) {
        self.advance(now);
        if let Some(&idx) = self.stock.by_id.get(key) {
            self.note_secret(idx, missing, now);
        }
        self.serve_line(now);
    }

    /// The configuration that was taken last.
    pub fn settings(&self) -> &Arc<PoolSettings> {
        &self.settings
    }

    pub(super) fn note_secret(&mut self, idx: KeyIdx, missing: Option<NoSecret>, now: Now) {
        if self.stock[idx].missing_secret == missing {
            return;
        }
        let had = std::mem::replace(&mut self.stock[idx].missing_secret, missing.clone());
        match missing {
            Some(NoSecret::Missing(reason)) => {
                self.keys_lost = true;
                self.changed(idx, Change::SecretMissing { reason }, now);
            }
            Some(NoSecret::NotYet(_)) => self.keys_lost = true,
            None => {
                self.ease_key(idx);
                self.probes_moved = true;
                if let Some(NoSecret::Missing(_)) = had {
                    self.changed(idx, Change::SecretFound, now);
                }
            }
        }
    }

    /// The secret of `key` is another one: what the provider said of the old one does not count
    /// any more. Limits and cooldowns stay, because they are the group's. Says whether there is
    /// such a key.
    pub fn secret_changed(&mut self, key: &KeyId, now: Now) -> bool {
        self.advance(now);
        let Some(&idx) = self.stock.by_id.get(key) else { return false };
        self.note(What::SecretChanged { key: key.clone() }, now);
        self.changed(idx, Change::SecretChanged, now);
        for same in self.stock.with_credential_of(idx) {
            self.stock[same].refused_models.clear();
            self.ease_key(same);
        }
        self.revive(idx, "its secret has changed", now);
        self.serve_line(now);
        true
    }

    /// Forgets the failures of `key` and of its group. Says whether there is such a key.
    pub fn clear(&mut self, key: &KeyId, now: Now) -> bool {
        self.advance(now);
        let Some(&idx) = self.stock.by_id.get(key) else { return false };
        self.note(What::Cleared { key: key.clone() }, now);
        let group = self.stock[idx].group;
        self.stock[group].clear();
        self.stock[idx].refused_models.clear();
        self.changed(idx, Change::Cleared { keys: self.stock.ids_in(group) }, now);
        self.revive(idx, "cleared by an administrator", now);
        self.ease(group, now);
        self.serve_line(now);
        true
    }

    /// Brings every key with the credential of `key` back to life.
    pub(super) fn revive(&mut self, key: KeyIdx, reason: &'static str, now: Now) {
        for idx in self.stock.with_credential_of(key) {
            if self.stock[idx].dead.take().is_some() {
                self.ease_key(idx);
                self.tell_others(idx, News::Revived);
                self.changed(idx, Change::Revived { reason }, now);
            }
        }
    }

    /// Other daemons should know this of `key`.
    pub(super) fn tell_others(&mut self, key: KeyIdx, news: News) {
        if self.sharing.on {
            self.sharing.news.push((self.stock[key].settings.id.clone(), news));
        }
    }
}

//! Report and rotate: what came of a lease, whom it blames, and the next attempt.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::breaker::BreakerChange;
use super::cooldown::CoolingReason;
use super::core::Pool;
use super::group::GroupIdx;
use super::inspect::KeyState;
use super::key::KeyIdx;
use super::lease::{LeaseGone, LeaseId, LeaseSeq, OpenLease};
use super::outcome::{Outcome, RateLimit, Spent};
use super::refusal::Refusal;
use super::request::{Ask, Failure, MOST_TOKENS};
use super::select::Selection;
use super::settings::KeyId;
use super::sharing::News;
use super::snapshot::What;
use super::time::{Instant, Now, ResetZone};
use super::transition::Change;

/// What came of a lease.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The verdict.
    pub outcome: Outcome,
    /// The tokens that were really used, where known.
    pub tokens_used: Option<u64>,
    /// What the provider said, in machine-readable words; never its text.
    pub detail: Arc<str>,
}

impl Report {
    /// A report of `outcome` without particulars.
    pub fn of(outcome: Outcome) -> Self {
        Self { outcome, tokens_used: None, detail: "".into() }
    }
}

/// What a report led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reported {
    /// The key of the lease.
    pub key_id: KeyId,
    /// The verdict.
    pub outcome: Outcome,
    /// The key's state now.
    pub state: KeyState,
    /// Whether another key could help.
    pub retry: bool,
}

/// Why a rotation gave no key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoRotation {
    /// The lease cannot be reported.
    Gone(LeaseGone),
    /// The lease is reported; another key could not help.
    NotRetryable(Reported),
    /// The lease is reported; no other key is to be had.
    Refused(Refusal),
}

impl Pool {
    /// Takes note of what came of a lease.
    pub fn report(
        &mut self,
        id: LeaseId,
        report: &Report,
        now: Now,
    ) -> Result<Reported, LeaseGone> {
        self.close(id, report, now).map(|(reported, _)| reported)
    }

    /// Takes note of a failure and selects the next key of the same chain.
    pub fn rotate(
        &mut self,
        id: LeaseId,
        report: &Report,
        wait: Option<Duration>,
        now: Now,
    ) -> Result<Selection, NoRotation> {
        let (reported, ask) = self.close(id, report, now).map_err(NoRotation::Gone)?;
        if !report.outcome.another_key_could_help() {
            return Err(NoRotation::NotRetryable(reported));
        }
        let failure = Failure {
            key: reported.key_id.clone(),
            outcome: report.outcome,
            detail: report.detail.clone(),
        };
        let next = Arc::new(ask.next(failure));
        self.answer(&next, wait, now).map_err(NoRotation::Refused)
    }

    fn close(
        &mut self,
        id: LeaseId,
        report: &Report,
        now: Now,
    ) -> Result<(Reported, Arc<Ask>), LeaseGone> {
        self.advance(now);
        let (seq, lease) = self.leases.close(id)?;
        self.fetch_for_report(lease.key, lease.group);
        if self.facts.is_some() {
            self.note(What::Reported { lease: seq, report: report.clone() }, now);
        }
        self.stock.refresh(lease.group, now).release(seq);
        self.end_where_the_key_is(id, &lease, now);
        self.settle(&lease, report, now);
        self.write_to_the_holder(seq, &lease, report, now);
        self.blame(seq, &lease, report, now);
        self.tell_the_breaker(seq, &lease, report, now);
        // Now the group is at hand: what the next search would find out of it is noted here.
        self.ease(lease.group, now);
        self.serve_line(now);

        let retry = report.outcome.another_key_could_help() && {
            let view = self.view_for(&lease.ask);
            self.untried(view, &lease.ask, Some(&self.stock[lease.key].settings.id)) > 0
        };
        let reported = Reported {
            key_id: self.stock[lease.key].settings.id.clone(),
            outcome: report.outcome,
            state: self.state(lease.key, now),
            retry,
        };
        Ok((reported, lease.ask))
    }

    /// A key that has moved since the lease was granted has it counted in its group of now as well.
    fn end_where_the_key_is(&mut self, id: LeaseId, lease: &OpenLease, now: Now) {
        let group = self.stock[lease.key].group;
        if group != lease.group && self.stock[group].foreign.end(&id.to_string()) {
            self.ease(group, now);
        }
    }

    /// Corrects the reserved tokens. A provider that refuses a request does not charge its tokens;
    /// of one that was cut off nobody knows, so its reservation stays.
    fn settle(&mut self, lease: &OpenLease, report: &Report, now: Now) {
        let refused = match report.outcome {
            Outcome::Success | Outcome::Timeout | Outcome::Cancelled => false,
            Outcome::RateLimited(_)
            | Outcome::AuthFailed
            | Outcome::ModelRefused
            | Outcome::EgressRefused
            | Outcome::ServerError
            | Outcome::ClientError => true,
        };
        let used = report.tokens_used.map(|used| used.min(MOST_TOKENS)).or(refused.then_some(0));
        let group = &mut self.stock[lease.group];
        if let Some(used) = used {
            group.quota.settle(lease.reservation, used, now);
        }
        let tokens = used.unwrap_or(lease.reservation.tokens());
        let record = self.stock.roll_record(lease.key, now);
        let model = lease.model.as_ref();
        record.reported(model, report.outcome, tokens, &report.detail, now.wall);
    }

    /// Lets the outcome act on what it blames.
    fn blame(&mut self, seq: LeaseSeq, lease: &OpenLease, report: &Report, now: Now) {
        match report.outcome {
            Outcome::Success => self.succeeded(seq, lease, now),
            Outcome::RateLimited(limit) => self.rate_limited(seq, lease, limit, report, now),
            Outcome::AuthFailed => self.rejected(seq, lease, report, now),
            Outcome::ModelRefused => self.refuse_model(lease, report, now),
            Outcome::EgressRefused
            | Outcome::ServerError
            | Outcome::Timeout
            | Outcome::ClientError
            | Outcome::Cancelled => {}
        }
    }

    fn succeeded(&mut self, seq: LeaseSeq, lease: &OpenLease, now: Now) {
        self.stock.probe_of(lease.key).vouch(now.at);
        if self.rules.adaptive && self.stock[lease.group].speed_up(now.at) {
            self.ease(lease.group, now);
        }
        if self.stock[lease.group].cooldown.succeeded(seq, now.at) {
            self.ease(lease.group, now);
            let keys = self.stock.ids_in(lease.group);
            self.changed(lease.key, Change::Recovered { keys }, now);
        }
    }

    fn rate_limited(
        &mut self,
        seq: LeaseSeq,
        lease: &OpenLease,
        limit: RateLimit,
        report: &Report,
        now: Now,
    ) {
        let group = lease.group;
        // What was on its way when the cooldown began was refused for what is known by now.
        if !self.stock[group].cooldown.is_of_the_wave(seq) {
            self.stock.roll_record(lease.key, now).unexpected_429 += 1;
        }
        self.learn(lease, limit, now);
        match limit.spent {
            Spent::Unknown | Spent::Minute => self.strike(seq, lease, limit, report, now),
            Spent::Day => {
                let day = self.stock[group].quota.day();
                let (number, ends) = (day.number(), day.ends());
                // The provider's word alone is not enough: it names the day for a minute's limit
                // too. The own count, or a second word after the first cooldown, is.
                let near_limit = day.limit().is_some_and(|limit| day.used() >= limit - limit / 20);
                let confirmed = self.stock[group].cooldown.doubts_day(number, seq);
                if near_limit || confirmed {
                    let until = now.instant_at(ends);
                    self.cool(group, lease.key, until, CoolingReason::DaySpent, report, now);
                } else {
                    self.strike(seq, lease, limit, report, now);
                }
            }
            Spent::Account => self.park(lease, now.at.plus(self.rules.backoff.max), report, now),
            Spent::Month => {
                let utc = ResetZone::new("UTC");
                let until = now.instant_at(self.stock.calendar.month_end(&utc, now.wall));
                self.park(lease, until, report, now);
            }
        }
    }

    /// The account is out of money: everything that is paid from it cools.
    fn park(&mut self, lease: &OpenLease, until: Instant, report: &Report, now: Now) {
        for group in self.groups_of_the_account(lease.key) {
            let key = self.stock[group].members.first().copied().unwrap_or(lease.key);
            self.cool(group, key, until, CoolingReason::AccountSpent, report, now);
            let span = u64::try_from(until.since(now.at).as_micros()).unwrap_or(u64::MAX);
            self.tell_others(key, News::Cooling(span));
        }
    }

    /// One refusal for a limit of a short time.
    fn strike(
        &mut self,
        seq: LeaseSeq,
        lease: &OpenLease,
        limit: RateLimit,
        report: &Report,
        now: Now,
    ) {
        let next = self.leases.next();
        let backoff = self.rules.backoff;
        if self.rules.adaptive && !self.stock[lease.group].cooldown.is_of_the_wave(seq) {
            self.stock[lease.group].slow_down(now.at);
        }
        let cooldown = &mut self.stock[lease.group].cooldown;
        if cooldown.strike(seq, next, limit.retry_after, backoff, now.at) {
            self.cooling(lease.group, lease.key, report, now);
        }
    }

    /// Takes note of the true limit, where the provider names it.
    fn learn(&mut self, lease: &OpenLease, limit: RateLimit, now: Now) {
        let Some(learnt) = limit.limit else { return };
        if let Some(configured) = self.stock[lease.group].learn(learnt) {
            self.changed(lease.key, Change::LimitLearnt { learnt, configured }, now);
        }
    }

    /// Lets the outcome open or close the breaker of the provider.
    fn tell_the_breaker(&mut self, seq: LeaseSeq, lease: &OpenLease, report: &Report, now: Now) {
        let provider = self.stock.provider_of(lease.key);
        let (breaker, groups) = (&mut provider.breaker, provider.groups);
        let was_open = breaker.open_until().is_some();
        let change = breaker.reported(seq, lease.group, groups, report.outcome, now.at);
        match change {
            Some(BreakerChange::Opened { until }) => {
                let until = now.wall_at(until);
                let detail = report.detail.clone();
                self.changed(lease.key, Change::ProviderDown { until, detail }, now);
            }
            Some(BreakerChange::Closed) => self.changed(lease.key, Change::ProviderUp, now),
            None => {}
        }
        if was_open {
            self.ease_provider(lease.key);
        }
    }

    pub(super) fn cool(
        &mut self,
        group: GroupIdx,
        key: KeyIdx,
        until: Instant,
        reason: CoolingReason,
        report: &Report,
        now: Now,
    ) {
        let next = self.leases.next();
        if self.stock[group].cooldown.cool(until, reason, next, now.at) {
            self.cooling(group, key, report, now);
        }
    }

    /// Tells that `group` is cooling, and remembers when that ends.
    fn cooling(&mut self, group: GroupIdx, key: KeyIdx, report: &Report, now: Now) {
        let cooldown = &self.stock[group].cooldown;
        let Some(until) = cooldown.until(now.at) else { return };
        let reason = cooldown.reason();
        // A cooldown that begins during a trial may end before the trial's lease does.
        self.ease(group, now);
        self.recoveries.retain(|&(_, recovering)| recovering != group);
        self.recoveries.insert((until, group));
        let change = Change::Cooling {
            keys: self.stock.ids_in(group),
            until: now.wall_at(until),
            reason,
            detail: report.detail.clone(),
        };
        self.changed(key, change, now);
    }

    /// Every group that is paid from the same account as `key`: those of its quota group, and
    /// those of its credential.
    fn groups_of_the_account(&self, key: KeyIdx) -> Vec<GroupIdx> {
        let settings = &self.stock[key].settings;
        let keys = self.stock.by_id.values().map(|&idx| &self.stock[idx]);
        let same = keys.filter(|other| {
            let other = &other.settings;
            let same_group = other.provider == settings.provider
                && other.quota_group.is_some()
                && other.quota_group == settings.quota_group;
            same_group || other.credential == settings.credential
        });
        let mut groups: Vec<GroupIdx> = same.map(|key| key.group).collect();
        groups.push(self.stock[key].group);
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The provider does not accept the key.
    pub(super) fn condemn(&mut self, key: KeyIdx, report: &Report, now: Now) {
        let detail: Arc<str> =
            if report.detail.is_empty() { "auth_failed".into() } else { report.detail.clone() };
        let alive = |pool: &Self, key: &KeyIdx| pool.stock[*key].dead.is_none();
        let mut condemned = self.stock.with_credential_of(key);
        condemned.retain(|key| alive(self, key));
        for &key in &condemned {
            self.stock[key].dead = Some(detail.clone());
            self.stock[key].probe.doubt();
        }
        if !condemned.is_empty() {
            self.tell_others(key, News::Dead(detail.to_string()));
            self.keys_lost = true;
            self.probes_moved = true;
            let ids = condemned.iter().map(|&key| self.stock[key].settings.id.clone()).collect();
            self.changed(key, Change::Dead { keys: ids, detail }, now);
        }
    }

    /// The key may not use the model of the lease.
    fn refuse_model(&mut self, lease: &OpenLease, report: &Report, now: Now) {
        let Some(model) = lease.model.clone() else { return };
        let until = now.at.plus(self.rules.backoff.max);
        self.stock[lease.key].refused_models.insert(model.clone(), until);
        let until = now.wall_at(until);
        let detail = report.detail.clone();
        self.changed(lease.key, Change::ModelRefused { model, until, detail }, now);
    }
}

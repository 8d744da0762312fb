//! What daemons tell each other beside the groups themselves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::GroupName;
use crate::pool::cooldown::CoolingReason;
use crate::pool::core::Pool;
use crate::pool::group::GroupIdx;
use crate::pool::lease::{LeaseSeq, OpenLease};
use crate::pool::outcome::Outcome;
use crate::pool::report::Report;
use crate::pool::request::MOST_TOKENS;
use crate::pool::settings::KeyId;
use crate::pool::snapshot::What;
use crate::pool::time::Now;

/// What came of a lease whose group has gone to another daemon meanwhile: for the holder.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Letter {
    /// The lease that has ended.
    pub lease: String,
    /// Tokens that were used beyond those reserved.
    pub more_tokens: u64,
    /// For how many microseconds the provider wants to be left alone.
    pub cool_for: u64,
}

/// What one daemon has learnt about a key, for all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// The provider does not accept it, and what it said.
    Dead(String),
    /// It is accepted again.
    Revived,
    /// Its account cools for so many microseconds.
    Cooling(u64),
}

impl Pool {
    /// Letters for the holders of groups that are not held here, since the last call of this.
    pub fn take_letters(&mut self) -> Vec<(GroupName, Letter)> {
        std::mem::take(&mut self.sharing.letters)
    }

    /// What was learnt about keys since the last call of this.
    pub fn take_news(&mut self) -> Vec<(KeyId, News)> {
        std::mem::take(&mut self.sharing.news)
    }

    /// Reads a letter to the holder of `name`. Says whether that is this daemon.
    pub fn read_letter(&mut self, name: &GroupName, letter: &Letter, now: Now) -> bool {
        self.advance(now);
        let Some(&group) = self.group_index().get(name) else { return false };
        if self.stock[group].holding.epoch().is_none() {
            return false;
        }
        self.note(What::LetterRead { name: name.clone(), letter: letter.clone() }, now);
        let state = self.stock.refresh(group, now);
        state.foreign.end(&letter.lease);
        state.quota.charge_tokens(letter.more_tokens.min(MOST_TOKENS), now);
        self.cool_from_afar(group, letter.cool_for, now);
        self.ease(group, now);
        self.serve_line(now);
        true
    }

    /// Believes what another daemon has learnt about `key`. Says whether there is such a key.
    pub fn hear(&mut self, key: &KeyId, news: &News, now: Now) -> bool {
        self.advance(now);
        let Some(&idx) = self.stock.by_id.get(key) else { return false };
        self.note(What::Heard { key: key.clone(), news: news.clone() }, now);
        match news {
            News::Dead(detail) => {
                let detail = detail.as_str().into();
                self.condemn(idx, &Report { detail, ..Report::of(Outcome::AuthFailed) }, now);
            }
            News::Revived => self.revive(idx, "another daemon has seen it accepted", now),
            News::Cooling(span) => self.cool_from_afar(self.stock[idx].group, *span, now),
        }
        // What was heard is not news to those it was heard from.
        self.sharing.news.clear();
        self.serve_line(now);
        true
    }

    /// A report of a lease whose group another daemon holds by now is for that one.
    pub(in crate::pool) fn write_to_the_holder(
        &mut self,
        seq: LeaseSeq,
        lease: &OpenLease,
        report: &Report,
        now: Now,
    ) {
        let group = &self.stock[lease.group];
        if group.holding.is_part() {
            self.sharing.part_used = Some(now.at);
        }
        if !group.holding.is_elsewhere() {
            return;
        }
        let cool_for = match report.outcome {
            Outcome::RateLimited(limit) => limit.retry_after.unwrap_or(self.rules.backoff.first),
            Outcome::Success
            | Outcome::AuthFailed
            | Outcome::ModelRefused
            | Outcome::EgressRefused
            | Outcome::ServerError
            | Outcome::Timeout
            | Outcome::ClientError
            | Outcome::Cancelled => Duration::ZERO,
        };
        let used = report.tokens_used.unwrap_or(0).min(MOST_TOKENS);
        let letter = Letter {
            lease: self.leases.id(seq).to_string(),
            more_tokens: used.saturating_sub(lease.reservation.tokens()),
            cool_for: u64::try_from(cool_for.as_micros()).unwrap_or(u64::MAX),
        };
        let counts = group.limits().max_concurrent.is_some();
        if counts || letter.more_tokens > 0 || letter.cool_for > 0 {
            self.sharing.letters.push((group.id.name(), letter));
        }
    }

    fn cool_from_afar(&mut self, group: GroupIdx, micros: u64, now: Now) {
        let Some(&key) = self.stock[group].members.first() else { return };
        if micros > 0 {
            let until = now.at.plus(Duration::from_micros(micros));
            let detail = "told by another daemon".into();
            let report = Report { detail, ..Report::of(Outcome::Cancelled) };
            self.cool(group, key, until, CoolingReason::RateLimited, &report, now);
        }
    }
}

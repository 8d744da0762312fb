//! What came of the uses of a key: since the start, for the quota day, and by model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::outcome::{LimitKind, Outcome};
use super::snapshot::FAR;
use super::time::WallTime;

/// What came of the uses of a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// Since the start.
    pub total: Tally,
    /// In the quota day.
    pub today: Tally,
    /// By model.
    pub models: Models,
    /// Failures since the last success.
    pub consecutive_failures: u64,
    /// When the key was last granted.
    pub last_used: Option<WallTime>,
    /// What the last failure was.
    pub last_error: Option<LastError>,
    /// Reports by their outcome, since the start.
    pub reports: Outcomes,
    /// Refusals for quota that were not on their way when a cooldown began: the pool had thought
    /// the request to be within every limit.
    pub unexpected_429: u64,
    warnings: [u64; LimitKind::ALL.len()],
    day: Option<i32>,
}

/// What came of the uses of a key by model. Most keys serve one, which is therefore kept in the
/// record rather than somewhere else in the memory. Written as a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(Arc<str>, ModelRecord)>", into = "Vec<(Arc<str>, ModelRecord)>")]
pub struct Models {
    first: Option<(Arc<str>, ModelRecord)>,
    more: Vec<(Arc<str>, ModelRecord)>,
}

/// What came of the uses of a key for one model.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Since the start.
    pub total: Tally,
    /// In the quota day.
    pub today: Tally,
}

/// Uses, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Leases granted.
    pub grants: u64,
    /// Reports of success.
    pub successes: u64,
    /// Reports of a failure that blames key, quota group or provider.
    pub errors: u64,
    /// Refusals for quota, each of which the pool had thought to be within it.
    pub rate_limited: u64,
    /// Tokens reported, or reserved where none were reported.
    pub tokens: u64,
    /// Leases that were never reported.
    pub expired: u64,
}

/// Uses by the name of their outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Outcomes([u64; Outcome::NAMES.len()]);

impl From<Vec<(Arc<str>, ModelRecord)>> for Models {
    fn from(all: Vec<(Arc<str>, ModelRecord)>) -> Self {
        let mut all = all.into_iter();
        Self { first: all.next(), more: all.collect() }
    }
}

impl From<Models> for Vec<(Arc<str>, ModelRecord)> {
    fn from(models: Models) -> Self {
        models.first.into_iter().chain(models.more).collect()
    }
}

impl Models {
    fn iter(&self) -> impl Iterator<Item = &(Arc<str>, ModelRecord)> {
        self.first.iter().chain(&self.more)
    }

    /// The names of the models.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.iter().map(|(name, _)| name)
    }

    /// What came of the uses for the model called `name`.
    pub fn get(&self, name: &str) -> Option<&ModelRecord> {
        self.iter().find(|(model, _)| **model == *name).map(|(_, record)| record)
    }

    fn records(&mut self) -> impl Iterator<Item = &mut ModelRecord> {
        self.first.iter_mut().chain(&mut self.more).map(|(_, record)| record)
    }

    /// The record of `model`, which is begun if there is room for one more.
    fn of(&mut self, model: &Arc<str>) -> Option<&mut ModelRecord> {
        let begun = || (model.clone(), ModelRecord::default());
        let first = self.first.get_or_insert_with(begun);
        let (name, record) = if first.0 == *model {
            first
        } else {
            let count = self.more.len();
            let place = self.more.iter().position(|(name, _)| name == model).unwrap_or(count);
            if place == count {
                if count + 1 >= MOST_MODELS {
                    return None;
                }
                self.more.push(begun());
            }
            &mut self.more[place]
        };
        if !Arc::ptr_eq(name, model) {
            // The next use is likely to come with the same name at the same place: then there is
            // no text to compare.
            *name = model.clone();
        }
        Some(record)
    }

    /// Has memory bring what a use for the first model writes to.
    pub(super) fn fetch(&self) -> u64 {
        self.first.as_ref().map_or(0, |(_, record)| {
            record.total.grants ^ record.today.grants ^ record.today.expired
        })
    }
}

impl Tally {
    fn is_sound(self) -> bool {
        let Self { grants, successes, errors, rate_limited, expired, .. } = self;
        [grants, successes, errors, rate_limited, expired].iter().all(|count| *count < FAR)
    }
}

impl Outcomes {
    /// Whether they could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.0.iter().all(|count| *count < FAR)
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        self.0[outcome.place()] += 1;
    }

    /// How many there were of each outcome, by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::NAMES.into_iter().zip(self.0)
    }
}

/// The last failure of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastError {
    /// When it was reported.
    pub at: WallTime,
    /// The outcome, or what the provider said in machine-readable words.
    pub what: Arc<str>,
}

impl Record {
    /// Whether it could have come about.
    pub(super) fn is_sound(&self) -> bool {
        let models = self.models.iter().flat_map(|(_, model)| [model.total, model.today]);
        let mut tallies = [self.total, self.today].into_iter().chain(models);
        tallies.all(Tally::is_sound)
            && self.reports.is_sound()
            && self.warnings.iter().all(|count| *count < FAR)
            && [self.consecutive_failures, self.unexpected_429].iter().all(|count| *count < FAR)
    }

    /// Has memory bring what a use writes to.
    pub(super) fn fetch(&self) -> u64 {
        let days = u64::from(self.last_used.is_some()) ^ u64::from(self.day.is_some());
        let uses = self.total.grants ^ self.today.grants ^ self.today.expired;
        days ^ uses ^ self.models.fetch()
    }

    /// Begins to count anew what is counted by the day, if `day` is another.
    pub(super) fn roll(&mut self, day: i32) {
        if self.day != Some(day) {
            self.day = Some(day);
            self.today = Tally::default();
            for model in self.models.records() {
                model.today = Tally::default();
            }
        }
    }

    pub(super) fn granted(&mut self, model: Option<&Arc<str>>, now: WallTime) {
        self.count(model, |tally| tally.grants += 1);
        self.last_used = Some(now);
    }

    /// How often the use of `limit` has crossed the warning threshold.
    pub fn warnings(&self, limit: LimitKind) -> u64 {
        self.warnings[limit as usize]
    }

    pub(super) fn warned(&mut self, limit: LimitKind) {
        self.warnings[limit as usize] += 1;
    }

    pub(super) fn expired(&mut self, model: Option<&Arc<str>>) {
        self.count(model, |tally| tally.expired += 1);
    }

    pub(super) fn reported(
        &mut self,
        model: Option<&Arc<str>>,
        outcome: Outcome,
        tokens: u64,
        detail: &str,
        now: WallTime,
    ) {
        let failed = match outcome {
            Outcome::Success | Outcome::Cancelled | Outcome::ClientError => false,
            Outcome::RateLimited(_)
            | Outcome::AuthFailed
            | Outcome::ModelRefused
            | Outcome::EgressRefused
            | Outcome::ServerError
            | Outcome::Timeout => true,
        };
        self.reports.count(outcome);
        self.count(model, |tally| {
            tally.tokens = tally.tokens.saturating_add(tokens);
            tally.successes += u64::from(outcome == Outcome::Success);
            tally.rate_limited += u64::from(matches!(outcome, Outcome::RateLimited(_)));
            tally.errors += u64::from(failed);
        });
        if outcome == Outcome::Success {
            self.consecutive_failures = 0;
        }
        if failed {
            self.consecutive_failures += 1;
            let what = if detail.is_empty() { outcome.name() } else { detail };
            self.last_error = Some(LastError { at: now, what: what.into() });
        }
    }

    /// Counts in every tally that a use of `model` belongs to.
    fn count(&mut self, model: Option<&Arc<str>>, mut count: impl FnMut(&mut Tally)) {
        count(&mut self.total);
        count(&mut self.today);
        let Some(model) = model else { return };
        if let Some(record) = self.models.of(model) {
            count(&mut record.total);
            count(&mut record.today);
        }
    }
}

/// The most models that are counted apart for one key: a key without models serves whatever name
/// a caller invents.
const MOST_MODELS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_model_apart_up_to_the_most() {
        let mut record = Record::default();
        for number in (0..=MOST_MODELS).chain([0, 1, 1]) {
            record.granted(Some(&format!("model-{number}").into()), WallTime::default());
        }
        let grants = |number: usize| {
            record.models.get(&format!("model-{number}")).map(|model| model.total.grants)
        };
        assert_eq!([0, 1, 2].map(grants), [Some(2), Some(3), Some(1)]);
        assert_eq!(grants(MOST_MODELS), None);
        assert_eq!(record.total.grants, MOST_MODELS as u64 + 4);
        assert_eq!(record.models.names().count(), MOST_MODELS);
    }

    #[test]
    fn the_models_are_written_and_read_in_order() {
        let mut record = Record::default();
        for name in ["pro", "flash"] {
            record.granted(Some(&name.into()), WallTime::default());
        }
        let written = postcard::to_stdvec(&record.models).unwrap();
        let read: Models = postcard::from_bytes(&written).unwrap();
        assert_eq!(read.names().map(|name| &**name).collect::<Vec<_>>(), ["pro", "flash"]);
        assert_eq!(postcard::to_stdvec(&read).unwrap(), written);
    }
}

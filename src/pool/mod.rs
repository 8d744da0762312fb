//! The product: a pool of keys with their quotas. Pure: it is told the time, does no I/O, knows no
//! secret, logs nothing, and answers every call with a value that says what happened.
//!
//! [`Pool`] is the only door. Inside, from the ground up: `time`, `settings` and `outcome` are the
//! words; `window`, `bucket` and `day` each keep one limit and `quota` all of them; `cooldown` keeps
//! failures, `pace` what they teach, `breaker` those of a provider; `group` is a quota group and
//! `in_flight` its open leases, `key` a key, `stock` all of them in `pages`, `standing` what was last
//! found of each, `names` what they are called in common, and `fetch` has memory bring them; `views`,
//! `view`, `ready` and `ring` find the keys for a request, `choice` picks one; `lease` and `line` keep
//! who has a key and who waits for one; `revision` compares configurations; `select`, `waiting`,
//! `report`, `reconfigure`, `inspect`, `probe` and `sharing` are the calls.

mod core;
mod select;
mod report;
mod waiting;
mod reconfigure;
mod revision;
mod inspect;
mod snapshot;
mod probe;
mod sharing;
mod shared;

mod choice;
mod views;
mod view;
mod ready;
mod ring;
mod affinity;
mod random;

mod stock;
mod pages;
mod standing;
mod names;
mod fetch;
mod key;
mod group;
mod in_flight;
mod foreign;
mod quota;
mod window;
mod bucket;
mod day;
mod cooldown;
mod pace;
mod breaker;
mod record;

mod lease;
mod line;
mod request;
mod refusal;
mod transition;

mod rules;
mod settings;
mod outcome;
mod time;

pub use self::core::Pool;
pub use cooldown::{CooldownParcel, CoolingReason};
pub use group::WaitsFor;
pub use inspect::{KeyState, KeyView, LimitView, ProviderView};
pub use key::{NoSecret, Unusable};
pub use lease::{LeaseGone, LeaseId, LeaseSeq};
pub use line::WaiterId;
pub use outcome::{LearnedLimit, LimitKind, Outcome, RateLimit, Spent};
pub use pace::Pace;
pub use probe::{LastProbe, ProbeRound, ProbeTarget, ProbeVerdict};
pub use record::{LastError, ModelRecord, Models, Outcomes, Record, Tally};
pub use refusal::{NoUse, Refusal};
pub use report::{NoRotation, Report, Reported};
pub use request::{Filter, MOST_TOKENS, SelectRequest};
pub use revision::{KeyChanges, Revision, SecretsKnown};
pub use select::{Lease, Selection};
pub use settings::{KeyId, KeySettings, Limits, PoolSettings, Strategy};
pub use shared::{SharedPool, Waiting};
pub use sharing::{
    CutOff, DayParcel, GroupName, HeldGroup, Letter, News, Parcel, Part, Taken, Terms, Wanted,
};
pub use snapshot::{Fact, Saved, Snapshot};
pub use time::{Calendar, Day, Instant, Now, ResetZone, WallTime};
pub use transition::{Change, Transition};

#[cfg(test)]
mod tests;

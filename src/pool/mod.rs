//! The product: a pool of keys with their quotas. Pure: it is told the time, does no I/O, knows no
//! secret, logs nothing, and answers every call with a value that says what happened.

mod outcome;
mod settings;
mod time;

pub use outcome::{LearnedLimit, LimitKind, Outcome, RateLimit, Spent};
pub use settings::{KeyId, KeySettings, Limits, PoolSettings, Strategy};
pub use time::{Calendar, Day, Instant, Now, ResetZone, WallTime};

//! What daemons and the ledger say to each other. What other versions add is passed over.

use serde::{Deserialize, Serialize};

use crate::pool::{HeldGroup, Instant, Letter, News};

/// What a daemon says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// Its host and process, for people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How many groups it holds.
    pub held: u64,
    /// Requests a minute that these allow; absent if one has no limit.
    pub capacity: Option<u64>,
    /// How many of them were used in the last minute.
    pub used: u64,
    /// How many can be granted at once.
    pub room: u64,
    /// How many requests wait.
    pub waiting: u64,
    /// How many requests a minute it was asked for lately: those granted, and those that wait.
    pub demand: u64,
}

impl Row {
    /// That of the daemon called `name`.
    pub(super) fn of(
        name: &str,
        held: &[HeldGroup],
        waiting: usize,
        demand: u64,
        now: Instant,
    ) -> Self {
        let room = |group: &HeldGroup| match group.per_minute {
            Some(limit) if group.free_at <= now => limit.saturating_sub(group.used),
            Some(_) => 0,
            None => 1,
        };
        Self {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            held: held.len() as u64,
            capacity: held.iter().map(|group| group.per_minute).sum(),
            used: held.iter().map(|group| group.used).sum(),
            room: held.iter().map(room).sum(),
            waiting: waiting as u64,
            demand,
        }
    }
}

/// A daemon as the ledger has it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Daemon {
    /// Its id among daemons.
    pub id: String,
    /// For how many microseconds its leases last.
    #[serde(deserialize_with = "whole")]
    pub left: u64,
    /// For how many microseconds they have been over.
    #[serde(deserialize_with = "whole")]
    pub lapsed: u64,
    /// For how many microseconds it has shared.
    #[serde(deserialize_with = "whole")]
    pub up: u64,
    /// How many microseconds ago it has said that it is alive.
    #[serde(deserialize_with = "whole")]
    pub silent: u64,
    /// What it says of itself.
    #[serde(flatten)]
    pub row: Row,
}

/// What somebody needs a group for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Need {
    /// For requests that the groups held there cannot pay now.
    #[default]
    More,
    /// For requests that no group held there serves.
    First,
    /// For requests that are served by others, which are not as good.
    Better,
}

/// The arguments of every operation; each uses some.
#[derive(Debug, Default, Serialize)]
pub(super) struct Request<'a> {
    pub(super) id: &'a str,
    /// Tells two processes with the same id apart.
    pub(super) life: &'a str,
    #[serde(rename = "gen")]
    pub(super) generation: &'a str,
    /// Tells what was said after it joined last from what was said before.
    pub(super) visit: &'a str,
    pub(super) layout: &'a str,
    pub(super) others: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) row: Option<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) held: Vec<(String, u64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) days: Vec<(String, i32, u64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) names: Vec<String>,
    pub(super) most: usize,
    pub(super) ask: usize,
    /// How many of those who can best do without are passed over.
    pub(super) turn: u32,
    pub(super) need: Need,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) groups: Vec<Released>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) waiting: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) news: Vec<(String, News)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) letters: Vec<(String, Letter)>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) leaves: bool,
    /// Whether it wants a part of every limit for when it is cut off.
    pub(super) shares: bool,
    /// The part that it has, in 720720ths.
    pub(super) part: u32,
    /// The ledger's time of the last answer that it has received.
    pub(super) heard: &'a str,
    /// For how many microseconds more counts what it has used in parts.
    pub(super) keep: u64,
    /// How many microseconds a request counts.
    pub(super) window: u64,
    /// The parts of all that it knows of.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) parts: &'a [(String, u32)],
}

/// A group that is handed over.
#[derive(Debug, Serialize)]
pub(super) struct Released {
    pub(super) name: String,
    pub(super) epoch: u64,
    /// JSON of a [`crate::pool::Parcel`].
    pub(super) parcel: String,
    pub(super) free_in: u64,
}

/// The answer to any operation; absent is what it does not tell.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reply {
    /// The daemon is not known: it must join.
    pub(super) join: bool,
    /// Another process has the same id.
    pub(super) twin: bool,
    /// Daemons with this layout have the pool.
    pub(super) layout: Option<u32>,
    #[serde(rename = "gen")]
    pub(super) generation: String,
    /// For how many microseconds nobody may take a group.
    #[serde(deserialize_with = "whole")]
    pub(super) learning: u64,
    pub(super) lost: Vec<String>,
    pub(super) news: Vec<(String, News)>,
    #[serde(deserialize_with = "list")]
    pub(super) daemons: Vec<Daemon>,
    /// Microseconds since the epoch on the ledger's clock.
    pub(super) now: String,
    pub(super) taken: Vec<TakenOne>,
    #[serde(deserialize_with = "maybe_whole")]
    pub(super) free_in: Option<u64>,
    /// How many of the groups that it wants others hold.
    pub(super) held: u64,
    #[serde(deserialize_with = "list")]
    pub(super) groups: Vec<LedgerGroup>,
    /// The part of every limit that is this daemon's when it is cut off, in 720720ths.
    #[serde(deserialize_with = "whole")]
    pub(super) part: u64,
    /// What is left to those that nobody hears from, in 720720ths.
    #[serde(deserialize_with = "maybe_whole")]
    pub(super) withheld: Option<u64>,
    /// The parts of all.
    #[serde(deserialize_with = "list")]
    pub(super) parts: Vec<(String, u32)>,
    /// Whether every part is as it is to stay.
    pub(super) settled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TakenOne {
    pub(super) name: String,
    pub(super) epoch: u64,
    #[serde(deserialize_with = "whole")]
    pub(super) ago: u64,
    pub(super) parcel: Option<String>,
    #[serde(deserialize_with = "maybe_whole")]
    pub(super) doubt: Option<u64>,
    /// `number|requests`, as the last holder counted them.
    pub(super) day: Option<String>,
    /// JSON of a list of [`Letter`]s.
    pub(super) mail: Option<String>,
}

/// A group as the ledger has it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerGroup {
    /// Its name.
    pub name: String,
    /// The id of the daemon that holds it, if one does.
    pub holder: Option<String>,
    /// How often it has changed hands.
    pub epoch: u64,
    /// In how many microseconds it can pay, where nobody holds it.
    #[serde(deserialize_with = "whole")]
    pub free_in: u64,
}

/// A message of another daemon.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    /// Groups that somebody would like to have.
    pub(super) want: Vec<String>,
    pub(super) need: Need,
    pub(super) from: String,
    /// Groups that nobody holds any more.
    pub(super) free: Vec<String>,
    pub(super) news: Vec<(String, News)>,
    pub(super) letters: Vec<(String, Letter)>,
}

/// Lua writes large and broken numbers with a point or an exponent.
fn whole<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float is cut to the nearest whole number there is"
    )]
    Ok(number.max(0.0) as u64)
}

fn maybe_whole<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    whole(deserializer).map(Some)
}

/// Lua writes an empty list as an empty object.
fn list<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List<T> {
        Full(Vec<T>),
        Empty {},
    }
    Ok(match List::deserialize(deserializer)? {
        List::Full(list) => list,
        List::Empty {} => Vec::new(),
    })
}

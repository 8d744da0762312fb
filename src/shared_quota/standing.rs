//! How the sharing goes, for people and metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::giving::Mode;
use super::link::Trouble;
use super::wire::Daemon;
use crate::pool::{Part, WallTime};

/// What a daemon may grant from at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Holds {
    /// What is shared through the ledger.
    Shared,
    /// What it holds, as long as its leases last.
    Leases,
    /// What it held when Redis went away.
    Owned,
    /// Its part of every group.
    Part,
    /// Everything.
    Open,
    /// Nothing.
    #[default]
    Nothing,
}

impl Holds {
    /// The name in `/v1/status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Leases => "leases",
            Self::Owned => "owned",
            Self::Part => "part",
            Self::Open => "open",
            Self::Nothing => "nothing",
        }
    }
}

/// How the sharing goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// What this daemon may grant from.
    pub holds: Holds,
    /// Whether the ledger is in use; why not, and since when.
    pub away: Option<(Trouble, WallTime)>,
    /// How groups are shared.
    pub mode: Mode,
    /// The id of this daemon in the fleet.
    pub id: String,
    /// The daemons of the fleet, this one included.
    pub daemons: Vec<Daemon>,
    /// How many groups this daemon holds.
    pub held: usize,
    /// How many there are.
    pub groups: usize,
    /// Whether the ledger waits for daemons that may hold groups it does not know of.
    pub learning: bool,
    /// The part of every limit that is this daemon's when it is cut off.
    pub part: Part,
    /// What is left by this one to those that nobody hears from.
    pub withheld: Part,
    /// How often Redis was asked, by what came of it.
    pub calls: BTreeMap<&'static str, u64>,
}

/// The standing, shared.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Standing>);

impl Board {
    pub(super) fn read(&self) -> Standing {
        self.lock().clone()
    }

    pub(super) fn write(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

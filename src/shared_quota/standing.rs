//! How the sharing goes, for people and metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::giving::Mode;
use super::link::Trouble;
use super::wire::Daemon;
use crate::pool::WallTime;

/// How the sharing goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
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

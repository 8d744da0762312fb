//! Whether this daemon may grant from a group.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pool::time::Instant;

/// How soon a group that may be to be had is thought to be here.
const SOON: Duration = Duration::from_millis(5);

/// Whether this daemon may grant from a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in crate::pool) enum Holding {
    /// Nobody else uses its limits.
    Alone,
    /// It is held here.
    Held {
        /// How often it has changed hands.
        epoch: u64,
        /// Until when it may be used; this is put off again and again.
        until: Instant,
        /// Whether it is being handed over.
        leaving: bool,
    },
    /// Another daemon may hold it, and it is not to be had before this time.
    Away(Instant),
    /// Nobody is heard of: a part of it is this daemon's, whoever holds it.
    Part {
        /// How often it had changed hands, if it was held here.
        epoch: Option<u64>,
    },
}

impl Holding {
    /// What a new group begins with.
    pub(in crate::pool) fn new(shared: bool) -> Self {
        if shared { Self::Away(Instant::ZERO) } else { Self::Alone }
    }

    /// Shares from here on, or no more. A group that was held stays so, but it is for others to
    /// say until when.
    pub(in crate::pool) fn share(&mut self, shared: bool) {
        *self = match (*self, shared) {
            (_, false) => Self::Alone,
            (Self::Held { epoch, .. } | Self::Part { epoch: Some(epoch) }, true) => {
                Self::Held { epoch, until: Instant::ZERO, leaving: false }
            }
            (Self::Alone | Self::Away(_) | Self::Part { epoch: None }, true) => {
                Self::Away(Instant::ZERO)
            }
        };
    }

    /// When what depends on other daemons may have changed.
    pub(in crate::pool) fn soon(now: Instant) -> Instant {
        now.plus(SOON)
    }

    /// When the group is thought to be held here, if it is not at `now`.
    pub(in crate::pool) fn away_until(&self, now: Instant) -> Option<Instant> {
        let soon = Self::soon(now);
        match self {
            Self::Alone | Self::Part { .. } => None,
            Self::Held { until, leaving, .. } => (*leaving || *until <= now).then_some(soon),
            Self::Away(expected) => Some(soon.max(*expected)),
        }
    }

    /// Whether the group is worth asking for.
    pub(super) fn is_away(&self, now: Instant) -> bool {
        matches!(self, Self::Away(expected) if *expected <= now)
    }

    /// Whether a part of it is used.
    pub(in crate::pool) fn is_part(&self) -> bool {
        matches!(self, Self::Part { .. })
    }

    /// Whether it is being handed over.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self, Self::Held { leaving: true, .. })
    }

    /// Whether others are to know what comes of leases here.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Away(_))
    }

    /// Its number among the holders, if it is held here.
    pub(in crate::pool) fn epoch(&self) -> Option<u64> {
        match self {
            Self::Held { epoch, .. } => Some(*epoch),
            Self::Part { epoch } => *epoch,
            Self::Alone | Self::Away(_) => None,
        }
    }

    /// Puts the end of a hold off. Says whether the group can be used again that could not.
    pub(super) fn prolong(&mut self, to: Instant, now: Instant) -> bool {
        let Self::Held { until, leaving, .. } = self else { return false };
        let was_over = *until <= now || *leaving;
        *until = to;
        *leaving = false;
        was_over && to > now
    }

    pub(in crate::pool) fn take(&mut self, epoch: u64, until: Instant) {
        *self = Self::Held { epoch, until, leaving: false };
    }

    pub(super) fn leave(&mut self) {
        if let Self::Held { leaving, .. } = self {
            *leaving = true;
        }
    }

    pub(super) fn lose(&mut self) {
        if matches!(self, Self::Held { .. } | Self::Part { .. }) {
            *self = Self::Away(Instant::ZERO);
        }
    }

    /// A part of it is used from here on.
    pub(super) fn go_on_in_part(&mut self) {
        let held = match self {
            Self::Held { epoch, leaving, .. } => (!*leaving).then_some(*epoch),
            Self::Part { epoch } => *epoch,
            Self::Alone | Self::Away(_) => None,
        };
        *self = Self::Part { epoch: held };
    }

    /// No part of it is used any more. If it was held it is for others to say until when.
    pub(super) fn rejoin(&mut self) {
        if self.is_part() {
            self.share(true);
        }
    }

    pub(super) fn expect(&mut self, at: Instant) {
        if let Self::Away(expected) = self {
            *expected = at;
        }
    }
}

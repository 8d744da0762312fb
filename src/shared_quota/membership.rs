//! What a daemon has agreed with its fleet: who it is, which ledger it knows, and its part of every
//! limit for when it hears from nobody (`shared.on_failure = "share"`).
//!
//! Why parts are exact, in any order of failures. All times in the ledger are its own.
//!
//! 1. *The parts that daemons may have are never more than the whole.* The ledger offers a part of
//!    what the others leave, and counts the most that the daemon may believe it has: what it says
//!    it has, and every offer since the last answer that it says to have received. Offers fall to
//!    an equal part for each as daemons come.
//! 2. *A daemon is taken for silent by the last answer that it says to have received* (`heard`),
//!    not by its last question, which may have lain on the way for any time. So the ledger takes it
//!    for silent 15 s after it heard something, or earlier. From then on its part is withheld from
//!    every daemon that asks for anything.
//! 3. Who has not asked since then has asked at the latest 15 s after the silent one has last
//!    heard, so that its holds have ended another 15 s later. *From [`OTHERS`] after it has last
//!    heard, everybody leaves the part of the silent one alone*, and when another window has
//!    passed, nothing counts that was granted before. Then, and not earlier, it uses its part of
//!    the groups of others.
//! 4. A group that it held itself is used in full until its hold ends, and in part from then on.
//!    Who takes it over counts it as used up at that moment, and leaves the part alone: the ledger
//!    gives a group of a silent daemon together with what is withheld.
//! 5. Back in touch, a daemon uses no part any more, and says for how long what it has used counts
//!    (`keep`): so long its part stays withheld. If the process is another one that cannot know, the
//!    ledger assumes the most.
//! 6. A ledger that has lost its memory is told of all parts by every daemon that joins it, and
//!    offers no more than a daemon has while it learns.
//!
//! A part ends a day after its daemon has last heard something, and the ledger forgets it then: a
//! host that never comes back takes its part with it no longer than that. What is not covered: a
//! clock of Redis that goes back, and a ledger that loses its memory while everybody who knew of a
//! silent daemon is gone.

use std::time::Duration;

use super::identity::Identity;
use super::wire::{Reply, Request};
use crate::pool::{CutOff, Instant, Part, Terms};

/// How long a daemon that says nothing keeps its groups: a little less than the ledger's 15 s.
const HELD: Duration = Duration::from_millis(14_900);

/// How long after a daemon has last heard something others may grant who do not know that: 15 s
/// until it is taken for silent, 15 s until the last hold has ended from before that, and a second
/// for clocks that go at different speeds.
const OTHERS: Duration = Duration::from_secs(31);

/// How long a daemon goes on with its part.
const PART_LASTS: Duration = Duration::from_hours(24);

/// What a daemon has agreed with its fleet.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) identity: Identity,
    /// The ledger it knows.
    pub(super) generation: String,
    /// Until when what it holds is held.
    pub(super) until: Instant,
    /// Whether it uses a part of every limit when it is cut off.
    pub(super) shares: bool,
    /// Its part.
    part: Part,
    /// The ledger's time of the last answer, as the ledger wrote it.
    heard: String,
    /// The parts of all, as the last answer has them.
    parts: Vec<(String, u32)>,
}

impl Membership {
    pub(super) fn new(identity: Identity, shares: bool) -> Self {
        Self {
            identity,
            generation: String::new(),
            until: Instant::ZERO,
            shares,
            part: Part::NONE,
            heard: String::new(),
            parts: Vec::new(),
        }
    }

    /// The part of every limit that it has when it is cut off.
    pub(super) fn part(&self) -> Part {
        self.part
    }

    /// Signs a request: who asks, and what it has of parts. What it has used in parts `counts` for
    /// so long.
    pub(super) fn sign<'a>(
        &'a self,
        request: Request<'a>,
        counts: Duration,
        window: Duration,
    ) -> Request<'a> {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Request {
            id: &self.identity.id,
            life: &self.identity.life,
            generation: &self.generation,
            shares: self.shares,
            part: self.part.parts(),
            heard: &self.heard,
            // Never less than it is.
            keep: if counts.is_zero() { 0 } else { micros(counts) + 1 },
            window: micros(window) + 1,
            parts: if request.row.is_some() { &self.parts } else { &[] },
            ..request
        }
    }

    /// Agrees with an answer to what was `sent` at that time.
    pub(super) fn agree(&mut self, reply: &Reply, sent: Instant, received: Instant) -> Terms {
        self.until = sent.plus(HELD);
        self.part = Part::of(reply.part);
        self.heard.clone_from(&reply.now);
        self.parts.clone_from(&reply.parts);
        let cut_off = CutOff {
            part: self.part,
            others_until: received.plus(OTHERS),
            ends: received.plus(PART_LASTS),
        };
        Terms {
            until: self.until,
            withheld: Part::of(reply.withheld.unwrap_or(0)),
            cut_off: (self.part > Part::NONE).then_some(cut_off),
        }
    }

    /// Begins anew as somebody else.
    pub(super) fn renew(&mut self) {
        *self = Self { until: self.until, ..Self::new(self.identity.renewed(), self.shares) };
    }
}

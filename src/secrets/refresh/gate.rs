//! What keeps a store that is away from being asked for every secret: pure.
//!
//! Open, every secret that is due is asked for. A store that cannot answer closes the gate; when
//! the wait is over, one question alone finds out whether it is back.

use super::freshness::backoff;
use crate::pool::Instant;

/// Whether a store is asked.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Closed {
    since: Instant,
    /// The last failure.
    failed_at: Instant,
    failures: u32,
    /// When one question may go through.
    until: Instant,
    /// It is under way.
    trying: bool,
}

/// What an answer did to the gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moved {
    /// The store has just gone away.
    Closed,
    /// It is back.
    Opened {
        /// Since when it had been away.
        since: Instant,
    },
    /// As before.
    Not,
}

impl Gate {
    /// When the next question may go through; none while one is under way that decides.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        match &self.closed {
            None => Some(Instant::ZERO),
            Some(closed) if closed.trying => None,
            Some(closed) => Some(closed.until),
        }
    }

    /// Since when the store has been away.
    pub(super) fn closed_since(&self) -> Option<Instant> {
        self.closed.as_ref().map(|closed| closed.since)
    }

    /// A question goes through.
    pub(super) fn pass(&mut self) {
        if let Some(closed) = &mut self.closed {
            closed.trying = true;
        }
    }

    /// The store has answered, whatever it said.
    pub(super) fn answered(&mut self) -> Moved {
        self.closed.take().map_or(Moved::Not, |closed| Moved::Opened { since: closed.since })
    }

    /// The store has not answered a question that went through at `begun`. Several that went
    /// through together count as one.
    pub(super) fn failed(&mut self, begun: Instant, chance: f64, now: Instant) -> Moved {
        let until = |failures| now.plus(backoff(failures, chance));
        match &mut self.closed {
            None => {
                let closed = Closed {
                    since: now,
                    failed_at: now,
                    failures: 1,
                    until: until(1),
                    trying: false,
                };
                self.closed = Some(closed);
                return Moved::Closed;
            }
            Some(closed) if begun <= closed.failed_at => {}
            Some(closed) => {
                closed.failures = closed.failures.saturating_add(1);
                closed.failed_at = now;
                closed.until = until(closed.failures);
                closed.trying = false;
            }
        }
        Moved::Not
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_store_that_is_away_is_tried_by_one_question_at_a_time() {
        let mut gate = Gate::default();
        assert_eq!(gate.opens_at(), Some(Instant::ZERO));
        assert_eq!(gate.failed(at(10), 1.0, at(15)), Moved::Closed);
        assert_eq!(gate.opens_at(), Some(at(16)));
        gate.pass();
        assert_eq!(gate.opens_at(), None);
        assert_eq!(gate.failed(at(16), 1.0, at(20)), Moved::Not);
        assert_eq!(gate.opens_at(), Some(at(22)));
        gate.pass();
        assert_eq!(gate.answered(), Moved::Opened { since: at(15) });
        assert_eq!(gate.opens_at(), Some(Instant::ZERO));
    }

    #[test]
    fn questions_that_fail_together_count_as_one() {
        let mut gate = Gate::default();
        gate.failed(at(10), 1.0, at(15));
        for _ in 0..7 {
            assert_eq!(gate.failed(at(10), 1.0, at(15)), Moved::Not);
        }
        assert_eq!(gate.opens_at(), Some(at(16)));
    }

    #[test]
    fn a_late_answer_opens_the_gate_too() {
        let mut gate = Gate::default();
        gate.failed(at(10), 1.0, at(15));
        assert_eq!(gate.answered(), Moved::Opened { since: at(15) });
    }
}

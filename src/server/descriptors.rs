//! The descriptors of the process: as many as there may be, and no more connections than leave
//! enough for everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::places::ConnectionLimits;

/// One connection that is served: the socket, and another hold on it to see whether its client is
/// still there. One that waits has the first alone.
const OF_A_SERVED_ONE: u64 = 2;
const OF_A_WAITING_ONE: u64 = 1;

/// What the files of the configuration and the state, the log, the runtime, watching, stores and a
/// few probes take, with room to spare.
const OF_THE_REST: u64 = 128;

impl ConnectionLimits {
    /// As many of these connections as the limit of open files leaves, which is raised as far as
    /// it goes; `others` are the connections that are not among them. Says what cannot be had.
    #[must_use]
    pub fn within_descriptors(self, others: usize) -> Self {
        let most = raise();
        let fitting = self.beside(most, others);
        if let Some(most) = most.filter(|_| fitting != self) {
            tracing::warn!(
                "only {} connections are served at once instead of {}: the process may have {most} \
                 open files, and {} are needed; raise LimitNOFILE= of the unit, or ulimit -n",
                fitting.in_all,
                self.in_all,
                self.descriptors() + rest(others)
            );
        }
        fitting
    }

    fn beside(self, most: Option<u64>, others: usize) -> Self {
        let Some(left) = most.map(|most| most.saturating_sub(rest(others))) else { return self };
        let fitting = left / (OF_A_SERVED_ONE + OF_A_WAITING_ONE);
        let in_all = usize::try_from(fitting).unwrap_or(usize::MAX).max(1);
        if in_all >= self.in_all {
            return self;
        }
        // Who has less than all keeps it.
        let per_uid = if self.per_uid < ConnectionLimits::usual_per_uid(self.in_all) {
            self.per_uid
        } else {
            ConnectionLimits::usual_per_uid(in_all)
        };
        Self { in_all, per_uid: per_uid.min(in_all) }
    }

    /// How many descriptors they may take.
    fn descriptors(self) -> u64 {
        self.in_all as u64 * OF_A_SERVED_ONE + self.line() as u64 * OF_A_WAITING_ONE
    }
}

fn rest(others: usize) -> u64 {
    OF_THE_REST + others as u64
}

/// Raises the limit to what may be had without asking anybody; what it is then, if there is one.
fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // A sandbox may forbid it; then it stays as it is.
        setrlimit(Resource::Nofile, most).ok();
    }
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: ConnectionLimits = ConnectionLimits { in_all: 1024, per_uid: 1008 };

    #[test]
    fn the_usual_connections_fit_into_what_the_units_allow() {
        assert_eq!(USUAL.beside(Some(4096), 64 + 8), USUAL);
        assert_eq!(USUAL.beside(None, 1_000_000), USUAL);
    }

    #[test]
    fn few_descriptors_are_few_connections() {
        let fitting = USUAL.beside(Some(256), 72);
        assert_eq!(fitting, ConnectionLimits { in_all: 18, per_uid: 17 });
        assert!(fitting.descriptors() + rest(72) <= 256);
        let narrow = ConnectionLimits { per_uid: 5, ..USUAL };
        assert_eq!(narrow.beside(Some(256), 72).per_uid, 5);
    }

    #[test]
    fn there_is_always_one_connection() {
        let fitting = USUAL.beside(Some(10), 72);
        assert_eq!(fitting, ConnectionLimits { in_all: 1, per_uid: 1 });
    }
}

//! How much a daemon is asked for. Pure.

use std::time::Duration;

use crate::pool::Instant;

/// Counts taken sooner after each other than this say little about a minute.
const LEAST: Duration = Duration::from_secs(5);

/// What was granted in all, as of two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    last: Option<(u64, Instant)>,
    per_minute: u64,
}

impl Demand {
    /// Grants a minute since this was last asked, if `granted` were given in all until `now`.
    pub(super) fn per_minute(&mut self, granted: u64, now: Instant) -> u64 {
        let Some((before, at)) = self.last else {
            self.last = Some((granted, now));
            return 0;
        };
        let span = now.since(at);
        if span >= LEAST {
            let grants = u128::from(granted.saturating_sub(before));
            let per_minute = grants * 60_000 / span.as_millis();
            self.per_minute = u64::try_from(per_minute).unwrap_or(u64::MAX);
            self.last = Some((granted, now));
        }
        self.per_minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_granted_is_told_for_a_minute() {
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let mut demand = Demand::default();
        let told = [(100, 0), (110, 5000), (112, 9999), (113, 10_000), (113, 15_000)];
        let told = told.map(|(granted, millis)| demand.per_minute(granted, at(millis)));
        assert_eq!(told, [0, 120, 120, 36, 0]);
    }
}

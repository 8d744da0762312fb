//! The time that single calls take.

use std::time::{Duration, Instant};

/// Measures calls of some ten nanoseconds one by one, less what measuring itself takes.
#[derive(Clone, Copy)]
pub(crate) struct Timer {
    /// What two readings of the clock take, in nanoseconds.
    pub(crate) own: u64,
}

impl Timer {
    /// Finds out what measuring takes: the median, because a call is measured with a clock that is
    /// as warm.
    pub(crate) fn new() -> Self {
        const READINGS: usize = 100_000;
        let none = Self { own: 0 };
        let mut readings: Vec<u64> = (0..READINGS).map(|_| none.time(|| ()).1).collect();
        readings.sort_unstable();
        Self { own: readings[READINGS / 2] }
    }

    /// What `call` gives, and how many nanoseconds it took.
    pub(crate) fn time<T>(self, call: impl FnOnce() -> T) -> (T, u64) {
        let begun = read();
        let result = call();
        let took = nanos(begun.elapsed());
        (result, took.saturating_sub(self.own))
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn read() -> Instant {
    Instant::now()
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The times of many calls, in nanoseconds.
#[derive(Clone, Default)]
pub(crate) struct Times(Vec<u64>);

impl Times {
    pub(crate) fn add(&mut self, nanos: u64) {
        self.0.push(nanos);
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The figures of these calls; none if there were too few for a 99th percentile.
    pub(crate) fn figures(mut self) -> Option<Figures> {
        const FEWEST: usize = 1000;
        if self.0.len() < FEWEST {
            return None;
        }
        self.0.sort_unstable();
        let percentile = |percent: usize| self.0[self.0.len() * percent / 100];
        // In the slowest of a thousand another process had the processor.
        let most = &self.0[..self.0.len() * 999 / 1000];
        let mean = most.iter().sum::<u64>() / most.len() as u64;
        Some(Figures { p50: percentile(50), p99: percentile(99), mean })
    }
}

/// What many calls took, in nanoseconds; the mean is that of all but the slowest thousandth.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) mean: u64,
}

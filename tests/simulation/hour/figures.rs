//! What is counted in a cell.

use std::fmt;
use std::time::Duration;

/// What is counted in a cell, or in several of the same kind.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figures {
    capacity: u32,
    offered: u32,
    granted: u32,
    refused: u32,
    refused_before: u32,
    first_try: u32,
    /// From the arrival to the provider's counter, of the requests that were served.
    waits: Vec<Duration>,
}

impl Figures {
    /// Nothing yet, where the keys allow `capacity` requests.
    pub(crate) fn of_capacity(capacity: usize) -> Self {
        Self {
            capacity: u32::try_from(capacity).expect("a count of an hour"),
            offered: 0,
            granted: 0,
            refused: 0,
            refused_before: 0,
            first_try: 0,
            waits: Vec::new(),
        }
    }

    /// A request has come.
    pub(super) fn offered(&mut self) {
        self.offered += 1;
    }

    /// The provider has admitted a request.
    pub(super) fn granted(&mut self) {
        self.granted += 1;
    }

    /// The provider has answered 429, in the measured time or outside of it.
    pub(super) fn refused(&mut self, measured: bool) {
        if measured {
            self.refused += 1;
        } else {
            self.refused_before += 1;
        }
    }

    /// A request that came in the measured time was served.
    pub(super) fn served(&mut self, wait: Duration, first_try: bool) {
        self.waits.push(wait);
        self.first_try += u32::from(first_try);
    }

    /// The two together.
    pub(crate) fn and(mut self, mut other: Self) -> Self {
        self.capacity += other.capacity;
        self.offered += other.offered;
        self.granted += other.granted;
        self.refused += other.refused;
        self.refused_before += other.refused_before;
        self.first_try += other.first_try;
        self.waits.append(&mut other.waits);
        self
    }

    /// All 429s, also those outside of the measured time.
    pub(crate) fn refusals_ever(&self) -> u64 {
        u64::from(self.refused) + u64::from(self.refused_before)
    }

    /// 429s in 1,000 requests that came.
    pub(crate) fn refused_per_thousand(&self) -> f64 {
        f64::from(self.refused) * 1000.0 / f64::from(self.offered)
    }

    /// The requests that came, in percent of what the keys allow.
    pub(crate) fn offered_share(&self) -> f64 {
        f64::from(self.offered) * 100.0 / f64::from(self.capacity)
    }

    /// The requests that were granted, in percent of what the keys allow.
    pub(crate) fn granted_share(&self) -> f64 {
        f64::from(self.granted) * 100.0 / f64::from(self.capacity)
    }

    /// The requests that were served at once or after one wait, without an error on the way, in
    /// percent.
    pub(crate) fn first_try_share(&self) -> f64 {
        f64::from(self.first_try) * 100.0 / f64::from(self.offered)
    }

    /// The wait that `percent` of the served requests did not exceed.
    pub(crate) fn wait(&self, percent: usize) -> Duration {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let place = (waits.len() * percent / 100).min(waits.len().saturating_sub(1));
        waits.get(place).copied().unwrap_or_default()
    }
}

impl fmt::Display for Figures {
    /// As a cell of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refusals_ever() == 0 {
            f.write_str("**0**")?;
        } else {
            write!(f, "{:.0}", self.refused_per_thousand())?;
        }
        let (granted, first_try) = (self.granted_share(), self.first_try_share());
        let (p50, p99) = (self.wait(50).as_secs_f64(), self.wait(99).as_secs_f64());
        write!(f, " / {granted:.1} / {first_try:.1} / {p50:.1} / {p99:.1}")
    }
}

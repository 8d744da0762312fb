//! What the calls of one load took.

use crate::timer::{Timer, Times};
use crate::traffic::{Kind, Meter};

/// The times of the calls of one load, each kind of request apart.
pub(crate) struct Measured {
    timer: Timer,
    pub(crate) granted: [Times; Kind::ALL.len()],
    pub(crate) refused: [Times; Kind::ALL.len()],
    pub(crate) reports: Times,
}

impl Measured {
    /// No calls so far.
    pub(crate) fn with(timer: Timer) -> Self {
        let (granted, refused) = Default::default();
        Self { timer, granted, refused, reports: Times::default() }
    }

    /// The selects of `kind`, whatever their answer.
    pub(crate) fn selects_of(&self, kind: Kind) -> Times {
        let mut selects = self.granted[kind as usize].clone();
        selects.extend(&self.refused[kind as usize]);
        selects
    }

    /// Every select.
    pub(crate) fn selects(&self) -> Times {
        together(&[&self.granted[..], &self.refused[..]].concat())
    }

    pub(crate) fn refusals(&self) -> Times {
        together(&self.refused)
    }
}

fn together(parts: &[Times]) -> Times {
    let mut all = Times::default();
    for part in parts {
        all.extend(part);
    }
    all
}

impl Meter for Measured {
    fn select(&mut self, kind: Kind, call: &mut dyn FnMut() -> bool) {
        let (granted, took) = self.timer.time(call);
        let times = if granted { &mut self.granted } else { &mut self.refused };
        times[kind as usize].add(took);
    }

    fn report(&mut self, call: &mut dyn FnMut()) {
        let ((), took) = self.timer.time(call);
        self.reports.add(took);
    }
}

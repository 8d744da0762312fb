//! Traffic on a pool in virtual time: requests come at random, leases are reported a second later.

use std::collections::VecDeque;
use std::time::Duration;

use keypool::pool::{
    Filter, Instant, LeaseId, Now, Outcome, Pool, Report, SelectRequest, Selection,
};

use crate::keys::{self, MODELS, REGIONS, TOKENS};

/// How long the application has its lease.
const LATENCY: Duration = Duration::from_secs(1);

/// Longer than the windows of a minute with their guard.
const WARM_UP: Duration = Duration::from_secs(62);

/// How many different users there are.
const USERS: u64 = 100_000;

/// What a request says about the key it wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Model,
    Tags,
    User,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Any, Self::Model, Self::Tags, Self::User];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Model => "model",
            Self::Tags => "tags",
            Self::User => "user",
        }
    }
}

/// What watches the calls of the pool.
pub(crate) trait Meter {
    /// Has `call` make a select of `kind`; it says whether that was granted.
    fn select(&mut self, kind: Kind, call: &mut dyn FnMut() -> bool);
    /// Has `call` make a report.
    fn report(&mut self, call: &mut dyn FnMut());
}

/// Watches nothing.
struct Unwatched;

impl Meter for Unwatched {
    fn select(&mut self, _kind: Kind, call: &mut dyn FnMut() -> bool) {
        call();
    }

    fn report(&mut self, call: &mut dyn FnMut()) {
        call();
    }
}

/// A pool under a load.
pub(crate) struct Traffic {
    pool: Pool,
    now: Now,
    /// Nanoseconds from one request to the next, on average.
    spacing: f64,
    random: u64,
    in_flight: VecDeque<(Instant, LeaseId)>,
}

impl Traffic {
    /// Traffic on `count` keys, so far none.
    pub(crate) fn on(count: usize) -> Self {
        let (pool, now) = keys::pool(keys::settings(count));
        Self { pool, now, spacing: 0.0, random: 7, in_flight: VecDeque::new() }
    }

    /// Goes on at `percent` of what `count` keys allow until the windows are as that load has them.
    pub(crate) fn settle_at(&mut self, percent: u32, count: usize) {
        let per_minute = keys::per_minute(count) * f64::from(percent) / 100.0;
        self.spacing = 60e9 / per_minute;
        let until = self.now.at.plus(WARM_UP);
        while self.now.at < until {
            self.step(&mut Unwatched);
        }
    }

    /// Has `meter` watch this many selects and the reports between them.
    pub(crate) fn run(&mut self, selects: usize, meter: &mut impl Meter) {
        for _ in 0..selects {
            self.step(meter);
        }
    }

    /// One select, after the reports that are due before it.
    fn step(&mut self, meter: &mut impl Meter) {
        self.pass();
        while let Some(&(due, lease)) = self.in_flight.front()
            && due <= self.now.at
        {
            self.in_flight.pop_front();
            let report = self.report();
            let mut reported = None;
            meter.report(&mut || reported = Some(self.pool.report(lease, &report, self.now)));
            reported.map(|reported| reported.expect("the lease is open"));
        }
        let (kind, request) = self.request();
        let (mut request, mut selected) = (Some(request), None);
        meter.select(kind, &mut || {
            let request = request.take().unwrap_or_default();
            selected = Some(self.pool.select(request, None, self.now));
            matches!(selected, Some(Ok(_)))
        });
        if let Some(Ok(Selection::Granted(lease))) = selected {
            self.in_flight.push_back((self.now.at.plus(LATENCY), lease.id));
        }
        self.pool.take_transitions();
    }

    /// Moves on to the next request: they come independently of each other.
    fn pass(&mut self) {
        let share = self.draw() as f64 / u64::MAX as f64;
        let nanos = -self.spacing * share.max(f64::MIN_POSITIVE).ln();
        let span = Duration::from_nanos(nanos as u64);
        self.now = Now { at: self.now.at.plus(span), ..self.now };
    }

    /// What came of a lease: nearly always a success.
    fn report(&mut self) -> Report {
        let outcome = match self.draw() % 1000 {
            0..10 => Outcome::ServerError,
            10 => Outcome::ClientError,
            _ => Outcome::Success,
        };
        let tokens_used = Some(TOKENS / 2 + self.draw() % TOKENS);
        Report { tokens_used, ..Report::of(outcome) }
    }

    /// The next request: of every kind as many.
    fn request(&mut self) -> (Kind, SelectRequest) {
        let kind = Kind::ALL[self.draw() as usize % Kind::ALL.len()];
        let which = self.draw();
        let mut request = SelectRequest { tokens: Some(TOKENS), ..SelectRequest::default() };
        match kind {
            Kind::Any => {}
            Kind::Model => {
                let models = vec![MODELS[which as usize % MODELS.len()].into()];
                request.filter = Filter { models, ..Filter::default() };
            }
            Kind::Tags => {
                let region = REGIONS[which as usize % REGIONS.len()].to_owned();
                request.filter.tags.insert("region".to_owned(), region);
            }
            Kind::User => request.user = Some(format!("u-{}", which % USERS)),
        }
        (kind, request)
    }

    /// The next number of the splitmix64 generator.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = self.random;
        let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

//! The limits of a quota group that time refills: requests and tokens a minute, the burst, and
//! requests a day. A grant is all or nothing over all of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::day::DayCount;
use super::outcome::LimitKind;
use super::pace::Pace;
use super::settings::Limits;
use super::sharing::{Handover, Parcel};
use super::time::{Calendar, Instant, Now, ResetZone};
use super::window::{ChargeId, Window};

/// The length of the windows that providers keep for `rpm` and `tpm`.
pub(super) const MINUTE: Duration = Duration::from_mins(1);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Quota {
    guard: Duration,
    requests: Option<Window>,
    burst: Option<Bucket>,
    tokens: Option<Window>,
    /// Grows whenever `tokens` is made anew, so that an old reservation corrects no new charge.
    tokens_made: u32,
    day: DayCount,
    /// When something was last charged; kept so that a limit that appears can start used up.
    last_use: Option<Instant>,
}

/// How a grant was charged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Reservation {
    tokens: u64,
    charge: Option<(u32, ChargeId)>,
}

impl Reservation {
    /// The reserved tokens.
    pub(super) fn tokens(self) -> u64 {
        self.tokens
    }
}

impl Quota {
    pub(super) fn new(limits: &Limits, zone: &ResetZone, guard: Duration) -> Self {
        let span = MINUTE + guard;
        let window = |limit: u64| Window::new(limit, span);
        Self {
            guard,
            requests: limits.rpm.map(|rpm| window(rpm.get())),
            burst: shaper(limits, None).map(|(pace, rpm)| Bucket::new(pace, rpm)),
            tokens: limits.tpm.map(|tpm| window(tpm.get())),
            tokens_made: 0,
            day: DayCount::new(limits.rpd.map(std::num::NonZeroU64::get), zone.clone()),
            last_use: None,
        }
    }

    /// Whether it could have come about.
    pub(super) fn is_sound(&self) -> bool {
        is_sound_guard(self.guard)
            && [&self.requests, &self.tokens].into_iter().flatten().all(Window::is_sound)
            && self.burst.as_ref().is_none_or(Bucket::is_sound)
            && self.tokens_made < u32::MAX
            && self.day.is_sound()
    }

    /// Takes other limits; what was used stays used. A limit that was not there before starts used
    /// up if there were uses that it did not count.
    pub(super) fn resize(
        &mut self,
        limits: &Limits,
        learnt: Option<Pace>,
        zone: &ResetZone,
        guard: Duration,
    ) {
        let span = MINUTE + guard;
        self.guard = guard;
        resize_window(&mut self.requests, limits.rpm.map(Into::into), span, self.last_use);
        self.tokens_made += u32::from(self.tokens.is_none() && limits.tpm.is_some());
        resize_window(&mut self.tokens, limits.tpm.map(Into::into), span, self.last_use);
        self.repace(limits, learnt);
        self.day.resize(limits.rpd.map(Into::into), zone);
    }

    /// Keeps to a part of its limits, or to more of them again.
    pub(super) fn scale(&mut self, limits: &Limits, learnt: Option<Pace>) {
        let windows = [(&mut self.requests, limits.rpm), (&mut self.tokens, limits.tpm)];
        for (window, limit) in windows {
            if let (Some(window), Some(limit)) = (window, limit) {
                window.resize(limit.get(), window.span());
            }
        }
        self.repace(limits, learnt);
    }

    /// Takes the pace that was learnt, or the configured one.
    pub(super) fn repace(&mut self, limits: &Limits, learnt: Option<Pace>) {
        self.burst = shaper(limits, learnt).map(|(pace, rpm)| match self.burst {
            Some(bucket) => bucket.resized(pace, rpm),
            None => Bucket::new(pace, rpm),
        });
    }

    /// Has memory bring what a grant and a report use.
    pub(super) fn fetch(&self) -> u64 {
        let windows = [&self.requests, &self.tokens].into_iter().flatten();
        windows.fold(self.day.used(), |seen, window| seen ^ window.fetch())
            ^ u64::from(self.last_use.is_some())
            ^ u64::from(self.burst.is_some())
    }

    /// Forgets what is over. Every other method expects this to have been called with its `now`.
    pub(super) fn expire(&mut self, now: Now, calendar: &dyn Calendar) {
        if let Some(requests) = &mut self.requests {
            requests.expire(now.at);
        }
        if let Some(tokens) = &mut self.tokens {
            tokens.expire(now.at);
        }
        self.day.roll(now, calendar);
    }

    /// The earliest time from `now` on at which one request with `tokens` is within every limit,
    /// and the limit that is the last to allow it.
    ///
    /// A request needs room for one token at least: nothing is free of tokens, and a group in debt
    /// must pay first.
    pub(super) fn free_at(&self, tokens: u64, now: Now) -> (Instant, Option<LimitKind>) {
        let mut free = (now.at, None);
        let mut bound = |at: Instant, kind| {
            if at > free.0 {
                free = (at, Some(kind));
            }
        };
        if let Some(requests) = &self.requests {
            bound(requests.free_at(1, now.at), LimitKind::Rpm);
        }
        if let Some(burst) = &self.burst {
            bound(burst.free_at(now.at), LimitKind::Rpm);
        }
        if let Some(window) = &self.tokens {
            bound(window.free_at(tokens.max(1), now.at), LimitKind::Tpm);
        }
        bound(self.day.free_at(now), LimitKind::Rpd);
        free
    }

    /// The most tokens one request can ever have here.
    pub(super) fn most_tokens(&self) -> u64 {
        self.tokens.as_ref().map_or(u64::MAX, Window::limit)
    }

    /// Charges one request with `tokens`.
    pub(super) fn reserve(&mut self, tokens: u64, now: Now) -> Reservation {
        if let Some(requests) = &mut self.requests {
            requests.charge(1, now.at);
        }
        if let Some(burst) = &mut self.burst {
            burst.take(now.at);
        }
        self.day.count(now, self.guard);
        self.last_use = Some(now.at);
        let window = self.tokens.as_mut().filter(|_| tokens > 0);
        let charge = window.map(|window| (self.tokens_made, window.charge(tokens, now.at)));
        Reservation { tokens, charge }
    }

    /// Corrects the tokens of a reservation to what was really used: a rest is given back to the
    /// moment it was reserved at, more is charged now.
    pub(super) fn settle(&mut self, reservation: Reservation, used: u64, now: Now) {
        let Some(window) = &mut self.tokens else { return };
        if used > reservation.tokens {
            window.charge(used - reservation.tokens, now.at);
            self.last_use = Some(now.at);
        } else if let Some((made, charge)) = reservation.charge
            && made == self.tokens_made
        {
            window.lower(charge, used);
        }
    }

    /// Adds the uses of `other`, which turn out to count here.
    pub(super) fn absorb(&mut self, other: &Self) {
        let last_use = other.last_use;
        absorb_window(&mut self.requests, other.requests.as_ref(), last_use);
        absorb_window(&mut self.tokens, other.tokens.as_ref(), last_use);
        self.day.absorb(&other.day);
        self.last_use = self.last_use.max(last_use);
    }

    /// Treats the windows as used up at `at`, and half of the day as used.
    pub(super) fn assume_used(&mut self, at: Instant) {
        for window in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
            fill_up(window, Some(at));
        }
        self.day.assume_half_used();
        self.last_use = self.last_use.max(Some(at));
    }

    /// Puts every use that still counts into `parcel`.
    pub(super) fn pack(&self, parcel: &mut Parcel, handover: Handover) {
        let pack = |window: Option<&Window>| window.map(|window| window.pack(handover));
        parcel.requests = pack(self.requests.as_ref()).unwrap_or_default();
        parcel.tokens = pack(self.tokens.as_ref()).unwrap_or_default();
        parcel.burst_full_in = self.burst.map_or(0, |bucket| bucket.pack(handover));
        parcel.last_use = self.last_use.map(|at| handover.ago(at));
        parcel.day = self.day.pack();
    }

    /// Goes on with the uses in `parcel`, and no others.
    pub(super) fn unpack(&mut self, parcel: &Parcel, handover: Handover) {
        self.last_use = parcel.last_use.map(|ago| handover.before(ago));
        if let Some(requests) = &mut self.requests {
            requests.unpack(&parcel.requests, handover);
        }
        if let Some(tokens) = &mut self.tokens {
            tokens.unpack(&parcel.tokens, handover);
            self.tokens_made += 1;
        }
        if let Some(burst) = &mut self.burst {
            burst.unpack(parcel.burst_full_in, handover);
        }
        self.day.unpack(&parcel.day);
    }

    /// Counts tokens that were used beyond those that were reserved.
    pub(super) fn charge_tokens(&mut self, tokens: u64, now: Now) {
        if let Some(window) = self.tokens.as_mut().filter(|_| tokens > 0) {
            window.charge(tokens, now.at);
            self.last_use = Some(now.at);
        }
    }

    /// Treats the windows as used up at `at`, and of the day as much as two minutes allow, because
    /// somebody may have used them until then.
    pub(super) fn assume_used_until(&mut self, at: Instant, rpm: Option<u64>) {
        for window in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
            fill_up(window, Some(at));
        }
        match rpm {
            Some(rpm) => self.day.assume_more_used(rpm.saturating_mul(2)),
            None => self.day.assume_half_used(),
        }
        self.last_use = self.last_use.max(Some(at));
    }

    pub(super) fn last_use(&self) -> Option<Instant> {
        self.last_use
    }

    /// Whether anything used here still counts.
    pub(super) fn remembers(&self, now: Now) -> bool {
        let recent = self.last_use.is_some_and(|at| at.plus(MINUTE + self.guard) > now.at);
        recent || (self.day.used() > 0 && now.wall < self.day.ends())
    }

    pub(super) fn requests(&self) -> Option<&Window> {
        self.requests.as_ref()
    }

    pub(super) fn tokens(&self) -> Option<&Window> {
        self.tokens.as_ref()
    }

    pub(super) fn day(&self) -> &DayCount {
        &self.day
    }
}

/// Whether a guard is one that can be added to a minute: far above any that makes sense.
pub(super) fn is_sound_guard(guard: Duration) -> bool {
    guard < Duration::from_hours(24)
}

/// The shaper's pace and rate, if it can ever be the tighter bound: a burst of the whole minute's
/// requests is what the window allows anyway.
fn shaper(limits: &Limits, learnt: Option<Pace>) -> Option<(Pace, u64)> {
    let (burst, rpm) = (limits.burst()?, limits.rpm?.get());
    let pace = learnt.unwrap_or(Pace { burst, spacing: Duration::ZERO });
    let pace = Pace { burst: pace.burst.min(burst), ..pace };
    (pace.burst < rpm || !pace.spacing.is_zero()).then_some((pace, rpm))
}

fn resize_window(
    window: &mut Option<Window>,
    limit: Option<u64>,
    span: Duration,
    last_use: Option<Instant>,
) {
    match (window.as_mut(), limit) {
        (Some(window), Some(limit)) => window.resize(limit, span),
        (None, Some(limit)) => {
            let fresh = window.insert(Window::new(limit, span));
            fill_up(fresh, last_use);
        }
        (_, None) => *window = None,
    }
}

fn absorb_window(window: &mut Option<Window>, other: Option<&Window>, last_use: Option<Instant>) {
    match (window, other) {
        (Some(window), Some(other)) => window.absorb(other),
        (Some(window), None) => fill_up(window, last_use),
        (None, _) => {}
    }
}

/// Treats the window as used up at `last_use`, for uses it did not count.
fn fill_up(window: &mut Window, last_use: Option<Instant>) {
    if let Some(at) = last_use {
        let mut uncounted = Window::new(window.limit(), Duration::MAX);
        uncounted.charge(window.limit(), at);
        window.absorb(&uncounted);
    }
}

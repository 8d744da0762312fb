//! Cooling after a refusal: backoff, half-open, and one strike per wave of failures.
//!
//! A *wave* is every failure of a lease granted before the cooldown began: it was on its way when
//! the first failure came back, so it tells nothing new. The backoff level falls on success, never
//! by the passing of time. After a cooldown the group is *half-open*: one trial at a time until a
//! success.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lease::LeaseSeq;
use super::sharing::Handover;
use super::snapshot::FAR;
use super::time::Instant;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cooldown {
    /// How many strikes count against the group.
    level: u32,
    until: Instant,
    reason: CoolingReason,
    /// Leases before this one were granted before the last cooldown began.
    wave: LeaseSeq,
    half_open: bool,
    trial: Option<LeaseSeq>,
    /// The day whose quota a provider has called used up once.
    day_doubted: Option<i32>,
    /// How many cooldowns have begun.
    begun: u64,
}

/// Why a group is cooling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum CoolingReason {
    /// The provider refused for its limit.
    #[default]
    RateLimited,
    /// The quota of the day is used up.
    DaySpent,
    /// The account is out of money, or over its spending limit.
    AccountSpent,
}

impl CoolingReason {
    /// The name used in JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::DaySpent => "day_spent",
            Self::AccountSpent => "account_spent",
        }
    }
}

/// What is handed over of the failures of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CooldownParcel {
    /// How many strikes count against it.
    pub level: u32,
    /// For how many microseconds it goes on cooling.
    pub left: u64,
    /// Why.
    pub reason: CoolingReason,
    /// Whether it tries one request at a time.
    pub half_open: bool,
    /// The day whose quota the provider has called used up once.
    pub day_doubted: Option<i32>,
}

/// The first and the longest cooldown.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) max: Duration,
}

impl Backoff {
    /// The cooldown of the `strike`th strike: it doubles from one to the next.
    fn delay(self, strike: u32) -> Duration {
        let doublings = strike.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }
}

impl Cooldown {
    pub(super) fn new() -> Self {
        Self {
            level: 0,
            until: Instant::ZERO,
            reason: CoolingReason::RateLimited,
            wave: LeaseSeq::FIRST,
            half_open: false,
            trial: None,
            day_doubted: None,
            begun: 0,
        }
    }

    /// Whether it could have come about.
    pub(super) fn is_sound(&self) -> bool {
        self.begun < FAR
    }

    /// How many cooldowns have begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// When the cooldown ends, while it lasts.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        (self.until > now).then_some(self.until)
    }

    pub(super) fn reason(&self) -> CoolingReason {
        self.reason
    }

    pub(super) fn level(&self) -> u32 {
        self.level
    }

    pub(super) fn is_half_open(&self, now: Instant) -> bool {
        self.half_open && self.until <= now
    }

    /// The lease that is on trial, if the group waits for one.
    pub(super) fn trial(&self) -> Option<LeaseSeq> {
        self.trial
    }

    /// Whether `lease` was granted before the last cooldown began.
    pub(super) fn is_of_the_wave(&self, lease: LeaseSeq) -> bool {
        lease < self.wave
    }

    /// A refusal of `lease`, where `next` is the next lease to be granted. Says whether anything
    /// changed.
    pub(super) fn strike(
        &mut self,
        lease: LeaseSeq,
        next: LeaseSeq,
        delay: Option<Duration>,
        backoff: Backoff,
        now: Instant,
    ) -> bool {
        let known = self.is_of_the_wave(lease);
        let delay = match delay {
            Some(delay) => delay.min(backoff.max),
            None if known => return false,
            None => {
                self.level = self.level.saturating_add(1).min(32);
                backoff.delay(self.level)
            }
        };
        self.cool(now.plus(delay), CoolingReason::RateLimited, next, now)
    }

    /// Cools until `until`, or as long as it already does. Says whether anything changed.
    pub(super) fn cool(
        &mut self,
        until: Instant,
        reason: CoolingReason,
        next: LeaseSeq,
        now: Instant,
    ) -> bool {
        if until <= self.until {
            return false;
        }
        if self.until <= now {
            // A new cooldown begins: what is on its way now belongs to its wave.
            self.wave = next;
            self.begun += 1;
        }
        self.until = until;
        self.reason = reason;
        self.half_open = true;
        self.trial = None;
        true
    }

    /// Takes note of a refusal for the quota of day `day`; true if it is the confirmation of an
    /// earlier one.
    pub(super) fn doubts_day(&mut self, day: i32, lease: LeaseSeq) -> bool {
        let confirmed = self.day_doubted == Some(day) && !self.is_of_the_wave(lease);
        self.day_doubted = Some(day);
        confirmed
    }

    /// Begins the trial of a half-open group.
    pub(super) fn granted(&mut self, lease: LeaseSeq, now: Instant) {
        if self.is_half_open(now) {
            self.trial = Some(lease);
        }
    }

    /// The provider served `lease`. Says whether this ends the half-open state.
    pub(super) fn succeeded(&mut self, lease: LeaseSeq, now: Instant) -> bool {
        if self.is_of_the_wave(lease) || self.until > now {
            return false;
        }
        self.level /= 2;
        self.day_doubted = None;
        std::mem::take(&mut self.half_open)
    }

    /// `lease` came to its end, whatever became of it.
    pub(super) fn ended(&mut self, lease: LeaseSeq) {
        if self.trial == Some(lease) {
            self.trial = None;
        }
    }

    /// What the next holder must know.
    pub(super) fn parcel(&self, handover: Handover) -> CooldownParcel {
        CooldownParcel {
            level: self.level,
            left: handover.ahead(self.until),
            reason: self.reason,
            half_open: self.half_open,
            day_doubted: self.day_doubted,
        }
    }

    /// Goes on where the last holder has ended. Leases of before tell nothing new.
    pub(super) fn unpack(&mut self, parcel: &CooldownParcel, handover: Handover, next: LeaseSeq) {
        self.level = parcel.level.min(32);
        self.until = handover.after(parcel.left);
        self.reason = parcel.reason;
        self.half_open = parcel.half_open;
        self.day_doubted = parcel.day_doubted;
        self.wave = next;
        self.trial = None;
    }

    /// Forgets every failure.
    pub(super) fn clear(&mut self) {
        *self = Self { wave: self.wave, begun: self.begun, ..Self::new() };
    }
}

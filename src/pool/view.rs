//! The keys that match one filter, in the order in which they are considered.
//!
//! A *seat* is a key that can serve the filter with a certain model. Seats of equal rank (model
//! preference, workload, priority) form a *tier*. Views are made on first use and kept; they hold
//! no truth of their own, only bounds ([`Ready`]) and the place where round robin goes on.

use std::ops::Range;
use std::sync::Arc;

use super::key::{Key, KeyIdx};
use super::ready::Ready;
use super::request::Filter;
use super::ring::Ring;
use super::settings::KeyId;
use super::time::Instant;

#[derive(Clone, Debug)]
pub(super) struct View {
    /// The key of each seat.
    pub(super) seats: Vec<KeyIdx>,
    pub(super) tiers: Vec<Tier>,
    ready: Ready,
    /// How many different keys have a seat.
    pub(super) keys: usize,
    seats_of: SeatsOf,
}

/// The seats of each key. The numbers are small ones, so that more of them are in one line of
/// memory.
#[derive(Clone, Debug)]
enum SeatsOf {
    /// Each has one at most: its place, or [`NO_SEAT`].
    One(Vec<u32>),
    /// They stand together in `seats`, where those of the key at `n` begin at `begins[n]`.
    Several { begins: Vec<u32>, seats: Vec<u32> },
}

const NO_SEAT: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'a> {
    pub(super) key: KeyIdx,
    /// The model this seat serves; absent if the filter names none.
    pub(super) model: Option<&'a Arc<str>>,
}

/// Seats of equal rank.
#[derive(Clone, Debug)]
pub(super) struct Tier {
    pub(super) seats: Range<usize>,
    /// The model its seats serve; absent if the filter names none.
    model: Option<Arc<str>>,
    /// The seat at which round robin goes on.
    pub(super) next: usize,
    ring: Option<Ring>,
}

/// Lower is considered first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    model: usize,
    other_workload: bool,
    priority: u64,
}

impl View {
    /// The seats for `filter` among `keys`; `order` sorts the seats of a tier.
    pub(super) fn new(filter: &Filter, keys: &[Key], order: impl Fn(&KeyId) -> usize) -> Self {
        let mut ranked: Vec<(Rank, usize, usize, KeyIdx)> = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            let idx = KeyIdx::at(place);
            for preference in preferences(filter, key) {
                let rank = Rank {
                    model: preference,
                    other_workload: filter.workload.is_some()
                        && filter.workload != key.settings.workload,
                    priority: key.settings.priority.unwrap_or(u64::MAX),
                };
                ranked.push((rank, order(&key.settings.id), place, idx));
            }
        }
        ranked.sort_by_key(|(rank, order, place, _)| (*rank, *order, *place));

        let mut tiers: Vec<(Rank, Tier)> = Vec::new();
        for (place, (rank, ..)) in ranked.iter().enumerate() {
            match tiers.last_mut() {
                Some((last, tier)) if last == rank => tier.seats.end = place + 1,
                _ => {
                    let (seats, model) = (place..place + 1, filter.models.get(rank.model).cloned());
                    tiers.push((*rank, Tier { seats, model, next: place, ring: None }));
                }
            }
        }
        let seats: Vec<KeyIdx> = ranked.into_iter().map(|(.., seat)| seat).collect();
        let mut tiers: Vec<Tier> = tiers.into_iter().map(|(_, tier)| tier).collect();
        for tier in &mut tiers {
            tier.resume(&seats, keys);
        }
        let seats_of = SeatsOf::new(&seats, keys.len());
        Self { ready: Ready::new(seats.len()), tiers, keys: seats_of.keys(), seats_of, seats }
    }

    /// The seat at `place`.
    pub(super) fn seat(&self, place: usize) -> Seat<'_> {
        let model = self.tiers[self.tier_of(place)].model.as_ref();
        Seat { key: self.seats[place], model }
    }

    /// The tier that `seat` belongs to.
    pub(super) fn tier_of(&self, seat: usize) -> usize {
        tier_of(&self.tiers, seat)
    }

    /// The seats of `key`.
    pub(super) fn seats_of(&self, key: KeyIdx) -> impl Iterator<Item = usize> {
        self.seats_of.key(key)
    }

    /// `key` cannot pay before `bound`, but perhaps earlier than thought.
    pub(super) fn ease(&mut self, key: KeyIdx, bound: Instant, now: Instant) {
        for seat in self.seats_of.key(key) {
            // Of what is past by now it does not matter how long it has been.
            if bound > now || self.ready.bound(seat) > now {
                set_bound(&mut self.ready, &mut self.tiers, seat, bound);
            }
        }
    }

    /// Has memory bring the bounds of the seats of `key`.
    pub(super) fn fetch(&self, key: KeyIdx) -> u64 {
        let bounds = self.seats_of(key).map(|seat| {
            let ring = self.tiers[self.tier_of(seat)].ring.as_ref();
            self.ready.bound(seat).as_nanos() ^ ring.map_or(0, |ring| ring.fetch(seat))
        });
        bounds.fold(0, |seen, bound| seen ^ bound)
    }

    /// The seats by their bounds, which are changed with [`View::bound`].
    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// `seat` cannot pay before `bound`.
    pub(super) fn bound(&mut self, seat: usize, bound: Instant) {
        set_bound(&mut self.ready, &mut self.tiers, seat, bound);
    }

    /// The circle of the keys of a tier, which is made when the first user asks.
    pub(super) fn ring(&mut self, tier: usize, keys: &[Key]) -> &Ring {
        let tier = &mut self.tiers[tier];
        tier.ring.get_or_insert_with(|| {
            let seats = tier.seats.clone().map(|seat| {
                let key = self.seats[seat];
                (keys[key.0 as usize].affinity, self.ready.bound(seat))
            });
            Ring::new(tier.seats.start, seats)
        })
    }
}

fn set_bound(ready: &mut Ready, tiers: &mut [Tier], seat: usize, bound: Instant) {
    if ready.bound(seat) == bound {
        return;
    }
    ready.set(seat, bound);
    let tier = tier_of(tiers, seat);
    if let Some(ring) = &mut tiers[tier].ring {
        ring.set(seat, bound);
    }
}

/// The one of `tiers` that `seat` belongs to.
fn tier_of(tiers: &[Tier], seat: usize) -> usize {
    tiers.partition_point(|tier| tier.seats.end <= seat)
}

impl SeatsOf {
    fn new(seats: &[KeyIdx], keys: usize) -> Self {
        let mut one = vec![NO_SEAT; keys];
        for (place, key) in (0..).zip(seats) {
            if std::mem::replace(&mut one[key.0 as usize], place) != NO_SEAT {
                return Self::several(seats, keys);
            }
        }
        Self::One(one)
    }

    fn several(seats: &[KeyIdx], keys: usize) -> Self {
        let mut begins = vec![0; keys + 1];
        for key in seats {
            begins[key.0 as usize + 1] += 1;
        }
        for key in 0..keys {
            begins[key + 1] += begins[key];
        }
        let mut free = begins.clone();
        let mut places = vec![0; seats.len()];
        for (place, key) in (0..).zip(seats) {
            let next = &mut free[key.0 as usize];
            places[*next as usize] = place;
            *next += 1;
        }
        Self::Several { begins, seats: places }
    }

    fn key(&self, key: KeyIdx) -> impl Iterator<Item = usize> {
        let key = key.0 as usize;
        let seats = match self {
            Self::One(one) => &one[key..=key],
            Self::Several { begins, seats } => {
                &seats[begins[key] as usize..begins[key + 1] as usize]
            }
        };
        seats.iter().filter(|seat| **seat != NO_SEAT).map(|seat| *seat as usize)
    }

    /// How many keys have a seat.
    fn keys(&self) -> usize {
        match self {
            Self::One(one) => one.iter().filter(|seat| **seat != NO_SEAT).count(),
            Self::Several { begins, .. } => {
                begins.windows(2).filter(|pair| pair[0] < pair[1]).count()
            }
        }
    }
}

impl Tier {
    /// Goes on after the seat that was granted last.
    fn resume(&mut self, seats: &[KeyIdx], keys: &[Key]) {
        let granted = |seat: &usize| keys[seats[*seat].0 as usize].last_granted;
        let last = self.seats.clone().filter(|seat| granted(seat).is_some()).max_by_key(granted);
        if let Some(last) = last {
            self.passed(last);
        }
    }

    /// Round robin goes on after `seat`.
    pub(super) fn passed(&mut self, seat: usize) {
        self.next = if seat + 1 < self.seats.end { seat + 1 } else { self.seats.start };
    }
}

/// Whether `key` can serve `filter` at all.
pub(super) fn serves(filter: &Filter, key: &Key) -> bool {
    let any_model = filter.models.is_empty();
    mismatch(filter, key).is_none()
        && (any_model || filter.models.iter().any(|model| has_model(key, model)))
}

/// What of the filter but the model does not fit the key.
pub(super) fn mismatch(filter: &Filter, key: &Key) -> Option<String> {
    let settings = &key.settings;
    if filter.provider.as_ref().is_some_and(|wanted| *wanted != settings.provider) {
        return Some(format!("its provider is {}", settings.provider));
    }
    let tags = filter.tags.iter().find(|(name, value)| settings.tags.get(*name) != Some(*value));
    tags.map(|(name, _)| match settings.tags.get(name) {
        Some(value) => format!("its tag {name} is {value}"),
        None => format!("it has no tag {name}"),
    })
}

/// Whether `key` can serve `model`.
pub(super) fn has_model(key: &Key, model: &Arc<str>) -> bool {
    key.settings.models.is_empty() || key.settings.models.contains(model)
}

/// The models that `key` can serve for `filter`, by their places in the preferences; the first one
/// if the filter names none.
fn preferences(filter: &Filter, key: &Key) -> Vec<usize> {
    if !key.configured || mismatch(filter, key).is_some() {
        return Vec::new();
    }
    if filter.models.is_empty() {
        return vec![0];
    }
    let wanted = filter.models.iter().enumerate().filter(|(_, model)| has_model(key, model));
    wanted.map(|(place, _)| place).collect()
}

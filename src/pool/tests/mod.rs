//! Tests of the pool as a whole, with a hand-moved clock.

mod shared;
mod failures;
mod limits;
mod line;
mod model;
mod parts;
mod probes;
mod reload;
mod revision;
mod selection;
mod sharing;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::*;

/// Days of 24 hours that begin at 0:00 UTC, months of 30 days.
#[derive(Debug)]
struct PlainCalendar;

const DAY_MILLIS: u64 = 86_400_000;

impl Calendar for PlainCalendar {
    fn day(&self, _zone: &ResetZone, wall: WallTime) -> Day {
        let number = wall.as_millis() / DAY_MILLIS;
        Day {
            number: i32::try_from(number).unwrap(),
            ends: WallTime::from_millis((number + 1) * DAY_MILLIS),
        }
    }

    fn month_end(&self, _zone: &ResetZone, wall: WallTime) -> WallTime {
        let month = wall.as_millis() / (30 * DAY_MILLIS);
        WallTime::from_millis((month + 1) * 30 * DAY_MILLIS)
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

/// A key without limits.
/// Keys as settings have them.
fn arcs(keys: impl IntoIterator<Item = KeySettings>) -> Vec<Arc<KeySettings>> {
    keys.into_iter().map(Arc::new).collect()
}

fn key(name: &str) -> KeySettings {
    KeySettings {
        id: id(name),
        provider: "gemini".into(),
        models: Vec::new(),
        limits: Limits::default(),
        quota_group: None,
        credential: name.into(),
        priority: None,
        workload: None,
        tags: BTreeMap::new(),
        weight: NonZeroU64::MIN,
        active: true,
        reset_zone: ResetZone::new("UTC"),
    }
}

/// Says in one line what is special about a key.
trait With: Sized {
    fn rpm(self, rpm: u64) -> Self;
    fn tpm(self, tpm: u64) -> Self;
    fn rpd(self, rpd: u64) -> Self;
    fn burst(self, burst: u64) -> Self;
    fn concurrent(self, most: u64) -> Self;
    fn model(self, model: &str) -> Self;
    fn provider(self, provider: &str) -> Self;
    fn priority(self, priority: u64) -> Self;
    fn workload(self, workload: &str) -> Self;
    fn tag(self, name: &str, value: &str) -> Self;
    fn group(self, group: &str) -> Self;
    fn credential(self, credential: &str) -> Self;
    fn weight(self, weight: u64) -> Self;
    fn inactive(self) -> Self;
}

impl With for KeySettings {
    fn rpm(mut self, rpm: u64) -> Self {
        self.limits.rpm = NonZeroU64::new(rpm);
        self
    }
    fn tpm(mut self, tpm: u64) -> Self {
        self.limits.tpm = NonZeroU64::new(tpm);
        self
    }
    fn rpd(mut self, rpd: u64) -> Self {
        self.limits.rpd = NonZeroU64::new(rpd);
        self
    }
    fn burst(mut self, burst: u64) -> Self {
        self.limits.burst_capacity = NonZeroU64::new(burst);
        self
    }
    fn concurrent(mut self, most: u64) -> Self {
        self.limits.max_concurrent = NonZeroU64::new(most);
        self
    }
    fn model(mut self, model: &str) -> Self {
        self.models.push(model.into());
        self
    }
    fn provider(mut self, provider: &str) -> Self {
        self.provider = provider.into();
        self
    }
    fn priority(mut self, priority: u64) -> Self {
        self.priority = Some(priority);
        self
    }
    fn workload(mut self, workload: &str) -> Self {
        self.workload = Some(workload.into());
        self
    }
    fn tag(mut self, name: &str, value: &str) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }
    fn group(mut self, group: &str) -> Self {
        self.quota_group = Some(group.into());
        self
    }
    fn credential(mut self, credential: &str) -> Self {
        self.credential = credential.into();
        self
    }
    fn weight(mut self, weight: u64) -> Self {
        self.weight = NonZeroU64::new(weight).unwrap();
        self
    }
    fn inactive(mut self) -> Self {
        self.active = false;
        self
    }
}

/// Any request.
fn any() -> SelectRequest {
    SelectRequest::default()
}

fn for_model(model: &str) -> SelectRequest {
    let mut request = any();
    request.filter.models.push(model.into());
    request
}

fn for_user(user: &str) -> SelectRequest {
    SelectRequest { user: Some(user.into()), ..any() }
}

fn of_tokens(tokens: u64) -> SelectRequest {
    SelectRequest { tokens: Some(tokens), ..any() }
}

/// A refusal for quota without a delay.
fn limited() -> Outcome {
    Outcome::RateLimited(RateLimit::default())
}

fn limited_for(delay: Duration) -> Outcome {
    Outcome::RateLimited(RateLimit { retry_after: Some(delay), ..RateLimit::default() })
}

fn spent(spent: Spent) -> Outcome {
    Outcome::RateLimited(RateLimit { spent, ..RateLimit::default() })
}

/// A pool and its hand-moved clock.
struct Game {
    pool: Pool,
    now: Now,
    settings: PoolSettings,
}

impl Game {
    /// A game at noon of day 20,000.
    fn of(keys: impl IntoIterator<Item = KeySettings>) -> Self {
        Self::with(PoolSettings { keys: arcs(keys), ..PoolSettings::default() })
    }

    fn with(settings: PoolSettings) -> Self {
        Self::in_life(7, settings)
    }

    /// A game whose leases are those of life `epoch` of a pool.
    fn in_life(epoch: u32, settings: PoolSettings) -> Self {
        let noon = WallTime::from_millis(20_000 * DAY_MILLIS + DAY_MILLIS / 2);
        let now = Now { at: Instant::from_nanos(1_000_000_000_000), wall: noon };
        let pool = Pool::new(Arc::new(PlainCalendar), epoch, 7);
        let mut game = Self { pool, now, settings: PoolSettings::default() };
        game.reload(settings);
        game.pool.take_transitions();
        game
    }

    fn reload(&mut self, settings: PoolSettings) -> KeyChanges {
        self.settings = settings.clone();
        let changes = self.pool.reconfigure(settings.clone(), self.now);
        for key in settings.keys {
            self.pool.set_secret(&key.id, None, self.now);
        }
        changes
    }

    fn reload_keys(&mut self, keys: impl IntoIterator<Item = KeySettings>) -> KeyChanges {
        self.reload(PoolSettings { keys: arcs(keys), ..self.settings.clone() })
    }

    fn pass(&mut self, span: Duration) {
        self.now.at = self.now.at.plus(span);
        self.now.wall = self.now.wall.plus(span);
    }

    fn ask(&mut self, request: SelectRequest) -> Result<Lease, Refusal> {
        match self.pool.select(request, None, self.now)? {
            Selection::Granted(lease) => Ok(lease),
            Selection::Waiting(_) => unreachable!("it did not ask to wait"),
        }
    }

    fn lease(&mut self, request: SelectRequest) -> Lease {
        self.ask(request).unwrap()
    }

    /// The key that serves any request now.
    fn take(&mut self) -> String {
        self.lease(any()).key_id.to_string()
    }

    fn take_many(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.take()).collect()
    }

    /// How many requests are granted in a row.
    fn drain(&mut self, request: &SelectRequest) -> usize {
        std::iter::from_fn(|| self.ask(request.clone()).ok()).count()
    }

    /// How long a request is told to stay away.
    fn told_to_wait(&mut self, request: SelectRequest) -> Duration {
        match self.ask(request) {
            Err(Refusal::Exhausted { free_at, .. }) => free_at.since(self.now.at),
            other => panic!("not exhausted: {other:?}"),
        }
    }

    fn waits_for(&mut self, request: SelectRequest) -> WaitsFor {
        match self.ask(request) {
            Err(Refusal::Exhausted { waits_for, .. }) => waits_for.unwrap(),
            other => panic!("not exhausted: {other:?}"),
        }
    }

    fn report(&mut self, lease: &Lease, outcome: Outcome) -> Reported {
        self.pool.report(lease.id, &Report::of(outcome), self.now).unwrap()
    }

    fn settle(&mut self, lease: &Lease, tokens: u64) {
        let report = Report { tokens_used: Some(tokens), ..Report::of(Outcome::Success) };
        self.pool.report(lease.id, &report, self.now).unwrap();
    }

    fn rotate(&mut self, lease: &Lease, outcome: Outcome) -> Result<Lease, NoRotation> {
        match self.pool.rotate(lease.id, &Report::of(outcome), None, self.now)? {
            Selection::Granted(lease) => Ok(lease),
            Selection::Waiting(_) => unreachable!("it did not ask to wait"),
        }
    }

    fn state(&mut self, name: &str) -> &'static str {
        self.pool.key(name, self.now).unwrap().state.name()
    }

    /// The names of what has changed since the last call of this.
    fn changes(&mut self) -> Vec<&'static str> {
        let transitions = self.pool.take_transitions();
        transitions.iter().map(|transition| transition.change.name()).collect()
    }

    /// Joins the line.
    fn wait(&mut self, request: SelectRequest, patience: Duration) -> Result<WaiterId, Refusal> {
        match self.pool.select(request, Some(patience), self.now)? {
            Selection::Waiting(waiter) => Ok(waiter),
            Selection::Granted(lease) => panic!("granted at once: {lease:?}"),
        }
    }

    /// Who has been served since the last call of this, and whether with a key.
    fn served(&mut self) -> Vec<(WaiterId, bool)> {
        self.pool.advance(self.now);
        self.pool.take_served().into_iter().map(|(id, result)| (id, result.is_ok())).collect()
    }
}

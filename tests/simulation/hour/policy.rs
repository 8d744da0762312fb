//! How an application gets along with the limits of its keys: three policies, from an arrival or
//! an answer to the next moves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keypool::clock::JiffCalendar;
use keypool::pool::{
    Instant, KeyId, Lease, LeaseId, NoRotation, Now, Outcome, Pool, PoolSettings, Refusal, Report,
    SelectRequest, Selection, WaiterId,
};
use keypool::provider::Classified;

use super::provider::Random;

/// How long a caller waits before it gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How keys are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Policy {
    /// As keypool says.
    Keypool,
    /// As a keypool would say that takes the network's delay for constant, and does not learn.
    Unguarded,
    /// One after another, whatever their limits; after a refusal again after a while.
    RoundRobin,
    /// The first key alone, in the same way.
    OneKey,
}

/// One use of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// The number of the request.
    pub(crate) request: usize,
    /// The place of the key in the list.
    pub(crate) key: usize,
    /// What the pool calls it.
    lease: Option<LeaseId>,
}

/// What is done next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Move {
    /// A request is sent to the provider.
    Send(Attempt),
    /// A request is tried again at that time.
    Retry(usize, Instant),
}

/// An application under a policy.
#[derive(Debug)]
pub(crate) enum Application {
    /// With a pool.
    Pooled(Box<Pooled>),
    /// Without.
    Unlimited(Unlimited),
}

impl Policy {
    /// Those that people live by.
    pub(crate) const REAL: [Self; 3] = [Self::Keypool, Self::RoundRobin, Self::OneKey];

    /// What people call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Keypool => "keypool",
            Self::Unguarded => "keypool without its guard",
            Self::RoundRobin => "round robin without limits",
            Self::OneKey => "one key",
        }
    }

    /// An application that lives by it, with the keys of `settings`.
    pub(crate) fn application(self, settings: &PoolSettings, now: Now, seed: u64) -> Application {
        let unlimited = |keys| {
            let random = Random::new(seed);
            Application::Unlimited(Unlimited { keys, next: 0, tried: HashMap::new(), random })
        };
        let pooled = |settings| Application::Pooled(Box::new(Pooled::new(settings, now, seed)));
        match self {
            Self::Keypool => pooled(settings),
            Self::Unguarded => {
                let careless = PoolSettings { delay_guard: Duration::ZERO, ..settings.clone() };
                pooled(&PoolSettings { adaptive: false, ..careless })
            }
            Self::RoundRobin => unlimited(settings.keys.len()),
            Self::OneKey => unlimited(1),
        }
    }
}

impl Application {
    /// `request` has come.
    pub(crate) fn arrive(&mut self, request: usize, now: Now) -> Vec<Move> {
        match self {
            Self::Pooled(pooled) => pooled.arrive(request, now),
            Self::Unlimited(unlimited) => vec![unlimited.send(request, now.at)],
        }
    }

    /// It is time to try `request` again.
    pub(crate) fn retry(&mut self, request: usize, now: Now) -> Vec<Move> {
        match self {
            Self::Pooled(_) => Vec::new(),
            Self::Unlimited(unlimited) => vec![unlimited.send(request, now.at)],
        }
    }

    /// The provider has answered.
    pub(crate) fn answered(
        &mut self,
        attempt: Attempt,
        answer: &Classified,
        now: Now,
    ) -> Vec<Move> {
        match self {
            Self::Pooled(pooled) => pooled.answered(attempt, answer, now),
            Self::Unlimited(unlimited) => unlimited.answered(attempt, answer.outcome, now.at),
        }
    }

    /// Time has passed.
    pub(crate) fn wake(&mut self, now: Now) -> Vec<Move> {
        match self {
            Self::Pooled(pooled) => {
                pooled.pool.advance(now);
                pooled.served()
            }
            Self::Unlimited(_) => Vec::new(),
        }
    }

    /// When it wants to be woken.
    pub(crate) fn due(&mut self, now: Now) -> Instant {
        match self {
            Self::Pooled(pooled) => pooled.pool.next_due(now),
            Self::Unlimited(_) => Instant::NEVER,
        }
    }
}

/// An application that asks keypool, waits in its line, and reports.
#[derive(Debug)]
pub(crate) struct Pooled {
    pool: Pool,
    keys: HashMap<KeyId, usize>,
    waiting: HashMap<WaiterId, usize>,
    deadlines: HashMap<usize, Instant>,
}

impl Pooled {
    fn new(settings: &PoolSettings, now: Now, seed: u64) -> Self {
        let mut pool = Pool::new(Arc::new(JiffCalendar), 1, seed);
        pool.reconfigure(settings.clone(), now);
        for key in &settings.keys {
            pool.set_secret(&key.id, None, now);
        }
        let numbered = settings.keys.iter().enumerate();
        Self {
            pool,
            keys: numbered.map(|(place, key)| (key.id.clone(), place)).collect(),
            waiting: HashMap::new(),
            deadlines: HashMap::new(),
        }
    }

    fn arrive(&mut self, request: usize, now: Now) -> Vec<Move> {
        self.deadlines.insert(request, now.at.plus(PATIENCE));
        let selection = self.pool.select(SelectRequest::default(), Some(PATIENCE), now);
        self.selected(request, selection)
    }

    fn answered(&mut self, attempt: Attempt, answer: &Classified, now: Now) -> Vec<Move> {
        let lease = attempt.lease.expect("the pool grants leases");
        let report = Report {
            outcome: answer.outcome,
            tokens_used: answer.tokens_used,
            detail: answer.detail.as_str().into(),
        };
        let request = attempt.request;
        if answer.outcome == Outcome::Success {
            self.pool.report(lease, &report, now).expect("a lease outlives its request");
            self.deadlines.remove(&request);
            return self.served();
        }
        let left = self.deadlines[&request].since(now.at);
        match self.pool.rotate(lease, &report, Some(left), now) {
            Ok(selection) => self.selected(request, Ok(selection)),
            Err(NoRotation::Refused(refusal)) => self.selected(request, Err(refusal)),
            Err(NoRotation::NotRetryable(_) | NoRotation::Gone(_)) => self.served(),
        }
    }

    fn selected(&mut self, request: usize, selection: Result<Selection, Refusal>) -> Vec<Move> {
        let mut moves = Vec::new();
        match selection {
            Ok(Selection::Granted(lease)) => moves.push(self.send(request, &lease)),
            Ok(Selection::Waiting(waiter)) => {
                self.waiting.insert(waiter, request);
            }
            Err(_) => {
                self.deadlines.remove(&request);
            }
        }
        moves.append(&mut self.served());
        moves
    }

    /// What became of those who wait.
    fn served(&mut self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (waiter, served) in self.pool.take_served() {
            let request = self.waiting.remove(&waiter).expect("nobody else waits");
            match served {
                Ok(lease) => moves.push(self.send(request, &lease)),
                Err(_) => {
                    self.deadlines.remove(&request);
                }
            }
        }
        self.pool.take_transitions();
        moves
    }

    fn send(&self, request: usize, lease: &Lease) -> Move {
        Move::Send(Attempt { request, key: self.keys[&lease.key_id], lease: Some(lease.id) })
    }
}

/// An application that goes round its keys and backs off as the SDKs of the providers do.
#[derive(Debug)]
pub(crate) struct Unlimited {
    keys: usize,
    next: usize,
    /// The deadline and the refusals of each request that is not done.
    tried: HashMap<usize, (Instant, u32)>,
    random: Random,
}

/// The delays of the `OpenAI` client library, which takes up to a quarter off at random.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);

impl Unlimited {
    fn send(&mut self, request: usize, now: Instant) -> Move {
        self.tried.entry(request).or_insert((now.plus(PATIENCE), 0));
        let key = self.next;
        self.next = (key + 1) % self.keys;
        Move::Send(Attempt { request, key, lease: None })
    }

    fn answered(&mut self, attempt: Attempt, outcome: Outcome, now: Instant) -> Vec<Move> {
        let (deadline, refusals) = self.tried.remove(&attempt.request).expect("it was sent");
        if outcome == Outcome::Success {
            return Vec::new();
        }
        let backoff = FIRST_BACKOFF.saturating_mul(1 << refusals.min(4)).min(LONGEST_BACKOFF);
        let millis = u64::try_from(backoff.as_millis()).expect("a backoff is short");
        let at = now.plus(self.random.millis(millis - millis / 4, millis));
        if at > deadline {
            return Vec::new();
        }
        self.tried.insert(attempt.request, (deadline, refusals + 1));
        vec![Move::Retry(attempt.request, at)]
    }
}

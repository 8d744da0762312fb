//! Calls of a pool, written as bytes, and a count of what it grants. A letter is a call and the
//! bytes after it are what it is called with, so that a seed can be written by hand.
//!
//! | call | what it does |
//! | --- | --- |
//! | `s` model tokens | selects |
//! | `w` model seconds | selects, and waits |
//! | `r` lease outcome | reports |
//! | `n` lease outcome | reports and selects the next key |
//! | `x` waiter | leaves the line |
//! | `p` time | lets tenths of a second pass |
//! | `P` time | lets minutes pass |
//! | `c` key | clears |
//! | `k` key | takes a secret away, or gives it |
//! | `K` key | gives another secret |
//! | `l` which | reloads with some of the keys |
//! | `m` key | moves a key to a group of its own, or back |
//! | `t` | goes on with a snapshot of the pool |
//! | `T` | goes on with the last snapshot and the facts since |

use std::sync::Arc;
use std::time::Duration;

use super::count::{Count, Holding};
use crate::clock::ManualClock;
use crate::config::Keys;
use crate::pool::{
    Instant, KeyId, KeyView, LearnedLimit, Lease, LimitKind, NoRotation, NoSecret, Now, Outcome,
    Pool, PoolSettings, RateLimit, Report, SelectRequest, Selection, Spent, WaiterId,
};
use crate::{shared_quota, state};

/// Keys with every kind of limit; those of the group `g` share theirs.
const KEYS: &[u8] = br#"{"rotation_strategy": "least_utilized", "keys": [
  {"key_id": "k0", "rpm": 3},
  {"key_id": "k1", "rpm": 5, "burst_capacity": 2, "model_name": "flash"},
  {"key_id": "k2", "tpm": 100, "model_name": "pro"},
  {"key_id": "k3", "rpm": 3, "rpd": 4, "priority": 1},
  {"key_id": "k4", "rpm": 4, "quota_group": "g", "max_concurrent": 2},
  {"key_id": "k5", "rpm": 4, "quota_group": "g", "max_concurrent": 2, "secret_name": "k0"},
  {"key_id": "k6", "rpm": 2, "tpm": 50, "rpd": 9, "max_concurrent": 3, "burst_capacity": 1,
   "provider": "openai"}
]}"#;

/// A pool that is called, and the count.
pub(super) struct Script {
    pub(super) pool: Pool,
    pub(super) clock: ManualClock,
    settings: PoolSettings,
    /// Which of the keys are configured, as bits.
    present: u8,
    count: Count,
    holdings: Vec<Holding>,
    waiters: Vec<(WaiterId, u64)>,
    /// The last snapshot, as a file.
    pub(super) snapshot: Vec<u8>,
    /// The facts since, as a file.
    pub(super) log: Vec<u8>,
}

impl Script {
    /// A pool that has done nothing yet.
    pub(super) fn new() -> Self {
        thread_local! {
            static READ: Keys =
                super::usual().keys_of(&super::path("keys.json"), KEYS, true).unwrap();
        }
        let settings = READ.with(|keys| PoolSettings::clone(&keys.pool));
        let mut script = Self {
            pool: super::pool(),
            clock: ManualClock::default(),
            settings,
            present: u8::MAX,
            count: Count::default(),
            holdings: Vec::new(),
            waiters: Vec::new(),
            snapshot: Vec::new(),
            log: Vec::new(),
        };
        script.reload();
        script.pool.keep_facts(true);
        script.keep();
        script
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    /// Makes the calls that `bytes` are.
    pub(super) fn play(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.iter().copied();
        while let Some(call) = bytes.next() {
            let mut next = || bytes.next().unwrap_or(b'0');
            self.call(call, &mut next);
            self.write_facts();
            self.serve();
            self.count.check(&self.settings.keys, self.now());
        }
    }

    fn call(&mut self, call: u8, next: &mut impl FnMut() -> u8) {
        let now = self.now();
        match call {
            b's' => {
                let (request, tokens) = (request(next()), u64::from(next() & 63));
                let request = SelectRequest { tokens: Some(tokens), ..request };
                if let Ok(selection) = self.pool.select(request, None, now) {
                    self.selected(selection, tokens);
                }
            }
            b'w' => {
                let (request, wait) = (request(next()), Duration::from_secs(u64::from(next())));
                if let Ok(selection) = self.pool.select(request, Some(wait), now) {
                    self.selected(selection, 0);
                }
            }
            b'r' => {
                let (which, report) = (next(), report(next()));
                if let Some(holding) = self.take(which) {
                    self.pool.report(holding.lease.id, &report, now).ok();
                    self.count.settled(&holding, &report);
                }
            }
            b'n' => {
                let (which, report) = (next(), report(next()));
                if let Some(holding) = self.take(which) {
                    let rotated = self.pool.rotate(holding.lease.id, &report, None, now);
                    if !matches!(rotated, Err(NoRotation::Gone(_))) {
                        self.count.settled(&holding, &report);
                    }
                    if let Ok(selection) = rotated {
                        self.selected(selection, holding.tokens);
                    }
                }
            }
            b'x' => {
                let which = usize::from(next()) % self.waiters.len().max(1);
                if which < self.waiters.len() {
                    let (waiter, _) = self.waiters.remove(which);
                    self.pool.cancel(waiter, now);
                }
            }
            b'p' => self.clock.advance(Duration::from_millis(100) * u32::from(next())),
            b'P' => self.clock.advance(Duration::from_mins(1) * u32::from(next())),
            b'c' => drop(self.pool.clear(&id(next()), now)),
            b'k' => {
                let which = next();
                let missing = (which & 8 != 0).then(|| NoSecret::Missing("taken away".into()));
                self.pool.set_secret(&id(which), missing, now);
            }
            b'K' => drop(self.pool.secret_changed(&id(next()), now)),
            b'l' => {
                self.present = next();
                self.reload();
            }
            b'm' => {
                // Keys whose limits are all of time: what is in flight stays where it was.
                let key = Arc::make_mut(&mut self.settings.keys[usize::from(next() & 3)]);
                let alone = key.quota_group.is_none();
                key.quota_group = alone.then(|| format!("own {}", key.id).into());
                self.reload();
            }
            b't' => {
                self.leave_the_line();
                self.keep();
                self.resume(false);
            }
            b'T' => {
                self.leave_the_line();
                self.resume(true);
            }
            _ => {}
        }
        self.pool.advance(self.now());
        self.pool.next_due(self.now());
        self.pool.take_transitions();
    }

    /// Shares its limits with others from here on.
    pub(super) fn share(&mut self) {
        let now = self.now();
        self.pool.share_limits(true, now);
        self.write_facts();
    }

    /// Does what it is told by those that it shares limits with. What was granted before may have
    /// been handed over, and is theirs to count.
    pub(super) fn obey(&mut self, said: &str) {
        let now = self.now();
        shared_quota::obey(&mut self.pool, said, Instant::NEVER, now);
        self.count = Count::default();
        self.write_facts();
        self.serve();
    }

    /// Takes the keys of which `present` has the bit.
    fn reload(&mut self) {
        let keys = self.settings.keys.iter().enumerate();
        let keys: Vec<_> = keys
            .filter(|(n, _)| self.present & (1 << n) != 0)
            .map(|(_, key)| key.clone())
            .collect();
        let secrets = keys.iter().map(|key| (key.id.clone(), None)).collect();
        let settings = PoolSettings { keys, ..self.settings.clone() };
        let now = self.now();
        self.pool.reconfigure_with_secrets(settings, &secrets, now);
    }

    /// Writes a snapshot, and begins a new log.
    fn keep(&mut self) {
        let header =
            state::Header { generation: 1, boot_id: String::new(), offset: 0, now: self.now() };
        self.pool.take_facts();
        self.snapshot = state::encode_snapshot(&header, &self.pool.snapshot()).unwrap();
        self.log = state::log_head();
    }

    /// Writes them as a daemon does, which writes the pieces of every other configuration before.
    fn write_facts(&mut self) {
        for fact in self.pool.take_facts() {
            match fact.settings().filter(|_| self.log.len().is_multiple_of(2)) {
                Some(settings) => {
                    self.log.extend(state::encode_pieces(settings).unwrap().concat());
                    state::encode_taken(fact.now(), &mut self.log);
                }
                None => state::encode_fact(&fact, &mut self.log),
            }
        }
    }

    /// Those who wait are in no file.
    fn leave_the_line(&mut self) {
        while let Some((waiter, _)) = self.waiters.pop() {
            self.pool.cancel(waiter, self.now());
            self.serve();
        }
        self.write_facts();
    }

    /// Goes on with what is written.
    fn resume(&mut self, replay: bool) {
        let (_, saved) = state::decode_snapshot(&self.snapshot).unwrap();
        let mut pool = Pool::restore(super::calendar(), 1, saved).expect("own state is sound");
        let (facts, whole) = state::decode_log(&self.log).unwrap();
        assert!(whole);
        if replay {
            for fact in facts {
                assert!(pool.replay(fact), "own facts are of what is known");
            }
        }
        let now = self.now();
        self.pool.advance(now);
        pool.advance(now);
        // Until when it may use what it holds it is told again.
        self.pool.hold_until(Instant::NEVER, now);
        pool.hold_until(Instant::NEVER, now);
        // Secrets are looked up again in another life.
        for key in self.settings.keys.iter().map(|key| &key.id) {
            self.pool.set_secret(key, None, now);
            pool.set_secret(key, None, now);
        }
        // Of the day's counts a lease that ended unreported may be in another day: the pool is
        // told of it when it is called next, and that is earlier where it was not replayed.
        let shown = |keys: Vec<KeyView<'_>>| {
            let shown = |key: KeyView<'_>| {
                let (total, reports) = (key.record.total, key.record.reports);
                let counts = (total, reports, key.record.last_used, &key.record.last_error);
                let state = (&key.state, &key.quota, key.in_flight, key.half_open, key.pace);
                format!("{:?} {state:?} {counts:?}", key.settings)
            };
            keys.into_iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(shown(pool.keys(now)), shown(self.pool.keys(now)), "another pool than it was");
        self.pool = pool;
        self.pool.keep_facts(true);
        self.pool.take_transitions();
        self.keep();
    }

    fn selected(&mut self, selection: Selection, tokens: u64) {
        match selection {
            Selection::Granted(lease) => self.note(lease, tokens),
            Selection::Waiting(waiter) => self.waiters.push((waiter, tokens)),
        }
    }

    /// Takes note of what became of those who wait.
    fn serve(&mut self) {
        for (waiter, served) in self.pool.take_served() {
            let place = self.waiters.iter().position(|(waiting, _)| *waiting == waiter);
            let (_, tokens) = self.waiters.remove(place.expect("nobody else has waited"));
            if let Ok(lease) = served {
                self.note(lease, tokens);
            }
        }
    }

    fn take(&mut self, which: u8) -> Option<Holding> {
        let count = self.holdings.len();
        (count > 0).then(|| self.holdings.remove(usize::from(which) % count))
    }

    fn note(&mut self, lease: Lease, tokens: u64) {
        let now = self.now();
        let key = self.settings.keys.iter().find(|key| key.id == lease.key_id).unwrap();
        self.holdings.push(self.count.granted(key, lease, tokens, now));
    }
}

fn id(which: u8) -> KeyId {
    KeyId::parse(&format!("k{}", which & 7)).unwrap()
}

fn request(which: u8) -> SelectRequest {
    let mut request = SelectRequest::default();
    match which & 3 {
        1 => request.filter.models = vec!["flash".into()],
        2 => request.filter.models = vec!["pro".into(), "flash".into()],
        _ => {}
    }
    if which & 4 != 0 {
        request.user = Some(format!("u-{}", which >> 3));
    }
    if which & 0x18 == 0x18 {
        request.exclude = vec![id(which >> 5)];
    }
    request
}

fn report(which: u8) -> Report {
    let limited = |retry_after, spent| {
        Outcome::RateLimited(RateLimit {
            retry_after,
            spent,
            limit: (which & 16 != 0)
                .then_some(LearnedLimit { kind: LimitKind::Rpm, value: u64::from(which) }),
        })
    };
    let outcome = match which & 15 {
        0..=3 => Outcome::Success,
        4 => limited(Some(Duration::from_secs(u64::from(which))), Spent::Minute),
        5 => limited(None, Spent::Unknown),
        6 => limited(None, Spent::Day),
        7 => limited(None, Spent::Account),
        8 => limited(None, Spent::Month),
        9 => Outcome::AuthFailed,
        10 => Outcome::ModelRefused,
        11 => Outcome::EgressRefused,
        12 => Outcome::ServerError,
        13 => Outcome::Timeout,
        14 => Outcome::ClientError,
        _ => Outcome::Cancelled,
    };
    let tokens_used = (which & 32 != 0).then_some(u64::from(which));
    Report { outcome, tokens_used, detail: "".into() }
}

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

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::ManualClock;
use crate::config::Keys;
use crate::pool::{
    Instant, KeyId, KeySettings, KeyView, LearnedLimit, Lease, LimitKind, NoRotation, NoSecret,
    Now, Outcome, Pool, PoolSettings, RateLimit, Report, SelectRequest, Selection, Spent, WaiterId,
};
use crate::state;

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

/// The longest window: a minute and the guard.
const SPAN: Duration = Duration::from_millis(60_500);

/// How long a lease lasts that is not reported.
const LEASE: Duration = Duration::from_mins(10);

/// What a quota group was seen to grant.
#[derive(Default)]
struct Granted {
    /// When, and on which day.
    requests: Vec<(Instant, i32)>,
    /// When, and how many of them are charged at least.
    tokens: Vec<(Instant, u64)>,
    /// The leases that are open, until when.
    open: BTreeMap<String, Instant>,
}

/// A lease as it was granted.
struct Holding {
    lease: Lease,
    group: String,
    /// What was asked for.
    tokens: u64,
    /// Which of the group's tokens are its own.
    charge: usize,
}

/// A pool that is called, and the count.
pub(super) struct Script {
    pub(super) pool: Pool,
    pub(super) clock: ManualClock,
    settings: PoolSettings,
    /// Which of the keys are configured, as bits.
    present: u8,
    granted: BTreeMap<String, Granted>,
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
        let settings = READ.with(|keys| keys.pool.clone());
        let mut script = Self {
            pool: super::pool(),
            clock: ManualClock::default(),
            settings,
            present: u8::MAX,
            granted: BTreeMap::new(),
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
            self.check();
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
                    self.settled(&holding, &report);
                }
            }
            b'n' => {
                let (which, report) = (next(), report(next()));
                if let Some(holding) = self.take(which) {
                    let rotated = self.pool.rotate(holding.lease.id, &report, None, now);
                    if !matches!(rotated, Err(NoRotation::Gone(_))) {
                        self.settled(&holding, &report);
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
                let key = &mut self.settings.keys[usize::from(next() & 3)];
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

    fn write_facts(&mut self) {
        for fact in self.pool.take_facts() {
            state::encode_fact(&fact, &mut self.log);
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
        // Secrets are looked up again in another life.
        for key in self.settings.keys.iter().map(|key| &key.id) {
            self.pool.set_secret(key, None, now);
            pool.set_secret(key, None, now);
        }
        let shown = |keys: Vec<KeyView<'_>>| {
            let shown = |key: KeyView<'_>| {
                format!(
                    "{:?} {:?} {:?} {} {:?} {:?}",
                    key.settings, key.state, key.quota, key.in_flight, key.record, key.half_open
                )
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

    fn key(&self, id: &KeyId) -> &KeySettings {
        self.settings.keys.iter().find(|known| known.id == *id).unwrap()
    }

    fn note(&mut self, lease: Lease, tokens: u64) {
        let now = self.now();
        let key = self.key(&lease.key_id);
        let (group, day) = (group_of(key), day(key, now));
        let granted = self.granted.entry(group.clone()).or_default();
        granted.requests.push((now.at, day));
        granted.tokens.push((now.at, tokens));
        granted.open.insert(lease.id.to_string(), now.at.plus(LEASE));
        let charge = granted.tokens.len() - 1;
        self.holdings.push(Holding { lease, group, tokens, charge });
    }

    /// A report lowers what is charged, if it says less or says that nothing was served.
    fn settled(&mut self, holding: &Holding, report: &Report) {
        let granted = self.granted.get_mut(&holding.group).unwrap();
        if granted.open.remove(&holding.lease.id.to_string()).is_some() {
            let charge = &mut granted.tokens[holding.charge].1;
            *charge = report.tokens_used.unwrap_or(0).min(*charge);
        }
    }

    /// No interval of the window's length, and no day, has seen more than its limit.
    fn check(&mut self) {
        let now = self.now();
        for key in &self.settings.keys {
            let Some(granted) = self.granted.get_mut(&group_of(key)) else { continue };
            granted.open.retain(|_, expires| *expires > now.at);
            let recent = |at: Instant| at.plus(SPAN) > now.at;
            let requests = granted.requests.iter().filter(|(at, _)| recent(*at)).count() as u64;
            let today = day(key, now);
            let of_day = granted.requests.iter().filter(|(_, day)| *day == today).count() as u64;
            let tokens: u64 =
                granted.tokens.iter().filter(|(at, _)| recent(*at)).map(|(_, n)| *n).sum();
            let limits = &key.limits;
            let bound = |limit: Option<std::num::NonZeroU64>, used: u64, what: LimitKind| {
                assert!(limit.is_none_or(|most| used <= most.get()), "{what:?} of {}", key.id);
            };
            bound(limits.rpm, requests, LimitKind::Rpm);
            bound(limits.rpd, of_day, LimitKind::Rpd);
            bound(limits.tpm, tokens, LimitKind::Tpm);
            bound(limits.max_concurrent, granted.open.len() as u64, LimitKind::Concurrency);
        }
    }
}

/// Those that count together, wherever one of them has moved.
fn group_of(key: &KeySettings) -> String {
    let shared = key.quota_group.as_deref().filter(|group| !group.starts_with("own "));
    shared.unwrap_or(key.id.as_str()).to_owned()
}

/// The day of the key's provider.
fn day(key: &KeySettings, now: Now) -> i32 {
    super::calendar().day(&key.reset_zone, now.wall).number
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
    if which & 24 == 24 {
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

//! The pool against a naive model: a full history, searched anew for every question.

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, prop, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::*;

/// The longest window: a minute and the guard.
const SPAN: Duration = Duration::from_millis(60_500);
const GUARD: u64 = 500;

/// What one quota group has been through.
#[derive(Clone, Debug, Default)]
struct History {
    /// Grants: when, on which wall clock.
    grants: Vec<Now>,
    /// Charged tokens: when, how many.
    tokens: Vec<(Instant, u64)>,
    /// Open leases: number, expiry.
    open: BTreeMap<usize, Instant>,
    cooling_until: Instant,
    wave: usize,
    half_open: bool,
    trial: Option<usize>,
}

#[derive(Clone, Debug)]
struct ModelLease {
    lease: Lease,
    group: String,
    number: usize,
    has_tpm: bool,
    reserved: u64,
    charge: Option<usize>,
}

struct Model {
    keys: Vec<KeySettings>,
    histories: BTreeMap<String, History>,
    leases: Vec<ModelLease>,
    granted: usize,
    dead: Vec<KeyId>,
}

fn group_of(key: &KeySettings) -> String {
    key.quota_group.as_deref().map_or_else(|| key.id.to_string(), |group| format!("group {group}"))
}

impl Model {
    fn history(&self, key: &KeySettings) -> History {
        self.histories.get(&group_of(key)).cloned().unwrap_or_default()
    }

    fn expire(&mut self, now: Now) {
        for history in self.histories.values_mut() {
            history.open.retain(|_, expires| *expires > now.at);
            if history.trial.is_some_and(|trial| !history.open.contains_key(&trial)) {
                history.trial = None;
            }
        }
        self.leases.retain(|lease| {
            let history = &self.histories[&lease.group];
            history.open.contains_key(&lease.number)
        });
    }

    /// Whether `key` could pay one request with `tokens` at `then`, if nothing happened before.
    fn can_pay(&self, key: &KeySettings, tokens: u64, then: Now) -> bool {
        if self.dead.contains(&key.id) || !key.active {
            return false;
        }
        let mut history = self.history(key);
        history.open.retain(|_, expires| *expires > then.at);
        let recent = |at: Instant| at.plus(SPAN) > then.at;
        let within = |limit: Option<NonZeroU64>, used: u64| limit.is_none_or(|l| used <= l.get());

        let requests = history.grants.iter().filter(|grant| recent(grant.at)).count() as u64;
        let used: u64 = history.tokens.iter().filter(|(at, _)| recent(*at)).map(|(_, n)| n).sum();
        let today = then.wall.as_millis() / DAY_MILLIS;
        let on_this_day = |grant: &&Now| {
            let late = (grant.wall.as_millis() + GUARD) / DAY_MILLIS;
            grant.wall.as_millis() / DAY_MILLIS == today || late == today
        };
        let day = history.grants.iter().filter(on_this_day).count() as u64;
        let trial_runs = history.trial.is_some_and(|trial| history.open.contains_key(&trial));

        within(key.limits.rpm, requests + 1)
            && within(key.limits.tpm, used + tokens.max(1))
            && within(key.limits.rpd, day + 1)
            && within(key.limits.max_concurrent, history.open.len() as u64 + 1)
            && history.cooling_until <= then.at
            && !(history.half_open && trial_runs)
            && Self::bucket_pays(key, &history, then.at)
    }

    fn bucket_pays(key: &KeySettings, history: &History, at: Instant) -> bool {
        let (Some(rpm), Some(burst)) = (key.limits.rpm, key.limits.burst_capacity) else {
            return true;
        };
        let interval = Duration::from_nanos(60_000_000_000_u64.div_ceil(rpm.get()));
        let mut full_at = Instant::ZERO;
        for grant in &history.grants {
            full_at = full_at.max(grant.at).plus(interval);
        }
        full_at.max(at).since(at) <= interval * u32::try_from(burst.get() - 1).unwrap()
    }

    /// Every time after `now` at which anything could become free.
    fn events(&self, now: Now) -> Vec<Now> {
        let mut times = Vec::new();
        for history in self.histories.values() {
            times.extend(history.grants.iter().map(|grant| grant.at.plus(SPAN)));
            times.extend(history.tokens.iter().map(|(at, _)| at.plus(SPAN)));
            times.extend(history.open.values());
            times.push(history.cooling_until);
        }
        times.retain(|at| *at > now.at);
        times.into_iter().map(|at| Now { at, wall: now.wall_at(at) }).collect()
    }

    /// Groups without a key are forgotten once nothing that was used in them counts any more.
    fn forget_the_absent(&mut self, now: Now) {
        let present: Vec<String> = self.keys.iter().map(group_of).collect();
        let today = now.wall.as_millis() / DAY_MILLIS;
        self.histories.retain(|group, history| {
            let recent = |at: &Instant| at.plus(SPAN) > now.at;
            present.contains(group)
                || !history.open.is_empty()
                || history.cooling_until > now.at
                || history.tokens.iter().any(|(at, _)| recent(at))
                || history
                    .grants
                    .iter()
                    .any(|grant| recent(&grant.at) || grant.wall.as_millis() / DAY_MILLIS == today)
        });
    }

    fn granted(&mut self, lease: Lease, tokens: u64, now: Now) {
        let key = self.keys.iter().find(|key| key.id == lease.key_id).unwrap();
        let group = group_of(key);
        let number = self.granted;
        self.granted += 1;
        let history = self.histories.entry(group.clone()).or_default();
        history.grants.push(now);
        history.open.insert(number, now.at.plus(seconds(600)));
        if history.half_open && history.cooling_until <= now.at {
            history.trial = Some(number);
        }
        let has_tpm = key.limits.tpm.is_some();
        let charge = (has_tpm && tokens > 0).then(|| {
            history.tokens.push((now.at, tokens));
            history.tokens.len() - 1
        });
        self.leases.push(ModelLease { lease, group, number, has_tpm, reserved: tokens, charge });
    }

    fn reported(&mut self, lease: &ModelLease, outcome: Outcome, used: Option<u64>, now: Now) {
        let next = self.granted;
        let history = self.histories.get_mut(&lease.group).unwrap();
        history.open.remove(&lease.number);
        if history.trial == Some(lease.number) {
            history.trial = None;
        }
        let of_the_wave = lease.number < history.wave;
        let used = match outcome {
            Outcome::RateLimited(limit) => {
                let until = now.at.plus(limit.retry_after.unwrap());
                if until > history.cooling_until {
                    if history.cooling_until <= now.at {
                        history.wave = next;
                    }
                    history.cooling_until = until;
                    history.half_open = true;
                    history.trial = None;
                }
                used.or(Some(0))
            }
            Outcome::Success => {
                if !of_the_wave && history.cooling_until <= now.at {
                    history.half_open = false;
                }
                used
            }
            Outcome::ClientError => used.or(Some(0)),
            Outcome::AuthFailed => {
                // Of a key that has left nothing is remembered but its uses.
                let present = self.keys.iter().any(|key| key.id == lease.lease.key_id);
                self.dead.extend(present.then(|| lease.lease.key_id.clone()));
                used.or(Some(0))
            }
            Outcome::ModelRefused
            | Outcome::EgressRefused
            | Outcome::ServerError
            | Outcome::Timeout
            | Outcome::Cancelled => used,
        };
        if let Some(used) = used.filter(|_| lease.has_tpm) {
            if used > lease.reserved {
                history.tokens.push((now.at, used - lease.reserved));
            } else if let Some(charge) = lease.charge {
                history.tokens[charge].1 = used;
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Select { tokens: u64, exclude: Option<usize>, model: Option<&'static str> },
    Report { which: usize, outcome: Outcome, used: Option<u64> },
    Pass(Duration),
    Clear(usize),
    Reload { present: Vec<bool>, scale: u64 },
}

fn steps() -> impl Generator<Value = Vec<Step>> {
    let model = prop_oneof![3 => Just(None), 1 => Just(Some("flash")), 1 => Just(Some("pro"))];
    let select = (0_u64..60, prop::option::weighted(0.2, 0_usize..7), model);
    let select =
        select.prop_map(|(tokens, exclude, model)| Step::Select { tokens, exclude, model });
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        2 => (1_u64..90).prop_map(|delay| limited_for(seconds(delay))),
        1 => Just(Outcome::Cancelled),
        1 => Just(Outcome::ClientError),
        1 => Just(Outcome::AuthFailed),
    ];
    let report = (0_usize..8, outcome, prop::option::of(0_u64..120));
    let report = report.prop_map(|(which, outcome, used)| Step::Report { which, outcome, used });
    let pass = prop_oneof![
        4 => (0_u64..3000).prop_map(millis),
        4 => (0_u64..70_000).prop_map(millis),
        1 => (0_u64..14 * 3600).prop_map(seconds),
    ];
    let present = prop::collection::vec(prop::bool::weighted(0.8), 7);
    let reload = (present, 1_u64..3).prop_map(|(present, scale)| Step::Reload { present, scale });
    let step = prop_oneof![
        12 => select,
        4 => report,
        4 => pass.prop_map(Step::Pass),
        1 => (0_usize..7).prop_map(Step::Clear),
        1 => reload,
    ];
    prop::collection::vec(step, 1..120)
}

/// Seven keys with every kind of limit; `scale` changes the limits.
fn keys(scale: u64) -> Vec<KeySettings> {
    vec![
        key("k0").rpm(3 * scale),
        key("k1").rpm(5).burst(2).model("flash"),
        key("k2").tpm(100 * scale).model("pro"),
        key("k3").rpm(3).rpd(4 * scale).priority(1),
        key("k4").rpm(4).group("g").concurrent(2 * scale),
        key("k5").rpm(4).group("g").concurrent(2 * scale).tag("x", "y"),
        key("k6").rpm(2).tpm(50).rpd(9).concurrent(3).burst(1),
    ]
}

fn check_refusal(
    model: &Model,
    matching: &[&KeySettings],
    tokens: u64,
    refusal: &Refusal,
    now: Now,
) {
    let somebody_pays = |then: Now| matching.iter().any(|key| model.can_pay(key, tokens, then));
    assert!(!somebody_pays(now), "refused, but could have been granted: {refusal:?}");
    let Refusal::Exhausted { free_at, .. } = refusal else { return };
    let then = Now { at: *free_at, wall: now.wall_at(*free_at) };
    assert!(somebody_pays(then), "told to come too early: {refusal:?}");
    let before = model.events(now).into_iter().filter(|event| event.at < *free_at);
    for earlier in before {
        assert!(!somebody_pays(earlier), "told to come too late: {refusal:?}");
    }
    let just_before = Instant::from_nanos(free_at.as_nanos() - 1_000_000);
    if just_before > now.at {
        let just_before = Now { at: just_before, wall: now.wall_at(just_before) };
        assert!(!somebody_pays(just_before), "told to come too late: {refusal:?}");
    }
}

fn play(steps: Vec<Step>, strategy: Strategy) {
    let settings =
        PoolSettings { keys: arcs(keys(1)), strategy, adaptive: false, ..PoolSettings::default() };
    let mut game = Game::with(settings);
    let mut model = Model {
        keys: keys(1),
        histories: BTreeMap::new(),
        leases: Vec::new(),
        granted: 0,
        dead: Vec::new(),
    };
    for step in steps {
        model.expire(game.now);
        match step {
            Step::Pass(span) => game.pass(span),
            Step::Select { tokens, exclude, model: wanted } => {
                let mut request = wanted.map_or_else(any, for_model);
                request.tokens = Some(tokens);
                request.exclude = exclude.map(|n| id(&format!("k{n}"))).into_iter().collect();
                let answer = game.ask(request.clone());
                let matches = |key: &&KeySettings| {
                    let fits =
                        |model: &str| key.models.is_empty() || key.models.contains(&model.into());
                    !request.exclude.contains(&key.id) && wanted.is_none_or(fits)
                };
                match answer {
                    Ok(lease) => {
                        let key = model.keys.iter().find(|key| key.id == lease.key_id).unwrap();
                        assert!(matches(&key));
                        assert!(model.can_pay(key, tokens, game.now), "over a limit: {lease:?}");
                        model.granted(lease, tokens, game.now);
                    }
                    Err(refusal) => {
                        let matching: Vec<&KeySettings> =
                            model.keys.iter().filter(matches).collect();
                        check_refusal(&model, &matching, tokens, &refusal, game.now);
                    }
                }
            }
            Step::Report { which, outcome, used } => {
                if which < model.leases.len() {
                    let lease = model.leases.remove(which);
                    let report = Report { tokens_used: used, ..Report::of(outcome) };
                    game.pool.report(lease.lease.id, &report, game.now).unwrap();
                    model.reported(&lease, outcome, used, game.now);
                }
            }
            Step::Clear(n) => {
                let key = id(&format!("k{n}"));
                if game.pool.clear(&key, game.now) {
                    let entry = model.keys.iter().find(|entry| entry.id == key).unwrap();
                    let history = model.histories.entry(group_of(entry)).or_default();
                    history.cooling_until = Instant::ZERO;
                    history.half_open = false;
                    history.trial = None;
                    model.dead.retain(|dead| *dead != key);
                }
            }
            Step::Reload { present, scale } => {
                let all = keys(scale).into_iter().zip(present);
                model.keys = all.filter(|(_, present)| *present).map(|(key, _)| key).collect();
                game.reload_keys(model.keys.clone());
                model.forget_the_absent(game.now);
                // A key that leaves takes the mark of death with it.
                let still = |dead: &KeyId| model.keys.iter().any(|key| key.id == *dead);
                model.dead.retain(still);
            }
        }
        for key in model.keys.clone() {
            model.expire(game.now);
            let in_flight = game.pool.key(key.id.as_str(), game.now).unwrap().in_flight;
            assert_eq!(in_flight, model.history(&key).open.len(), "in flight on {}", key.id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn decides_like_the_naive_model(steps in steps(), strategy in 0_usize..5) {
        play(steps, Strategy::ALL[strategy]);
    }
}

//! Daemons at work and in trouble, with a Prometheus that scrapes them: every panel has something
//! to show, and every rule something to say.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use keypool::clock::Clock;
use keypool::control::Control;
use serde_json::{Value, json};

use crate::board::{Board, Question};
use crate::prometheus::Prometheus;
use crate::support::{FakeProvider, FakeVault, Manner, TestDaemon, keys_json, until};

/// What is not to be had from these daemons: quota shared through Redis.
const NOT_HERE: [&str; 1] = ["keypool_shared_"];

const METRICS: &str = "metrics_addr = \"127.0.0.1:0\"\n";

/// Where `daemon` serves metrics, once it does.
fn address(daemon: &TestDaemon) -> String {
    let address = || daemon.get("/v1/status").json()["metrics"]["address"].clone();
    let bound = |address: &Value| address.as_str().is_some_and(|text| !text.ends_with(":0"));
    until("the metrics listener is up", || bound(&address()));
    address().as_str().unwrap().to_owned()
}

/// A zone whose midnight is hours away, so that no day ends while the test runs.
fn far_from_midnight() -> &'static str {
    let hour = Clock::System.now().wall.as_millis() / 3_600_000 % 24;
    if (3..21).contains(&hour) { "UTC" } else { "Asia/Tokyo" }
}

/// A daemon at the time of Prometheus, with more lines in keypool.toml. Time passes by hand.
fn daemon(keys: &[(&str, &str)], toml: &str) -> TestDaemon {
    let daemon = TestDaemon::with(&keys_json(keys), &format!("{METRICS}{toml}"));
    daemon.clock.set_wall(Clock::System.now().wall);
    daemon
}

/// A daemon whose keys are all well, but two of which have little quota.
fn busy(provider: &FakeProvider) -> TestDaemon {
    let limits =
        r#""model_name": "m", "rpm": 6, "tpm": 100000, "rpd": 100000, "max_concurrent": 9"#;
    let url = provider.url();
    let zone = far_from_midnight();
    let toml = format!(
        "quota.reset_zone = {{gemini = {zone:?}}}\n[probe]\nallow_private = true\n\
         [providers.gemini]\nbase_url = {url:?}\n[providers.openai]\nbase_url = {url:?}\n"
    );
    let other = r#""provider": "openai", "model_name": "n", "rpm": 600"#;
    daemon(&[("a", limits), ("b", limits), ("c", other), ("d", other)], &toml)
}

/// A round of everything that callers do, in a second of the daemon's time.
fn work(daemon: &TestDaemon) {
    let select = |request: Value| daemon.post("/v1/select", &request);
    let lease = |request: Value| Some(select(request)).filter(|answer| answer.status == 200);
    for _ in 0..4 {
        if let Some(lease) = lease(json!({"model": "m", "tokens": 50})) {
            let id = lease.json()["lease_id"].clone();
            daemon.post(
                "/v1/report",
                &json!({"lease_id": id, "outcome": "success", "tokens_used": 70}),
            );
        }
    }
    for outcome in ["server_error", "timeout"] {
        if let Some(lease) = lease(json!({"model": "n"})) {
            let id = lease.json()["lease_id"].clone();
            let next = daemon.post("/v1/rotate", &json!({"lease_id": id, "outcome": outcome}));
            if next.status == 200 {
                daemon.report(&next.json(), "success");
            }
        }
    }
    select(json!({"model": "no such model"}));
    select(json!({"no such field": 1}));
    daemon.control(Control::Reload);
    daemon.pass(Duration::from_secs(1));
}

/// A daemon with one provider for each kind of trouble.
fn troubled() -> TestDaemon {
    let keys: [(&str, usize); 9] = [
        ("gone", 1),
        ("failing", 3),
        ("half", 3),
        ("many", 7),
        ("one", 2),
        ("hot", 2),
        ("odd", 2),
        ("day", 1),
        ("bare", 2),
    ];
    let entries: Vec<(String, String)> = keys
        .iter()
        .flat_map(|(provider, count)| {
            (1..=*count).map(move |n| (provider, format!("{provider}_{n}")))
        })
        .map(|(provider, id)| {
            let more = match id.as_str() {
                "day_1" => r#", "rpd": 10"#,
                "bare_2" => r#", "secret_name": "nowhere""#,
                _ => "",
            };
            (id, format!(r#""provider": "{provider}", "rpm": 60{more}"#))
        })
        .collect();
    let entries: Vec<(&str, &str)> = entries.iter().map(|(id, more)| (&**id, &**more)).collect();
    let zone = far_from_midnight();
    daemon(&entries, &format!("quota.reset_zone = {{day = {zone:?}}}\n"))
}

/// Reports `outcome` for a lease of `key_id` alone.
fn suffer(daemon: &TestDaemon, key_id: &str, outcome: &Value) {
    let provider = key_id.split('_').next().unwrap();
    let others: Vec<String> = (1..=7).map(|n| format!("{provider}_{n}")).collect();
    let others: Vec<&String> = others.iter().filter(|other| **other != key_id).collect();
    let lease = loop {
        let answer = daemon.post("/v1/select", &json!({"provider": provider, "exclude": others}));
        if answer.status == 200 {
            break answer.json();
        }
        daemon.pass(Duration::from_secs(1));
    };
    let mut report = outcome.clone();
    report["lease_id"] = lease["lease_id"].clone();
    assert_eq!(daemon.post("/v1/report", &report).status, 200);
}

fn trouble(daemon: &TestDaemon) {
    for key in ["failing_1", "failing_2", "failing_3"] {
        suffer(daemon, key, &json!({"outcome": "server_error"}));
    }
    for key in ["gone_1", "half_1", "half_2", "many_1", "many_2", "many_3", "one_1"] {
        suffer(daemon, key, &json!({"outcome": "auth_failed"}));
    }
    for _ in 0..5 {
        suffer(daemon, "hot_1", &json!({"outcome": "rate_limited", "retry_after_ms": 1000}));
        daemon.pass(Duration::from_secs(2));
    }
    for key in ["odd_1", "odd_2", "odd_1", "odd_2"] {
        suffer(daemon, key, &json!({"outcome": "rate_limited", "retry_after_ms": 1000}));
        daemon.pass(Duration::from_secs(2));
    }
    for _ in 0..9 {
        suffer(daemon, "day_1", &json!({"outcome": "success"}));
    }
    fs::write(daemon.path("keys.json"), "{").unwrap();
    daemon.control(Control::Reload);
}

/// A daemon whose state cannot be written.
fn forgetful() -> TestDaemon {
    let daemon = daemon(&[("a", "")], "state_dir = \"STATE\"\n");
    fs::rename(daemon.state_dir(), daemon.path("moved")).unwrap();
    fs::write(daemon.path("state"), "in the way").unwrap();
    let filler = "x".repeat(200 * 1024);
    until("a snapshot has failed", || {
        daemon.select(&json!({"user": filler}));
        daemon.pass(Duration::from_secs(2));
        !daemon.get("/v1/status").json()["state_file"]["error"].is_null()
    });
    daemon
}

/// A daemon whose store of secrets has been away for most of the time that secrets may serve.
fn stale(vault: &FakeVault) -> TestDaemon {
    let keys = keys_json(&[("far", r#""secret_store": "vault""#)]);
    let variables = vault.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    let daemon = TestDaemon::with_variables(&keys, METRICS, &variables);
    until("the secret comes", || daemon.state("far") == "ready");
    vault.trouble(Some(500));
    daemon.pass(Duration::from_hours(20));
    until("the store is away", || {
        !daemon.get("/v1/status").json()["secret_stores"]["vault"]["error"].is_null()
    });
    daemon
}

/// A daemon at an address that stays, so that Prometheus sees it start anew.
fn restarting() -> TestDaemon {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let toml = format!("state_dir = \"STATE\"\nmetrics_addr = \"{free}\"\n");
    TestDaemon::with(&keys_json(&[("z", "")]), &toml)
}

/// The key that a question of the dashboard Key is about: most are about one that is well.
fn key(question: &Question) -> &'static str {
    match question.panel.as_str() {
        "Cooldowns" => "hot_1",
        "Dead" => "one_1",
        _ => "a",
    }
}

#[test]
fn every_panel_and_every_rule_finds_its_data_in_daemons_at_work_and_in_trouble() {
    let provider = FakeProvider::start(Manner::Honest);
    let vault = FakeVault::start(&[("far", "fake-secret-far")]);
    let daemons = [busy(&provider), troubled(), forgetful(), stale(&vault)];
    let before = restarting();
    let nobody = "127.0.0.1:1".to_owned();
    let targets: Vec<String> =
        daemons.iter().chain([&before]).map(address).chain([nobody]).collect();
    let prometheus = Prometheus::start(&targets);
    until("every daemon was scraped", || prometheus.ask("up == 1").len() == 5);
    let [busy, troubled, forgetful, stale] = &daemons;
    before.pass(Duration::from_hours(1));
    let after = before.after_a_kill(|_| {});
    drop(before);

    let refused = json!({"outcome": "rate_limited", "retry_after_ms": 1000});
    let done = AtomicBool::new(false);
    let going_on = |work: &dyn Fn()| {
        while !done.load(Ordering::Relaxed) {
            work();
            // A second of theirs takes a tenth of ours.
            thread::sleep(Duration::from_millis(100));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| going_on(&|| work(busy)));
        scope.spawn(|| {
            let patient = json!({"model": "m", "wait_ms": 20_000});
            going_on(&|| drop(busy.post("/v1/select", &patient)));
        });
        scope.spawn(|| going_on(&|| forgetful.pass(Duration::from_secs(1))));
        scope.spawn(|| going_on(&|| stale.pass(Duration::from_secs(1))));
        // It tries to listen again and again.
        scope.spawn(|| going_on(&|| after.pass(Duration::from_secs(1))));
        trouble(troubled);
        scope.spawn(|| going_on(&|| suffer(troubled, "hot_1", &refused)));

        let questions: Vec<Question> =
            Board::all().iter().flat_map(Board::questions).chain(rules(&prometheus)).collect();
        let (elsewhere, mut open): (Vec<Question>, Vec<Question>) = questions
            .into_iter()
            .partition(|question| NOT_HERE.iter().any(|name| question.expr.contains(name)));
        let begun = Clock::System.now().at;
        while !open.is_empty() {
            open.retain(|question| {
                let numbers = prometheus.ask(&question.substituted(key(question)));
                let told = numbers.iter().filter(|number| !number.is_nan()).count();
                if told > 0 {
                    println!("{:5} {:55} {told:3} series", question.board, question.panel);
                }
                told == 0
            });
            let waited = Clock::System.now().at.since(begun);
            if waited > Duration::from_mins(1) {
                done.store(true, Ordering::Relaxed);
                panic!("nothing to show for {open:#?}");
            }
            thread::sleep(Duration::from_millis(200));
        }
        done.store(true, Ordering::Relaxed);
        for Question { board, panel, .. } in &elsewhere {
            println!("{board:5} {panel:55} not in these daemons");
        }
        let firing = prometheus.get("/api/v1/alerts").to_string();
        for word in ["<no value>", "error expanding", "{{"] {
            assert!(!firing.contains(word), "{firing}");
        }
    });
}

/// The rules, as Prometheus has read them.
fn rules(prometheus: &Prometheus) -> Vec<Question> {
    let answer = prometheus.get("/api/v1/rules");
    let groups = answer["data"]["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let text = |rule: &Value, name: &str| rule[name].as_str().unwrap().to_owned();
    rules
        .map(|rule| Question {
            board: "rules",
            panel: text(rule, "name"),
            expr: text(rule, "query"),
        })
        .collect()
}

//! The text that Prometheus reads.

use super::*;

#[test]
fn no_label_is_of_a_clients_making() {
    let daemon = TestDaemon::of(&keys_json(&[("a", "")]));
    let lease = daemon.select(&json!({"model": "canary-model", "user": "canary-user", "tags": {}}));
    let report = json!({"lease_id": lease["lease_id"], "status": 429, "body": "canary-body"});
    daemon.post("/v1/report", &report);
    daemon.get("/canary-path");
    let seen = scrape(&daemon);
    assert!(!seen.text.contains("canary") && !seen.text.contains("fake-secret"));
}

#[test]
fn a_mixed_load_is_clean_to_promtool_and_holds_every_name_of_the_catalogue() {
    let vault = FakeVault::start(&[("far", "fake-secret-far")]);
    let mut keys: Value = serde_json::from_str(EIGHT_KEYS).unwrap();
    let far = json!({"key_id": "far", "secret_store": "vault", "rpm": 15});
    keys["keys"].as_array_mut().unwrap().push(far);
    let variables = vault.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    let daemon = TestDaemon::with_variables(&keys.to_string(), OVER_TCP, &variables);
    until("the secret comes", || daemon.state("far") == "ready");
    let address = address(&daemon);
    let outcomes =
        ["success", "rate_limited", "auth_failed", "server_error", "timeout", "cancelled"];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = [0, 1, 2, 3].map(|client| {
            let daemon = &daemon;
            scope.spawn(move || {
                for turn in 0..60 {
                    let answer =
                        daemon.post("/v1/select", &json!({"tokens": 10, "wait_ms": turn % 2}));
                    if answer.status == 200 {
                        let outcome = outcomes[(client + turn) % outcomes.len()];
                        let body =
                            json!({"lease_id": answer.json()["lease_id"], "outcome": outcome});
                        let path = if turn % 3 == 0 { "/v1/rotate" } else { "/v1/report" };
                        daemon.post(path, &body);
                    }
                }
            })
        });
        scope.spawn(|| {
            for _ in 0..20 {
                Scrape::of(&over_tcp(address, "GET /metrics", "Host: localhost\n").body);
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                daemon.pass(Duration::from_millis(100));
                thread::sleep(Duration::from_millis(1));
            }
        });
        let ended = clients.map(thread::ScopedJoinHandle::join);
        over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok));
    });
    let text = over_tcp(address, "GET /metrics", "Host: localhost\n").body;
    assert_eq!(promtool(&text), (true, String::new()));

    let seen = Scrape::of(&text);
    let exported = seen.families();
    // This daemon shares its limits with nobody.
    let own = CATALOGUE.iter().map(|family| family.name).filter(|name| !name.contains("_shared_"));
    assert_eq!(exported, own.chain(PROCESS).collect());
}

#[test]
fn a_daemon_without_keys_is_clean_to_promtool() {
    let daemon = TestDaemon::of("[]");
    let seen = scrape(&daemon);
    assert_eq!(promtool(&seen.text), (true, String::new()));
    assert_eq!(seen.number("keypool_ready"), Some(0.0));
}

/// Whether `promtool check metrics` likes `text`, and what it says.
fn promtool(text: &str) -> (bool, String) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is in the Debian package prometheus, which tests/run installs");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_thousand_keys_are_scraped_whole() {
    let ids: Vec<String> = (0..1000).map(|n| format!("key_{n:04}")).collect();
    let keys: Vec<(&str, &str)> = ids
        .iter()
        .map(|id| (id.as_str(), r#""rpm": 60, "tpm": 100000, "rpd": 1500, "max_concurrent": 4"#))
        .collect();
    let daemon = TestDaemon::with(&keys_json(&keys), OVER_TCP);
    let address = address(&daemon);
    for _ in 0..100 {
        daemon.select(&json!({}));
    }
    let scrapes = thread::scope(|scope| {
        let scraper = || over_tcp(address, "GET /metrics", "Host: localhost\n").body;
        let scrapers: Vec<_> = (0..8).map(|_| scope.spawn(scraper)).collect();
        scrapers.into_iter().map(|scraper| scraper.join().unwrap()).collect::<Vec<_>>()
    });
    for text in scrapes {
        let seen = Scrape::of(&text);
        assert_eq!(seen.counted("keypool_key_state").len(), 1000);
        assert_eq!(seen.counted("keypool_key_grants_total").len(), 100);
        assert_eq!(
            seen.number("keypool_capacity_requests_per_minute{provider=\"gemini\"}"),
            Some(60_000.0)
        );
    }
    let now = || keypool::clock::Clock::System.now().at;
    let times: Vec<Duration> = (0..10)
        .map(|_| {
            let begun = now();
            over_tcp(address, "GET /metrics", "Host: localhost\n");
            now().since(begun)
        })
        .collect();
    println!("a scrape of 1,000 keys took {:?} at best", times.iter().min().unwrap());
}

//! What is shown of keys.

use super::*;

#[test]
fn quota_is_shown_as_the_pool_counts_it() {
    let keys = [
        ("a", r#""rpm": 10, "tpm": 1000, "rpd": 5, "max_concurrent": 4, "quota_group": "g""#),
        ("b", r#""rpm": 10, "tpm": 1000, "rpd": 5, "max_concurrent": 4, "quota_group": "g""#),
        ("c", ""),
    ];
    let daemon =
        TestDaemon::of(&keys_json(&keys).replacen('{', "{\"quota_warning_threshold\": 0.5,", 1));
    for _ in 0..3 {
        daemon.select(&json!({"exclude": ["c"], "tokens": 100}));
    }
    let seen = scrape(&daemon);
    for key in ["a", "b"] {
        let of = |name: &str, limit: &str| {
            let series = format!(
                "keypool_quota_{name}{{key_id=\"{key}\",provider=\"gemini\",limit=\"{limit}\"}}"
            );
            seen.number(&series)
        };
        for (limit, most, left, used) in [
            ("rpm", 10.0, 7.0, 0.3),
            ("tpm", 1000.0, 700.0, 0.3),
            ("rpd", 5.0, 2.0, 0.6),
            ("concurrency", 4.0, 1.0, 0.75),
        ] {
            assert_eq!(of("limit", limit), Some(most), "{key} {limit}");
            assert_eq!(of("remaining", limit), Some(left), "{key} {limit}");
            assert_eq!(of("used_ratio", limit), Some(used), "{key} {limit}");
        }
        // The clock stands at noon of the first of January, and Pacific midnight is at 8 UTC.
        assert_eq!(of("resets_timestamp_seconds", "rpd"), Some(1_767_340_800.0));
        assert_eq!(of("resets_timestamp_seconds", "rpm"), None);
        let info = format!(
            "keypool_key_info{{key_id=\"{key}\",provider=\"gemini\",model=\"*\",group_key_id=\"a\"}}"
        );
        assert_eq!(seen.number(&info), Some(1.0));
    }
    assert_eq!(seen.number("keypool_quota_warning_threshold_ratio"), Some(0.5));
    let warnings = seen.counted("keypool_quota_warnings_total");
    assert!(matches!(warnings[..], [(_, 1.0)]), "one key crossed one threshold: {warnings:?}");
    assert!(!seen.mentions("keypool_quota_limit{key_id=\"c\""));
    assert!(!seen.mentions("keypool_capacity_requests_per_minute"), "c has no limit");
}

#[test]
fn capacity_falls_with_the_keys() {
    let keys =
        [("a", r#""rpm": 15, "model_name": "m""#), ("b", r#""rpm": 60, "model_name": ["m", "n"]"#)];
    let daemon = TestDaemon::of(&keys_json(&keys));
    let lease = daemon.select(&json!({"model": "n"}));
    daemon.report(&lease, "auth_failed");
    let seen = scrape(&daemon);
    let of = |series: &str| seen.number(&format!("keypool_{series}}}"));
    assert_eq!(of("capacity_requests_per_minute{provider=\"gemini\""), Some(75.0));
    assert_eq!(of("capacity_ready_requests_per_minute{provider=\"gemini\""), Some(15.0));
    let model = |name: &str| format!("requests_per_minute{{provider=\"gemini\",model=\"{name}\"");
    assert_eq!(of(&format!("model_capacity_{}", model("m"))), Some(75.0));
    assert_eq!(of(&format!("model_capacity_{}", model("n"))), Some(60.0));
    assert_eq!(of(&format!("model_capacity_ready_{}", model("m"))), Some(15.0));
    assert_eq!(of(&format!("model_capacity_ready_{}", model("n"))), Some(0.0));
}

#[test]
fn series_of_removed_keys_disappear_at_once_and_the_counters_of_others_stay() {
    let keys = [("a", ""), ("b", r#""provider": "openai""#)];
    let daemon = TestDaemon::of(&keys_json(&keys));
    for provider in ["gemini", "openai"] {
        let lease = daemon.select(&json!({"provider": provider}));
        daemon.report(&lease, "success");
    }
    let reload = |keys: &[(&str, &str)]| {
        fs::write(daemon.path("keys.json"), keys_json(keys)).unwrap();
        let answer = daemon.post("/v1/reload", &json!({}));
        assert_eq!(answer.json()["result"], "applied", "{}", answer.body);
        scrape(&daemon)
    };
    let held = daemon.select(&json!({"provider": "openai"}));
    let seen = reload(&keys[..1]);
    assert!(!seen.mentions("key_id=\"b\"") && !seen.mentions("openai"), "{}", seen.text);
    assert_eq!(
        seen.number("keypool_key_grants_total{key_id=\"a\",provider=\"gemini\"}"),
        Some(1.0)
    );
    daemon.report(&held, "success");
    assert!(!scrape(&daemon).mentions("key_id=\"b\""), "not for a late report either");
    let seen = reload(&[("a", ""), ("c", r#""rpm": 5"#)]);
    assert_eq!(
        seen.number("keypool_key_grants_total{key_id=\"c\",provider=\"gemini\"}"),
        Some(0.0)
    );
    assert_eq!(
        seen.number("keypool_key_grants_total{key_id=\"a\",provider=\"gemini\"}"),
        Some(1.0)
    );
}

#[test]
fn probes_are_counted_and_shown_by_key() {
    let provider = FakeProvider::start(Manner::Honest);
    provider.reject("fake-secret-b");
    let toml = format!(
        "[probe]\nallow_private = true\n[providers.gemini]\nbase_url = \"{}\"",
        provider.url()
    );
    let daemon = TestDaemon::with(&keys_json(&[("a", ""), ("b", "")]), &toml);
    until("both keys are probed", || {
        daemon.pass(Duration::from_secs(5));
        scrape(&daemon).counted("keypool_probes_total").len() == 2
    });
    let seen = scrape(&daemon);
    assert_eq!(seen.number("keypool_probe_success{key_id=\"a\",provider=\"gemini\"}"), Some(1.0));
    assert_eq!(seen.number("keypool_probe_success{key_id=\"b\",provider=\"gemini\"}"), Some(0.0));
    assert!(
        seen.number("keypool_probe_duration_seconds{key_id=\"a\",provider=\"gemini\"}").is_some()
    );
}

#[test]
fn an_open_breaker_is_shown_and_is_no_want_of_quota() {
    let daemon = TestDaemon::of(&keys_json(&[("a", ""), ("b", ""), ("c", "")]));
    for key in ["a", "b", "c"] {
        let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|other| *other != key).collect();
        let lease = daemon.select(&json!({"exclude": others}));
        daemon.report(&lease, "server_error");
    }
    assert_eq!(daemon.post("/v1/select", &json!({})).code(), "provider_unavailable");
    let seen = scrape(&daemon);
    assert_eq!(seen.number("keypool_provider_breaker_open{provider=\"gemini\"}"), Some(1.0));
    assert_eq!(seen.number("keypool_selects_total{result=\"no_usable_key\"}"), Some(1.0));
}

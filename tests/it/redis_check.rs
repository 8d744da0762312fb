//! `keypool check` of the Redis that limits are shared through.

use std::process::Output;

use serde_json::Value;

use crate::command::{code, out};
use crate::probes::check_online;
use crate::redis::Redis;

/// A key that nobody asks about.
const KEYS: [(&str, &str); 1] = [("x", r#""provider": "other""#)];

fn check(url: &str, toml: &str, more: &[&str]) -> Output {
    let variables = [("OTHER_KEY_x", "fake-secret-x"), ("REDIS_URL", url)];
    let output = check_online(&KEYS, toml, &variables, more);
    let told = out(&output);
    assert!(!told.contains("fake-word"), "{told}");
    output
}

/// What is shown of a Redis at `url`, where the settings are valid.
fn screen(url: &str) -> String {
    let output = check(url, "state_dir = \"state\"\n", &[]);
    assert_eq!(code(&output), 0, "{}", out(&output));
    out(&output)
}

#[test]
fn a_redis_that_has_what_sharing_needs_is_told_and_nothing_stays_in_it() {
    let redis = Redis::of("redis-server", &[], false);
    let told = screen(&redis.url());
    assert!(told.contains("\nRedis\n  Redis 7."), "{told}");
    assert!(told.contains("(REDIS_URL); pool default; while it is away: owned"), "{told}");
    assert!(!told.contains("warning:"), "{told}");
    assert_eq!(redis.ask(&["KEYS", "*"]), "");
    let json = out(&check(&redis.url(), "", &["--json"]));
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&report["redis"]["reached"], &report["redis"]["kind"]),
        (&true.into(), &"single".into())
    );
}

#[test]
fn a_redis_that_forgets_or_takes_no_writes_is_warned_about() {
    let redis = Redis::of(
        "redis-server",
        &["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"],
        false,
    );
    let told = screen(&redis.url());
    assert!(told.contains("its maxmemory-policy is allkeys-lru"), "{told}");
    assert!(
        told.contains("-> have it refuse instead: CONFIG SET maxmemory-policy noeviction"),
        "{told}"
    );
    redis.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    let told = screen(&redis.url());
    assert!(told.contains("Redis (REDIS_URL) is a replica, which takes no writes"), "{told}");
}

#[test]
fn rights_that_a_user_lacks_are_named() {
    let redis = Redis::of("redis-server", &[], false);
    let url = format!("{}?user=keypool&pass=fake-word", redis.url());
    assert!(screen(&url).contains("user or password refused"), "{}", screen(&url));
    let rights = "ACL SETUSER keypool on >fake-word ~other:* -@all +info +time +hget";
    redis.ask(&rights.split(' ').collect::<Vec<_>>());
    let told = screen(&url);
    assert!(told.contains("may not use SCRIPT LOAD, EVALSHA, HSET, PEXPIRE, HGETALL"), "{told}");
    assert!(told.contains("-> allow it: ACL SETUSER … +script|load +evalsha +hset"), "{told}");
    assert!(told.contains("-> allow it: ACL SETUSER … ~keypool:*"), "{told}");
}

#[test]
fn a_redis_that_is_not_there_is_told_in_time_and_is_no_error_of_the_configuration() {
    let toml = "[shared]\nredis_timeout = \"200ms\"\n";
    for url in ["redis://:fake-word@127.0.0.1:1/", "redis+unix:///nowhere/redis.sock"] {
        let output = check(url, toml, &[]);
        let told = out(&output);
        assert_eq!(code(&output), 0, "{told}");
        assert!(told.contains("Redis (REDIS_URL) cannot be used: no connection"), "{told}");
        assert!(told.contains("NOT REACHED"), "{told}");
    }
}

#[test]
fn an_address_that_is_none_is_an_error_that_does_not_tell_it() {
    let output = check("reddis://u:fake-word@127.0.0.1/", "", &[]);
    let told = out(&output);
    assert_eq!(code(&output), 78, "{told}");
    assert!(told.contains("REDIS_URL: expected a URL such as redis://"), "{told}");
    assert!(told.contains("did you mean redis"), "{told}");
    let output = check("redis://127.0.0.1/", "[shared]\non_failure = \"ownd\"\n", &[]);
    assert!(out(&output).contains("did you mean owned?"), "{}", out(&output));
}

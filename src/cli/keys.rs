//! `keypool keys`

use serde_json::Value;

use super::Screen;
use super::client::{Client, ClientError};
use super::members::{items, models, number, others, time, words};
use super::table::{Table, aligned, printable};
use super::units::{count, counted};
use crate::pool::{KeyId, WallTime};

/// Show every key with its state and quota, or everything about one key
#[derive(Clone, Debug, clap::Args)]
pub struct KeysArgs {
    /// The key to show everything about
    #[arg(value_name = "KEY", value_parser = key_id)]
    pub key: Option<KeyId>,
}

/// A `key_id` that was typed.
pub(super) fn key_id(text: &str) -> Result<KeyId, &'static str> {
    KeyId::parse(text).ok_or("a key id has 1 to 64 characters of A-Z a-z 0-9 _ . -")
}

/// Runs `keypool keys`.
pub async fn keys(
    args: &KeysArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    if let Some(key) = &args.key {
        let answer = client.ask(&format!("/v1/keys/{key}")).await;
        let answer = answer.map_err(|error| error.near([key.as_str()]))?;
        return screen.show(&answer, one);
    }
    let answer = client.ask("/v1/keys").await?;
    screen.show(&answer, |answer, now| table(items(&answer["keys"]), now))
}

fn table(keys: &[Value], now: WallTime) -> String {
    if keys.is_empty() {
        return "no keys".to_owned();
    }
    let mut table = Table::new([
        "KEY",
        "PROVIDER",
        "MODEL",
        "PRIORITY>",
        "STATE",
        "UNTIL",
        "BACKOFF>",
        "RPM>",
        "TPM>",
        "RPD>",
        "IN FLIGHT>",
        "OK>",
        "FAILED>",
        "LAST USED",
        "REASON",
    ]);
    for key in keys {
        table.row([
            words(&key["key_id"]),
            words(&key["provider"]),
            models(&key["model"]),
            number(&key["priority"]),
            state(key),
            time(&key["until"], now),
            level(key).map(|level| level.to_string()).unwrap_or_default(),
            used(&key["quota"]["rpm"]),
            used(&key["quota"]["tpm"]),
            used(&key["quota"]["rpd"]),
            in_flight(key),
            number(&key["success_count"]),
            number(&key["error_count"]),
            time(&key["last_used"], now),
            words(&key["reason"]),
        ]);
    }
    table.render()
}

/// The members that have a place of their own on the screen of one key.
const SHOWN: [&str; 21] = [
    "key_id",
    "provider",
    "model",
    "priority",
    "workload_type",
    "tags",
    "quota_group",
    "state",
    "reason",
    "until",
    "half_open",
    "backoff_level",
    "quota",
    "in_flight",
    "grants",
    "success_count",
    "error_count",
    "tokens",
    "last_used",
    "last_error",
    "consecutive_failures",
];

/// Everything about one key, its state first.
fn one(key: &Value, now: WallTime) -> String {
    let row = |title: &str, text: String| (title.to_owned(), text);
    let limits = key["quota"].as_object().into_iter().flatten();
    let error = &key["last_error"];
    let mut rows = vec![
        row("provider", words(&key["provider"])),
        row("model", models(&key["model"])),
        row("priority", number(&key["priority"])),
        row("workload", words(&key["workload_type"])),
        row("tags", tags(&key["tags"])),
        row("quota group", words(&key["quota_group"])),
    ];
    rows.extend(limits.map(|(name, quota)| row(name, limit(quota, now))));
    rows.extend([
        row("in flight", number(&key["in_flight"])),
        row("backoff", backoff(key)),
        row("served", served(key)),
        row("last used", time(&key["last_used"], now)),
        row("last error", joined([words(&error["error"]), time(&error["time"], now)])),
        row("failures", failures(&key["consecutive_failures"])),
    ]);
    rows.retain(|(_, text)| !text.is_empty());
    rows.extend(others(key, &SHOWN));
    format!("{}\n{}", verdict(key, now), aligned(&rows))
}

/// The key with its state, when that ends and why it is so.
fn verdict(key: &Value, now: WallTime) -> String {
    let until = match (key["until"].as_str(), time(&key["until"], now)) {
        (Some(until), relative) if !relative.is_empty() => format!(" until {until} ({relative})"),
        (Some(_) | None, _) => String::new(),
    };
    let reason = match words(&key["reason"]) {
        reason if reason.is_empty() => reason,
        reason => format!(": {reason}"),
    };
    printable(&format!("{} is {}{until}{reason}", words(&key["key_id"]), state(key)))
}

/// The state. A ready key that is on trial is half-open.
fn state(key: &Value) -> String {
    match (words(&key["state"]), key["half_open"] == true) {
        (state, true) if state == "ready" => "half-open".to_owned(),
        (state, _) => state,
    }
}

/// How often the key's cooldown has doubled, if it has.
fn level(key: &Value) -> Option<u64> {
    key["backoff_level"].as_u64().filter(|level| *level > 0)
}

fn backoff(key: &Value) -> String {
    let level = level(key).map_or_else(String::new, |level| format!("level {level}"));
    let trial = if key["half_open"] == true { "one trial at a time until a success" } else { "" };
    joined([level, trial.to_owned()])
}

fn limit(quota: &Value, now: WallTime) -> String {
    let [used, of, left] = ["used", "limit", "remaining"].map(|name| number(&quota[name]));
    let resets = match time(&quota["resets_at"], now) {
        resets if resets.is_empty() => resets,
        resets => format!("resets {resets}"),
    };
    joined([format!("{used} of {of} used"), format!("{left} left"), resets])
}

fn served(key: &Value) -> String {
    let [ok, failed, tokens] =
        ["success_count", "error_count", "tokens"].map(|name| number(&key[name]));
    let grants = key["grants"].as_u64().map_or_else(String::new, |n| counted(n, "grant"));
    format!("{grants}: {ok} ok, {failed} failed, {tokens} tokens")
}

fn failures(in_a_row: &Value) -> String {
    let in_a_row = in_a_row.as_u64().filter(|count| *count > 0);
    in_a_row.map_or_else(String::new, |count| format!("{count} in a row"))
}

fn tags(tags: &Value) -> String {
    let tags = tags.as_object().into_iter().flatten();
    let tags: Vec<_> = tags.map(|(name, value)| format!("{name}={}", words(value))).collect();
    tags.join(", ")
}

fn joined<const N: usize>(parts: [String; N]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// How much of a limit is used: `12/15`.
fn used(limit: &Value) -> String {
    match (limit["used"].as_u64(), limit["limit"].as_u64()) {
        (Some(used), Some(limit)) => format!("{}/{}", count(used), count(limit)),
        (None, _) | (_, None) => String::new(),
    }
}

/// The requests in flight, with their limit if they have one.
fn in_flight(key: &Value) -> String {
    let limited = used(&key["quota"]["concurrency"]);
    if limited.is_empty() { number(&key["in_flight"]) } else { limited }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{Daemon, shown};

    const KEYS: &str = r#"{"keys":[
        {"key_id":"flash_01","provider":"gemini","model":["gemini-2.0-flash"],"priority":3,"state":"ready","until":null,
         "quota":{"rpm":{"limit":15,"used":12,"remaining":3},"tpm":{"limit":1000000,"used":25400}},"in_flight":1,
         "success_count":40,"error_count":2,"last_used":"2026-11-21T11:59:57Z"},
        {"key_id":"pro_01","provider":"gemini","model":"gemini-pro","state":"cooling","until":"2026-11-21T12:00:30Z",
         "reason":"429 RESOURCE_EXHAUSTED","quota":{"concurrency":{"limit":4,"used":0}}},{}]}"#;

    fn screen(json: bool, key: Option<&str>, answer: &str) -> (String, String) {
        let daemon = Daemon::answering(answer);
        let args = KeysArgs { key: key.and_then(KeyId::parse) };
        let screen = shown(json, async |screen| keys(&args, &daemon.client, screen).await);
        (screen, daemon.request())
    }

    #[test]
    fn people_get_a_table() {
        let (screen, request) = screen(false, None, KEYS);
        assert!(request.starts_with("GET /v1/keys HTTP/1.1\r\n"));
        assert_eq!(
            screen,
            "KEY       PROVIDER  MODEL             PRIORITY  STATE    UNTIL      RPM       TPM  IN FLIGHT  OK  FAILED  LAST USED  REASON\n\
             flash_01  gemini    gemini-2.0-flash         3  ready             12/15  25.4k/1M          1  40       2  3 s ago\n\
             pro_01    gemini    gemini-pro                  cooling  in 30 s                         0/4                         429 RESOURCE_EXHAUSTED\n"
        );
    }

    const PRO: &str = r#"{"key_id":"pro_01","provider":"gemini","model":["gemini-2.5-pro"],"priority":1,"workload_type":"heavy",
        "tags":{"region":"us-east","tier":"1"},"quota_group":null,"state":"cooling","reason":"rate_limited","until":"2026-11-21T12:00:20.1Z",
        "half_open":false,"backoff_level":2,"quota":{"rpd":{"limit":50000,"used":1,"remaining":49999,"resets_at":"2026-11-21T20:00:00Z"},
        "rpm":{"limit":60,"used":0,"remaining":60,"resets_at":null}},"in_flight":1,"grants":4,"success_count":1,"error_count":2,
        "tokens":1234,"last_used":"2026-11-21T11:59:57Z","last_error":{"time":"2026-11-21T11:59:58Z","error":"rate_limited"},
        "consecutive_failures":2}"#;

    #[test]
    fn one_key_is_shown_in_full() {
        let (screen, request) = screen(false, Some("pro_01"), PRO);
        assert!(request.starts_with("GET /v1/keys/pro_01 HTTP/1.1\r\n"));
        assert_eq!(
            screen,
            "pro_01 is cooling until 2026-11-21T12:00:20.1Z (in 21 s): rate_limited\n\
             provider    gemini\n\
             model       gemini-2.5-pro\n\
             priority    1\n\
             workload    heavy\n\
             tags        region=us-east, tier=1\n\
             rpd         1 of 50k used, 49.9k left, resets in 8 h\n\
             rpm         0 of 60 used, 60 left\n\
             in flight   1\n\
             backoff     level 2\n\
             served      4 grants: 1 ok, 2 failed, 1234 tokens\n\
             last used   3 s ago\n\
             last error  rate_limited, 2 s ago\n\
             failures    2 in a row\n"
        );
    }

    #[test]
    fn a_key_on_trial_is_half_open() {
        let key = serde_json::json!({"key_id": "a", "state": "ready", "half_open": true,
            "backoff_level": 1, "next_probe": "soon"});
        let screen = one(&key, WallTime::default());
        assert!(screen.starts_with("a is half-open\n"), "{screen}");
        assert!(screen.contains("level 1, one trial at a time until a success\n"), "{screen}");
        assert!(screen.ends_with("next probe  soon\n"), "{screen}");
        assert_eq!(
            table(&[key], WallTime::default()),
            "KEY  STATE      BACKOFF\na    half-open        1\n"
        );
    }

    #[test]
    fn programs_get_the_json_as_it_came() {
        assert_eq!(screen(true, None, KEYS).0, format!("{KEYS}\n"));
    }

    #[test]
    fn a_daemon_without_keys_says_so() {
        assert_eq!(screen(false, None, r#"{"keys":[]}"#).0, "no keys\n");
    }

    #[test]
    fn a_key_id_that_is_none_is_wrong_usage() {
        assert!(key_id("a/b").is_err());
        assert!(key_id("flash_01").is_ok());
    }
}

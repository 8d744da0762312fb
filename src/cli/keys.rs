//! `keypool keys`

use serde_json::Value;

use super::client::{Client, ClientError};
use super::table::Table;
use super::units::{count, relative};
use super::{Screen, fields};
use crate::pool::{KeyId, WallTime};

/// Shows every key with its state and what is used of its quota, or everything about one key.
#[derive(Clone, Debug, clap::Args)]
pub struct KeysArgs {
    /// The key to show everything about
    #[arg(value_name = "KEY", value_parser = key_id)]
    pub key: Option<KeyId>,
}

fn key_id(text: &str) -> Result<KeyId, &'static str> {
    KeyId::parse(text).ok_or("a key id has 1 to 64 characters of A-Z a-z 0-9 _ . -")
}

/// Runs `keypool keys`.
pub async fn keys(
    args: &KeysArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    if let Some(key) = &args.key {
        let answer = client.ask(&format!("/v1/keys/{key}")).await?;
        return screen.show(&answer, |key, now| fields::list(key, &FIRST, now));
    }
    let answer = client.ask("/v1/keys").await?;
    screen.show(&answer, |answer, now| {
        table(answer["keys"].as_array().map_or(&[], Vec::as_slice), now)
    })
}

/// What is asked for most stands first.
const FIRST: [&str; 7] =
    ["key_id", "provider", "model", "priority", "quota_group", "state", "reason"];

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
        let time = |member: &str| key[member].as_str().and_then(|time| relative(time, now));
        table.row([
            words(&key["key_id"]),
            words(&key["provider"]),
            words(&key["model"]),
            number(&key["priority"]),
            words(&key["state"]),
            time("until").unwrap_or_default(),
            used(&key["quota"]["rpm"]),
            used(&key["quota"]["tpm"]),
            used(&key["quota"]["rpd"]),
            in_flight(key),
            number(&key["success_count"]),
            number(&key["error_count"]),
            time("last_used").unwrap_or_default(),
            words(&key["reason"]),
        ]);
    }
    table.render()
}

/// A word, or several.
fn words(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn number(value: &Value) -> String {
    value.as_u64().map(count).unwrap_or_default()
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

    #[test]
    fn one_key_is_shown_in_full() {
        let (screen, request) =
            screen(false, Some("pro_01"), r#"{"state":"dead","key_id":"pro_01"}"#);
        assert!(request.starts_with("GET /v1/keys/pro_01 HTTP/1.1\r\n"));
        assert_eq!(screen, "key id  pro_01\nstate   dead\n");
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

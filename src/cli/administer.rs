//! `keypool probe`, `clear`, `enable`, `disable` and `remove`: what is done to one key.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::Screen;
use super::client::{Answer, Client, ClientError};
use super::keys::key_id;
use super::members::words;
use super::reload::{READING, sentences, texts};
use super::table::printable;
use crate::pool::KeyId;

/// The arguments of `keypool probe`.
#[derive(Clone, Debug, clap::Args)]
pub struct ProbeArgs {
    /// The key to ask about.
    #[arg(value_name = "KEY", value_parser = key_id)]
    pub key: KeyId,
}

/// The arguments of `keypool clear`.
#[derive(Clone, Debug, clap::Args)]
pub struct ClearArgs {
    /// The key whose failures are forgotten.
    #[arg(value_name = "KEY", value_parser = key_id)]
    pub key: KeyId,
}

/// The arguments of `keypool enable`.
#[derive(Clone, Debug, clap::Args)]
pub struct EnableArgs {
    /// The key to put back in service.
    #[arg(value_name = "KEY", value_parser = key_id)]
    pub key: KeyId,
}

/// The arguments of `keypool disable`.
#[derive(Clone, Debug, clap::Args)]
pub struct DisableArgs {
    /// The key to take out of service.
    #[arg(value_name = "KEY", value_parser = key_id)]
    pub key: KeyId,
}

/// The arguments of `keypool remove`.
#[derive(Clone, Debug, clap::Args)]
pub struct RemoveArgs {
    /// The key to remove.
    #[arg(value_name = "KEY", value_parser = key_id)]
    pub key: KeyId,
}

/// How much longer than another request a probe may take: `probe.timeout`, and its turn.
const PROBING: Duration = Duration::from_mins(1);

/// Runs `keypool probe`.
pub async fn probe(
    ProbeArgs { key }: &ProbeArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    let answer = client.send(&format!("/v1/keys/{key}/probe"), &json!({}), PROBING).await;
    let answer = answer.map_err(|error| error.near([key.as_str()]))?;
    let accepted = answer.json()["result"] == "accepted";
    screen.show(&answer, |verdict, _| verdict_in_words(verdict))?;
    if accepted { Ok(()) } else { Err(ClientError::NotAccepted(key.clone())) }
}

/// Runs `keypool clear`.
pub async fn clear(
    ClearArgs { key }: &ClearArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    let answer = client.send(&format!("/v1/keys/{key}/clear"), &json!({}), Duration::ZERO).await;
    let answer = answer.map_err(|error| error.near([key.as_str()]))?;
    screen.show(&answer, |view, _| printable(&format!("{key}: {}", words(&view["state"]))))
}

/// Runs `keypool enable`.
pub async fn enable(
    EnableArgs { key }: &EnableArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    edit(Method::PATCH, key, &json!({"active": true}), client, screen).await
}

/// Runs `keypool disable`.
pub async fn disable(
    DisableArgs { key }: &DisableArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    edit(Method::PATCH, key, &json!({"active": false}), client, screen).await
}

/// Runs `keypool remove`.
pub async fn remove(
    RemoveArgs { key }: &RemoveArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    edit(Method::DELETE, key, &json!({}), client, screen).await
}

async fn edit(
    method: Method,
    key: &KeyId,
    body: &Value,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    let answer = client.send_as(method, &format!("/v1/keys/{key}"), body, READING).await;
    edited(&answer.map_err(|error| error.near([key.as_str()]))?, screen)
}

/// Shows what came of a change of keys.json. What is written and not in use is a failure.
pub(super) fn edited(answer: &Answer, screen: &mut Screen<'_>) -> Result<(), ClientError> {
    let kept = answer.json()["result"] == "kept";
    if screen.json || !kept {
        screen.show(answer, |outcome, _| {
            let state = outcome["key"]["state"].as_str();
            let key = state.map(|state| format!("{}: {state}", words(&outcome["key_id"])));
            let lines = [Some(sentences(outcome)), key.map(|line| printable(&line))];
            lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
        })?;
    }
    let errors = texts(&answer.json()["errors"]);
    if kept { Err(ClientError::NotTaken { errors }) } else { Ok(()) }
}

fn verdict_in_words(verdict: &Value) -> String {
    let told = match verdict["result"].as_str() {
        Some("accepted") => "the provider accepts the key",
        Some("rejected") => "the provider does not accept the key",
        Some("unknown") => "the answer says nothing about the key",
        Some("not_reached") => "the provider was not reached",
        Some(_) | None => "?",
    };
    let detail = verdict["detail"].as_str().map(|detail| format!(" ({detail})"));
    let state = words(&verdict["state"]);
    printable(&format!(
        "{}: {told}{}; {state}",
        words(&verdict["key_id"]),
        detail.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{Daemon, block_on, shown};
    use crate::pool::WallTime;

    fn key() -> KeyId {
        KeyId::parse("flash_01").unwrap()
    }

    #[test]
    fn a_key_is_enabled_disabled_and_removed_by_its_entry() {
        let applied = r#"{"key_id":"flash_01","result":"applied","changed":["flash_01"],"key":{"state":"inactive"}}"#;
        let daemon = Daemon::answering(applied);
        let told = shown(false, async |screen| {
            disable(&DisableArgs { key: key() }, &daemon.client, screen).await
        });
        assert_eq!(told, "applied\nchanged: flash_01\nflash_01: inactive\n");
        let request = daemon.request();
        assert!(request.starts_with("PATCH /v1/keys/flash_01 HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with("{\"active\":false}"), "{request}");

        let daemon = Daemon::answering(applied);
        shown(true, async |screen| {
            enable(&EnableArgs { key: key() }, &daemon.client, screen).await
        });
        assert_eq!(daemon.request_body(), json!({"active": true}));

        let daemon = Daemon::answering(r#"{"result":"applied","removed":["flash_01"],"key":null}"#);
        let told = shown(false, async |screen| {
            remove(&RemoveArgs { key: key() }, &daemon.client, screen).await
        });
        assert_eq!(told, "applied\nremoved: flash_01\n");
        assert!(daemon.request().starts_with("DELETE /v1/keys/flash_01 HTTP/1.1\r\n"));
    }

    #[test]
    fn what_is_written_and_not_in_use_is_a_failure() {
        let daemon = Daemon::answering(r#"{"result":"kept","errors":["keypool.toml:1:1: x"]}"#);
        let mut out = Vec::new();
        let mut screen = Screen { out: &mut out, json: false, now: WallTime::default() };
        let args = RemoveArgs { key: key() };
        let error = block_on(remove(&args, &daemon.client, &mut screen)).unwrap_err();
        assert!(error.to_string().contains("keypool.toml:1:1: x"));
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn a_probe_is_told_and_fails_unless_the_key_is_accepted() {
        let answers = [
            ("accepted", "null", "flash_01: the provider accepts the key; ready\n", None),
            (
                "rejected",
                "\"401\"",
                "flash_01: the provider does not accept the key (401); ready\n",
                Some("the provider does not accept flash_01, or cannot be asked"),
            ),
        ];
        for (result, detail, told, failed) in answers {
            let daemon = Daemon::answering(&format!(
                "{{\"key_id\":\"flash_01\",\"result\":\"{result}\",\"detail\":{detail},\"state\":\"ready\"}}"
            ));
            let mut out = Vec::new();
            let mut screen = Screen { out: &mut out, json: false, now: WallTime::default() };
            let args = ProbeArgs { key: key() };
            let outcome = block_on(probe(&args, &daemon.client, &mut screen));
            assert_eq!(String::from_utf8(out).unwrap(), told);
            assert_eq!(outcome.err().map(|error| error.to_string()).as_deref(), failed);
        }
    }

    #[test]
    fn a_key_whose_failures_are_forgotten_is_told_with_its_state() {
        let daemon = Daemon::answering(r#"{"key_id":"flash_01","state":"ready"}"#);
        let told = shown(false, async |screen| {
            clear(&ClearArgs { key: key() }, &daemon.client, screen).await
        });
        assert_eq!(told, "flash_01: ready\n");
        assert!(daemon.request().starts_with("POST /v1/keys/flash_01/clear HTTP/1.1\r\n"));
    }
}

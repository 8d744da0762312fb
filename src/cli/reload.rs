//! `keypool reload`

use std::time::Duration;

use serde_json::{Value, json};

use super::Screen;
use super::client::{Client, ClientError};
use super::table::printable;

/// Has the daemon read the keys, the settings and the secrets anew. Changed files are read without
/// this within two seconds; this says what came of it. Only for administrators: the daemon's own
/// user, root, and members of the group of administrators.
#[derive(Clone, Debug, clap::Args)]
pub struct ReloadArgs {}

/// How much longer than another request a reload may take: it reads files.
pub(super) const READING: Duration = Duration::from_secs(20);

/// Runs `keypool reload`.
pub async fn reload(
    ReloadArgs {}: &ReloadArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    let answer = client.send("/v1/reload", &json!({}), READING).await?;
    let kept = answer.json()["result"] == "kept";
    let errors = texts(&answer.json()["errors"]);
    if screen.json || !kept {
        screen.show(&answer, |outcome, _| sentences(outcome))?;
    }
    if kept { Err(ClientError::NotTaken { errors }) } else { Ok(()) }
}

/// What came of it, for people.
pub(super) fn sentences(outcome: &Value) -> String {
    let mut lines = vec![match outcome["result"].as_str() {
        Some("unchanged") => "unchanged: everything reads as before".to_owned(),
        Some("applied") => "applied".to_owned(),
        Some("needs_restart") => "nothing has changed that a reload can change".to_owned(),
        other => other.unwrap_or("?").to_owned(),
    }];
    for member in ["added", "removed", "changed"] {
        let keys = texts(&outcome[member]);
        if !keys.is_empty() {
            lines.push(format!("{member}: {}", keys.join(", ")));
        }
    }
    let restart = texts(&outcome["needs_restart"]);
    if !restart.is_empty() {
        lines.push(format!("in use only after a restart: {}", restart.join(", ")));
    }
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

pub(super) fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{Daemon, block_on, shown};
    use crate::pool::WallTime;

    fn screen(answer: &str) -> String {
        let daemon = Daemon::answering(answer);
        shown(false, async |screen| reload(&ReloadArgs {}, &daemon.client, screen).await)
    }

    #[test]
    fn people_are_told_which_keys_came_went_and_changed() {
        let applied = r#"{"result":"applied","added":["a","b"],"removed":[],"changed":["c"],"errors":[],"needs_restart":["socket"]}"#;
        assert_eq!(
            screen(applied),
            "applied\nadded: a, b\nchanged: c\nin use only after a restart: socket\n"
        );
        assert_eq!(screen(r#"{"result":"unchanged"}"#), "unchanged: everything reads as before\n");
    }

    #[test]
    fn a_configuration_that_is_not_taken_is_a_failure_with_every_error() {
        let kept = r#"{"result":"kept","errors":["keys.json:1:1: x","keys.json:2:1: y"]}"#;
        for (json, shown) in [(false, String::new()), (true, format!("{kept}\n"))] {
            let daemon = Daemon::answering(kept);
            let mut out = Vec::new();
            let mut screen = Screen { out: &mut out, json, now: WallTime::default() };
            let error = block_on(reload(&ReloadArgs {}, &daemon.client, &mut screen)).unwrap_err();
            assert_eq!(error.exit_code(), 1);
            let told = error.to_string();
            assert!(told.contains("keys.json:1:1: x") && told.contains("keys.json:2:1: y"));
            assert_eq!(String::from_utf8(out).unwrap(), shown);
        }
    }
}

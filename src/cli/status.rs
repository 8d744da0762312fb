//! `keypool status`

use super::Screen;
use super::client::{Client, ClientError};
use super::fields;

/// Shows how the daemon is: rotation and why, keys by state, the last reload, its version.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {}

/// What is asked for most stands first.
const FIRST: [&str; 8] = [
    "rotation",
    "rotation_reason",
    "reason",
    "strategy",
    "last_key",
    "keys",
    "keys_by_state",
    "capacity",
];

/// Runs `keypool status`.
pub async fn status(
    StatusArgs {}: &StatusArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    let answer = client.ask("/v1/status").await?;
    screen.show(&answer, |status, now| fields::list(status, &FIRST, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{Daemon, shown};

    const STATUS: &str = r#"{"version":"0.1.0","rotation":"on","reason":"8 keys in keys.json","keys":{"ready":7,"cooling":1},"uptime_seconds":90}"#;

    fn screen(json: bool) -> String {
        let daemon = Daemon::answering(STATUS);
        shown(json, async |screen| status(&StatusArgs {}, &daemon.client, screen).await)
    }

    #[test]
    fn people_get_a_list() {
        assert_eq!(
            screen(false),
            "rotation      on\n\
             reason        8 keys in keys.json\n\
             keys cooling  1\n\
             keys ready    7\n\
             uptime        1 min 30 s\n\
             version       0.1.0\n"
        );
    }

    #[test]
    fn programs_get_the_json_as_it_came() {
        assert_eq!(screen(true), format!("{STATUS}\n"));
    }
}

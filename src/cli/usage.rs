//! `keypool usage`

use super::client::{Client, ClientError};
use super::{Screen, fields};

/// Shows what was used, by key and by model: since the start and today.
#[derive(Clone, Debug, clap::Args)]
pub struct UsageArgs {}

/// What a row is about stands first.
const FIRST: [&str; 3] = ["key_id", "model", "provider"];

/// Runs `keypool usage`.
pub async fn usage(
    UsageArgs {}: &UsageArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    let answer = client.ask("/v1/usage").await?;
    screen.show(&answer, |usage, now| {
        let table = |rows: &str| match usage[rows].as_array() {
            Some(rows) if !rows.is_empty() => fields::table(rows, &FIRST, now),
            Some(_) | None => format!("no {rows}\n"),
        };
        format!("{}\n{}", table("keys"), table("models"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{Daemon, shown};

    const USAGE: &str =
        r#"{"keys":[{"day":{"requests":3},"key_id":"flash_01","success_rate":0.75}],"models":[]}"#;

    fn screen(json: bool) -> String {
        let daemon = Daemon::answering(USAGE);
        shown(json, async |screen| usage(&UsageArgs {}, &daemon.client, screen).await)
    }

    #[test]
    fn people_get_a_table_of_keys_and_one_of_models() {
        assert_eq!(
            screen(false),
            "KEY ID    DAY REQUESTS  SUCCESS RATE\n\
             flash_01             3        75.0 %\n\
             \n\
             no models\n"
        );
    }

    #[test]
    fn programs_get_the_json_as_it_came() {
        assert_eq!(screen(true), format!("{USAGE}\n"));
    }
}

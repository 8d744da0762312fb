//! `keypool usage`

use serde_json::Value;

use super::Screen;
use super::client::{Client, ClientError};
use super::members::{items, models as names, number, percent, words};
use super::table::Table;

/// Show what each key and model has served
///
/// Counts are since the start, TODAY has the grants of the quota day. FAILED counts every failure,
/// 429 those of them that were a rate limit, EXPIRED the leases that were never reported. RPM USED
/// is the share of the requests of the last minute. --json has the whole of today.
#[derive(Clone, Debug, clap::Args)]
pub struct UsageArgs {}

/// Runs `keypool usage`.
pub async fn usage(
    UsageArgs {}: &UsageArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    let answer = client.ask("/v1/usage").await?;
    screen.show(&answer, |usage, _| text(usage))
}

const COUNTS: [&str; 9] =
    ["GRANTS>", "OK>", "FAILED>", "429>", "EXPIRED>", "TOKENS>", "SUCCESS>", "RPM USED>", "TODAY>"];

fn text(usage: &Value) -> String {
    let (keys, models) = (items(&usage["keys"]), items(&usage["models"]));
    if keys.is_empty() && models.is_empty() {
        return "no keys\n".to_owned();
    }
    let mut of_keys = Table::new(["KEY", "MODEL"].into_iter().chain(COUNTS));
    for key in keys {
        of_keys
            .row([words(&key["key_id"]), first_of(&key["model"])].into_iter().chain(counts(key)));
    }
    let mut of_models = Table::new(["MODEL", "KEYS>"].into_iter().chain(COUNTS));
    for model in models {
        let of = [words(&model["model"]), number(&model["keys"])];
        of_models.row(of.into_iter().chain(counts(model)));
    }
    let tables = [of_keys, of_models];
    let tables = tables.iter().filter(|table| !table.is_empty()).map(Table::render);
    tables.collect::<Vec<_>>().join("\n")
}

/// The first model, and how many follow: the table of models has them all.
fn first_of(models: &Value) -> String {
    match items(models) {
        [] | [_] => names(models),
        [first, more @ ..] => format!("{} +{}", words(first), more.len()),
    }
}

fn counts(row: &Value) -> [String; 9] {
    [
        number(&row["grants"]),
        number(&row["success_count"]),
        number(&row["error_count"]),
        number(&row["rate_limited_count"]),
        number(&row["expired_count"]),
        number(&row["tokens"]),
        percent(&row["success_rate"]),
        percent(&row["capacity_share"]),
        number(&row["today"]["grants"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{Daemon, shown};

    const USAGE: &str = r#"{"keys":[
        {"key_id":"flash_01","model":["gemini-2.0-flash"],"grants":4,"success_count":3,"error_count":1,"rate_limited_count":1,
         "expired_count":0,"tokens":12345,"success_rate":0.75,"capacity_share":0.0667,"today":{"grants":3,"tokens":7}},
        {"key_id":"any","model":["m","n","o"],"grants":0,"success_rate":null,"capacity_share":null,"today":{"grants":0}}],
        "models":[{"model":"gemini-2.0-flash","keys":3,"grants":4,"success_count":3,"success_rate":1.0}]}"#;

    fn screen(json: bool, answer: &str) -> String {
        let daemon = Daemon::answering(answer);
        shown(json, async |screen| usage(&UsageArgs {}, &daemon.client, screen).await)
    }

    #[test]
    fn people_get_a_table_of_keys_and_one_of_models() {
        assert_eq!(
            screen(false, USAGE),
            "KEY       MODEL             GRANTS  OK  FAILED  429  EXPIRED  TOKENS  SUCCESS  RPM USED  TODAY\n\
             flash_01  gemini-2.0-flash       4   3       1    1        0   12.3k   75.0 %     6.7 %      3\n\
             any       m +2                   0                                                           0\n\
             \n\
             MODEL             KEYS  GRANTS  OK  SUCCESS\n\
             gemini-2.0-flash     3       4   3  100.0 %\n"
        );
    }

    #[test]
    fn the_table_fits_a_screen_of_a_hundred_columns() {
        assert!(screen(false, USAGE).lines().all(|line| line.chars().count() <= 100));
    }

    #[test]
    fn a_daemon_without_keys_says_so() {
        assert_eq!(screen(false, r#"{"keys":[],"models":[]}"#), "no keys\n");
    }

    #[test]
    fn programs_get_the_json_as_it_came() {
        assert_eq!(screen(true, USAGE), format!("{USAGE}\n"));
    }
}

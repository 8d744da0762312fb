//! `keypool report`

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Screen;
use super::client::{Client, ClientError};
use super::select::{duration, millis};
use super::table::printable;
use super::units::relative;
use crate::pool::WallTime;

/// Tell what came of a lease: an outcome, or the provider's answer to judge by
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("verdict").required(true).args(["outcome", "status"]))]
pub struct ReportArgs {
    /// The lease, as select gave it
    pub lease_id: String,
    /// What came of it
    #[arg(long, value_name = "OUTCOME", value_enum)]
    pub outcome: Option<ReportedOutcome>,
    /// The HTTP status the provider answered with
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(100..600))]
    pub status: Option<u16>,
    /// The delay the provider asked for, such as 12s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub retry_after: Option<Duration>,
    /// The tokens the request used
    #[arg(long, value_name = "N")]
    pub tokens_used: Option<u64>,
    /// The file with the body the provider answered with (the first 32 KiB count); - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "outcome")]
    pub body_file: Option<PathBuf>,
}

/// The outcomes that a caller can report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ReportedOutcome {
    /// The provider served the request
    Success,
    /// A quota is used up
    RateLimited,
    /// The provider does not accept the key
    AuthFailed,
    /// The provider failed
    ServerError,
    /// No answer in time
    Timeout,
    /// The request was wrong
    ClientError,
    /// The request was given up
    Cancelled,
}

impl ReportedOutcome {
    /// The name used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RateLimited => "rate_limited",
            Self::AuthFailed => "auth_failed",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::ClientError => "client_error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Runs `keypool report`.
pub async fn report(
    args: &ReportArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    let answer = client.send("/v1/report", &request(args)?, Duration::ZERO).await?;
    screen.show(&answer, sentence)
}

fn request(args: &ReportArgs) -> Result<Value, ClientError> {
    let mut request = Map::new();
    let mut set = |name: &str, value: Value| request.insert(name.to_owned(), value);
    set("lease_id", args.lease_id.as_str().into());
    if let Some(outcome) = args.outcome {
        set("outcome", outcome.name().into());
    }
    if let Some(status) = args.status {
        set("status", status.into());
    }
    match (args.retry_after, args.status) {
        (Some(delay), None) => {
            set("retry_after_ms", millis(delay).into());
        }
        (Some(delay), Some(_)) => {
            let seconds = delay.as_millis().div_ceil(1000);
            set("headers", json!({"retry-after": seconds.to_string()}));
        }
        (None, _) => {}
    }
    if let Some(tokens) = args.tokens_used {
        set("tokens_used", tokens.into());
    }
    if let Some(file) = &args.body_file {
        set("body", body(file)?.into());
    }
    Ok(Value::Object(request))
}

/// The most bytes of a body that are sent: errors are small, and even where JSON writes six
/// characters for each byte, the daemon takes the request.
const LONGEST_BODY: u64 = 32 * 1024;

/// The beginning of `file`.
fn body(file: &Path) -> Result<String, ClientError> {
    let mut body = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().take(LONGEST_BODY).read_to_end(&mut body)
    } else {
        File::open(file).and_then(|file| file.take(LONGEST_BODY).read_to_end(&mut body))
    };
    let cannot = |source| ClientError::Input { file: file.to_owned(), source };
    read.map(|_| String::from_utf8_lossy(&body).into_owned()).map_err(cannot)
}

/// What the report changed, as a sentence.
fn sentence(answer: &Value, now: WallTime) -> String {
    let text = |member: &str| answer[member].as_str().unwrap_or("?");
    let until = answer["until"].as_str().map(|until| {
        let relative = relative(until, now).map(|time| format!(" ({time})")).unwrap_or_default();
        format!(" until {until}{relative}")
    });
    let until = until.unwrap_or_default();
    let retry = if answer["retry"] == true { "; another key could help" } else { "" };
    let (key, outcome, state) = (text("key_id"), text("outcome"), text("state"));
    printable(&format!("{key}: {outcome}; {state}{until}{retry}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{Daemon, shown};
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: ReportArgs,
    }

    fn parsed(line: &str) -> Result<ReportArgs, clap::Error> {
        Command::try_parse_from(line.split(' ')).map(|command| command.args)
    }

    const ANSWER: &str = r#"{"key_id":"flash_01","outcome":"rate_limited","state":"cooling","until":"2026-11-21T12:00:30Z","retry":true}"#;

    fn reported(line: &str) -> (String, Value) {
        let daemon = Daemon::answering(ANSWER);
        let args = parsed(line).unwrap();
        let screen = shown(false, async |screen| report(&args, &daemon.client, screen).await);
        (screen, daemon.request_body())
    }

    #[test]
    fn an_outcome_is_reported() {
        let (screen, request) =
            reported("report l1 --outcome rate_limited --retry-after 1.5s --tokens-used 7");
        let expected = json!({"lease_id": "l1", "outcome": "rate_limited", "retry_after_ms": 1500, "tokens_used": 7});
        assert_eq!(request, expected);
        assert_eq!(
            screen,
            "flash_01: rate_limited; cooling until 2026-11-21T12:00:30Z (in 30 s); another key could help\n"
        );
    }

    #[test]
    fn an_answer_is_reported_with_its_body() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"{\"error\":\xff}").unwrap();
        let line = format!(
            "report l1 --status 429 --retry-after 1.5s --body-file {}",
            file.path().display()
        );
        let expected = json!({"lease_id": "l1", "status": 429, "headers": {"retry-after": "2"}, "body": "{\"error\":\u{fffd}}"});
        assert_eq!(reported(&line).1, expected);
    }

    #[test]
    fn a_key_that_stays_ready_is_a_short_sentence() {
        let answer = json!({"key_id": "a", "outcome": "success", "state": "ready", "until": null, "retry": false});
        assert_eq!(sentence(&answer, WallTime::default()), "a: success; ready");
    }

    #[test]
    fn a_report_has_one_verdict() {
        for line in [
            "report l1",
            "report --status 200",
            "report l1 --status 200 --outcome success",
            "report l1 --status 99",
            "report l1 --outcome good",
            "report l1 --outcome success --body-file x",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_outcome_has_its_name() {
        for outcome in <ReportedOutcome as clap::ValueEnum>::value_variants() {
            let line = format!("report l1 --outcome {}", outcome.name());
            assert_eq!(parsed(&line).unwrap().outcome, Some(*outcome));
        }
    }

    #[test]
    fn the_beginning_of_a_long_body_is_sent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for byte in [b'x', 0, 0xff] {
            std::fs::write(file.path(), vec![byte; 1_000_000]).unwrap();
            let request = json!({"body": body(file.path()).unwrap()}).to_string();
            assert!((32_000..200_000).contains(&request.len()), "{}", request.len());
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = body(Path::new("no/such/file")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read no/such/file: "));
    }
}

//! `keypool select`

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::{Map, Value};

use super::Screen;
use super::client::{Answer, Client, ClientError};

/// Get a key, as lines for a shell's eval
///
/// eval "$(keypool select --model M)" sets LEASE_ID, KEY_ID, PROVIDER, MODEL, SECRET, HEADER_NAME,
/// HEADER_VALUE and EXPIRES_AT. Tell what came of it with: keypool report "$LEASE_ID" --status N
#[derive(Clone, Debug, Default, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these are help texts")]
pub struct SelectArgs {
    /// The model to use; several, in order of preference, as M1,M2
    #[arg(long, value_name = "M", value_delimiter = ',')]
    pub model: Vec<String>,
    /// Only keys of this provider
    #[arg(long, value_name = "P")]
    pub provider: Option<String>,
    /// Rather keys of this workload_type
    #[arg(long, value_name = "W")]
    pub workload: Option<String>,
    /// Only keys with this tag; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// The user to serve: the same user gets the same key
    #[arg(long, value_name = "U")]
    pub user: Option<String>,
    /// The tokens the request may use
    #[arg(long, value_name = "N")]
    pub tokens: Option<u64>,
    /// How long to wait for a key, such as 5s; at most wait.max of keypool.toml
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Not these keys, as K1,K2
    #[arg(long, value_name = "K", value_delimiter = ',')]
    pub exclude: Vec<String>,
}

fn tag(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("a tag is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The duration that `text` spells, such as `5s` or `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "a time is a number with its unit, such as 500ms, 5s or 2m";
    let span: jiff::SignedDuration = text.parse().map_err(|_| EXPECTED)?;
    span.try_into().map_err(|_| EXPECTED)
}

/// Work that takes longer than this shows that it goes on.
const SILENCE: Duration = Duration::from_secs(2);

/// Runs `keypool select`.
pub async fn select(
    args: &SelectArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    let models = args.model.iter().map(String::as_str);
    let answer = wait_for(args, client).await.map_err(|error| error.near(models))?;
    screen.show(&answer, |lease, _| variables(lease))
}

async fn wait_for(args: &SelectArgs, client: &Client) -> Result<Answer, ClientError> {
    let request = request(args);
    let answer = client.send("/v1/select", &request, args.wait.unwrap_or_default());
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        () = tokio::time::sleep(SILENCE) => {
            let mut terminal = std::io::stderr();
            if terminal.is_terminal() {
                writeln!(terminal, "waiting for a key…").map_err(ClientError::Output)?;
            }
            answer.await
        }
    }
}

fn request(args: &SelectArgs) -> Value {
    let mut request = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            request.insert(name.to_owned(), value);
        }
    };
    match args.model.as_slice() {
        [] => {}
        [model] => set("model", model.as_str().into()),
        models => set("model", models.into()),
    }
    set("provider", args.provider.clone().into());
    set("workload", args.workload.clone().into());
    set("user", args.user.clone().into());
    set("tokens", args.tokens.into());
    set("wait_ms", args.wait.map(millis).into());
    if !args.tags.is_empty() {
        let tags = args.tags.iter().map(|(name, value)| (name.clone(), Value::from(value.clone())));
        set("tags", Value::Object(tags.collect()));
    }
    if !args.exclude.is_empty() {
        set("exclude", args.exclude.as_slice().into());
    }
    Value::Object(request)
}

/// `span` in milliseconds, rounded up.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// `lease` as assignments that a POSIX shell takes as they are, whatever the values.
fn variables(lease: &Value) -> String {
    let variables = [
        ("LEASE_ID", &lease["lease_id"]),
        ("KEY_ID", &lease["key_id"]),
        ("PROVIDER", &lease["provider"]),
        ("MODEL", &lease["model"]),
        ("SECRET", &lease["secret"]),
        ("HEADER_NAME", &lease["header"]["name"]),
        ("HEADER_VALUE", &lease["header"]["value"]),
        ("EXPIRES_AT", &lease["expires_at"]),
    ];
    let line = |(name, value): (&str, &Value)| {
        let value = value.as_str().unwrap_or_default().replace('\'', r"'\''");
        format!("{name}='{value}'\n")
    };
    variables.map(line).concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{Daemon, shown};
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: SelectArgs,
    }

    fn parsed(line: &str) -> Result<SelectArgs, clap::Error> {
        Command::try_parse_from(line.split(' ')).map(|command| command.args)
    }

    const LEASE: &str = r#"{"lease_id":"l1","key_id":"flash_02","provider":"gemini","model":"m",
        "secret":"fake-secret-flash-02","header":{"name":"x-goog-api-key","value":"fake-secret-flash-02"},
        "expires_at":"2026-11-21T12:10:00Z","use_within_ms":500,"attempt":1,"attempts_left":7}"#;

    fn sent(line: &str) -> Value {
        let daemon = Daemon::answering(LEASE);
        let args = parsed(line).unwrap();
        shown(false, async |screen| select(&args, &daemon.client, screen).await);
        daemon.request_body()
    }

    #[test]
    fn every_flag_is_a_field_of_the_request() {
        let line = "select --model a,b --provider gemini --workload light --tag region=us-east --tag x=y=z --user u-17 --tokens 5000 --wait 1.5s --exclude pro_01";
        let request = serde_json::json!({
            "model": ["a", "b"], "provider": "gemini", "workload": "light",
            "tags": {"region": "us-east", "x": "y=z"}, "user": "u-17", "tokens": 5000,
            "wait_ms": 1500, "exclude": ["pro_01"]});
        assert_eq!(sent(line), request);
        assert_eq!(sent("select --model a"), serde_json::json!({"model": "a"}));
        assert_eq!(sent("select"), serde_json::json!({}));
    }

    #[test]
    fn wrong_flags_are_refused() {
        for line in ["select --tag x", "select --wait 5", "select --wait -5s", "select --tokens -1"]
        {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn scripts_get_variables() {
        let daemon = Daemon::answering(LEASE);
        let args = SelectArgs::default();
        assert_eq!(
            shown(false, async |screen| select(&args, &daemon.client, screen).await),
            "LEASE_ID='l1'\n\
             KEY_ID='flash_02'\n\
             PROVIDER='gemini'\n\
             MODEL='m'\n\
             SECRET='fake-secret-flash-02'\n\
             HEADER_NAME='x-goog-api-key'\n\
             HEADER_VALUE='fake-secret-flash-02'\n\
             EXPIRES_AT='2026-11-21T12:10:00Z'\n"
        );
    }

    #[test]
    fn no_value_escapes_its_quotes_in_a_shell() {
        let secret = "fake'; touch /nonexistent/x; $(false) `false` \"\\\n'";
        let script =
            format!("{}printf %s \"$SECRET\"", variables(&serde_json::json!({ "secret": secret })));
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), secret);
    }

    #[test]
    fn programs_get_the_json_as_it_came() {
        let daemon = Daemon::answering(LEASE);
        let args = SelectArgs::default();
        let screen = shown(true, async |screen| select(&args, &daemon.client, screen).await);
        assert_eq!(screen, format!("{LEASE}\n"));
    }
}

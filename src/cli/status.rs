//! `keypool status`

mod fleet;

use std::time::Duration;

use serde_json::Value;

use super::Screen;
use super::client::{Client, ClientError};
use super::members::{items, others, time, words};
use super::table::aligned;
use super::units::counted;
use crate::pool::WallTime;
use crate::telemetry::span;

/// Show the daemon at a glance
///
/// Whether it is ready and why not, rotation on or off and why, keys by state, capacity in requests
/// a minute (of keys that are neither dead nor without a secret), and the configuration with what
/// is wrong in it.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// Show instead the daemons that share the limits through Redis, and who holds which quota group
    #[arg(long)]
    pub fleet: bool,
}

/// Runs `keypool status`.
pub async fn status(
    args: &StatusArgs,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    if args.fleet {
        let answer = client.ask("/v1/fleet").await?;
        return screen.show(&answer, fleet::text);
    }
    let answer = client.ask("/v1/status").await?;
    screen.show(&answer, text)
}

/// The members that have a place of their own on the screen.
const SHOWN: [&str; 16] = [
    "ready",
    "rotation",
    "strategy",
    "last_key",
    "keys",
    "capacity",
    "waiting",
    "configuration",
    "providers",
    "secret_stores",
    "shared_quota",
    "state_file",
    "metrics",
    "version",
    "pid",
    "uptime_seconds",
];

fn text(status: &Value, now: WallTime) -> String {
    let configuration = &status["configuration"];
    let mut rows = vec![
        row("rotation", rotation(&status["rotation"])),
        row("keys", keys(&Keys::of(status))),
        row("capacity", capacity(&status["capacity"])),
        row("strategy", words(&status["strategy"])),
        row("last key", status["last_key"].as_str().unwrap_or("none yet")),
        row("waiting", counted(status["waiting"].as_u64().unwrap_or(0), "request")),
        row("configuration", loaded(configuration, now)),
    ];
    for (title, list) in [("error", "errors"), ("warning", "warnings")] {
        rows.extend(items(&configuration[list]).iter().map(|item| row(title, words(item))));
    }
    rows.extend(broken_providers(&status["providers"], now));
    rows.extend(secret_stores(&status["secret_stores"], now));
    rows.extend(shared_quota(&status["shared_quota"], now));
    rows.push(row("state", state(&status["state_file"])));
    rows.push(row("metrics", metrics(&status["metrics"])));
    rows.push(row("daemon", daemon(status)));
    // The start is the uptime again.
    rows.extend(others(status, &[&SHOWN[..], &["started_at"]].concat()));
    rows.extend(others(
        configuration,
        &["generation", "source", "last_reload", "errors", "warnings"],
    ));
    format!("{}\n{}", verdict(status), aligned(&rows))
}

fn row(title: &str, text: impl Into<String>) -> (String, String) {
    (title.to_owned(), text.into())
}

/// How many keys are in which state, the best state first.
struct Keys<'a> {
    all: u64,
    states: Vec<(&'a str, u64)>,
}

/// The states, the best first.
const STATES: [&str; 6] = ["ready", "exhausted", "cooling", "missing_secret", "dead", "inactive"];

/// The states of keys that serve again by themselves.
const USABLE: [&str; 3] = ["ready", "exhausted", "cooling"];

impl<'a> Keys<'a> {
    fn of(answer: &'a Value) -> Self {
        let members = answer["keys"].as_object().into_iter().flatten();
        let counts = members.filter_map(|(state, count)| Some((state.as_str(), count.as_u64()?)));
        let mut states: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
        // A state that only a newer daemon knows comes last.
        let rank = |state: &str| STATES.iter().position(|known| *known == state);
        states.sort_by_key(|(state, _)| rank(state).unwrap_or(STATES.len()));
        Self { all: states.iter().map(|(_, count)| count).sum(), states }
    }

    fn has(&self, state: &str) -> bool {
        self.states.iter().any(|(found, _)| *found == state)
    }

    fn by_state(&self) -> String {
        let states = self.states.iter().map(|(state, count)| format!("{count} {state}"));
        states.collect::<Vec<_>>().join(", ")
    }
}

/// Whether the daemon can serve, and why not.
fn verdict(status: &Value) -> String {
    let keys = Keys::of(status);
    let errors = items(&status["configuration"]["errors"]).len() as u64;
    if status["ready"] == true {
        let mut but = Vec::new();
        if errors > 0 {
            but.push("the last configuration is not valid and the one before is in use");
        }
        if !keys.has("ready") {
            but.push("no key can serve at this moment");
        }
        let but = but.join(", and ");
        return if but.is_empty() { "ready".to_owned() } else { format!("ready, but {but}") };
    }
    let why = if keys.all == 0 && errors > 0 {
        format!("the configuration is not valid: {}", counted(errors, "error"))
    } else if keys.all == 0 && status["rotation"]["on"] == true {
        format!("{} holds no key", words(&status["configuration"]["source"]))
    } else if keys.all == 0 {
        "rotation is off, and neither GEMINI_API_KEY nor OPENAI_API_KEY nor ANTHROPIC_API_KEY \
         is set"
            .to_owned()
    } else if !USABLE.iter().any(|state| keys.has(state)) {
        "no key is usable; `keypool keys` tells why".to_owned()
    } else {
        "the daemon is stopping".to_owned()
    };
    format!("not ready: {why}")
}

/// The providers whose breaker is open.
fn broken_providers(providers: &Value, now: WallTime) -> Vec<(String, String)> {
    let providers = providers.as_object().into_iter().flatten();
    let broken = providers.filter(|(_, provider)| provider["breaker_open"] == true);
    let told = |(name, provider): (&String, &Value)| {
        let until = time(&provider["until"], now);
        row("provider", format!("{name} fails for several keys alike; next trial {until}"))
    };
    broken.map(told).collect()
}

/// How the stores on other machines are.
fn secret_stores(stores: &Value, now: WallTime) -> Vec<(String, String)> {
    let told = |(name, store): (&String, &Value)| {
        let count = |name: &str| store[name].as_u64().unwrap_or(0);
        let serve =
            format!("{} of {} serve", count("serving"), counted(count("secrets"), "secret"));
        row(
            "secrets",
            match store["error"].as_str() {
                None => format!("{name}: {serve}"),
                Some(error) => {
                    let went = time(&store["away_since"], now);
                    format!("{name} WENT AWAY {went}: {error}; {serve}, as last fetched")
                }
            },
        )
    };
    stores.as_object().into_iter().flatten().map(told).collect()
}

/// How quota is shared with other daemons, if it is.
fn shared_quota(shared: &Value, now: WallTime) -> Option<(String, String)> {
    if shared["on"] != true {
        return None;
    }
    let count = |name: &str| shared[name].as_u64().unwrap_or(0);
    let held =
        format!("{} of {} held here", count("owned_groups"), counted(count("groups"), "group"));
    Some(row(
        "shared quota",
        match shared["error"].as_str() {
            None => format!("by {}; {held}", counted(count("daemons"), "daemon")),
            Some(error) if shared["other_layout"].is_u64() => {
                format!("NOT SHARED, AND NOTHING IS GRANTED: {error}")
            }
            Some(error) => {
                let went = time(&shared["away_since"], now);
                let holds = match shared["holds"].as_str() {
                    Some("leases") => "its leases last".to_owned(),
                    Some("owned") => "it goes on with what it owns".to_owned(),
                    Some("open") => "it goes on with full limits".to_owned(),
                    Some("part") => {
                        let part = shared["part"].as_f64().unwrap_or(0.0) * 100.0;
                        format!("it goes on with {part:.1} % of every limit")
                    }
                    Some(_) | None => "it refuses".to_owned(),
                };
                format!("REDIS WENT AWAY {went}: {error}; {holds}, {held}")
            }
        },
    ))
}

/// Where the state is kept, and whether it can be written.
fn state(state: &Value) -> String {
    if state["on"] != true {
        return "not kept: a restart begins with empty counters".to_owned();
    }
    let directory = words(&state["directory"]);
    match state["error"].as_str() {
        Some(error) => format!("CANNOT BE WRITTEN to {directory}: {error}"),
        None => format!("kept in {directory}"),
    }
}

/// Where metrics are served over TCP.
fn metrics(metrics: &Value) -> String {
    if metrics["on"] != true {
        return "on the socket alone: metrics_addr is empty".to_owned();
    }
    let address = words(&metrics["address"]);
    match metrics["error"].as_str() {
        Some(error) => format!("CANNOT BE SERVED at {address}: {error}"),
        None => format!("http://{address}/metrics"),
    }
}

fn rotation(rotation: &Value) -> String {
    let on = if rotation["on"] == true { "on" } else { "off" };
    match rotation["why"].as_str() {
        Some(why) if !why.is_empty() => format!("{on}: {why}"),
        Some(_) | None => on.to_owned(),
    }
}

fn keys(keys: &Keys<'_>) -> String {
    if keys.all == 0 {
        return "none".to_owned();
    }
    format!("{}: {}", counted(keys.all, "key"), keys.by_state())
}

/// Requests a minute, in all and of each model. Null is no limit.
fn capacity(capacity: &Value) -> String {
    let rpm = |rpm: &Value| rpm.as_u64().map_or("no limit".to_owned(), |rpm| rpm.to_string());
    let mut text = rpm(&capacity["rpm"]);
    if capacity["rpm"].is_u64() {
        text += " requests a minute";
    }
    let models = capacity["models"].as_object().into_iter().flatten();
    if models.clone().all(|(_, of)| of.is_null()) {
        return text;
    }
    let models: Vec<_> = models.map(|(model, of)| format!("{model} {}", rpm(of))).collect();
    format!("{text}: {}", models.join(", "))
}

/// Where the keys are from, and how old they are.
fn loaded(configuration: &Value, now: WallTime) -> String {
    let reload = time(&configuration["last_reload"], now);
    match configuration["generation"].as_u64() {
        Some(0) | None => format!("none in use, last read {reload}"),
        Some(generation) => {
            let source = words(&configuration["source"]);
            format!("{source}, generation {generation}, last read {reload}")
        }
    }
}

fn daemon(status: &Value) -> String {
    let up = status["uptime_seconds"].as_u64().map_or_else(String::new, |seconds| {
        let up =
            if seconds == 0 { "less than 1 s".into() } else { span(Duration::from_secs(seconds)) };
        format!("up {up}, ")
    });
    format!("{up}version {}, pid {}", words(&status["version"]), status["pid"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{Daemon, shown};
    use crate::clock::parse_rfc3339;
    use serde_json::json;

    fn ready() -> Value {
        json!({
            "ready": true, "rotation": {"on": true, "why": "there is a keys file, config/keys.json"},
            "strategy": "least_utilized", "last_key": "pro_02",
            "keys": {"cooling": 1, "dead": 0, "exhausted": 0, "inactive": 0, "missing_secret": 0, "ready": 7},
            "capacity": {"rpm": 345, "models": {"gemini-2.0-flash": 45, "gemini-2.5-pro": 300}},
            "waiting": 0,
            "configuration": {"generation": 1, "source": "config/keys.json",
                "last_reload": "2026-11-21T11:59:48Z", "errors": [], "warnings": ["w 1", "w 2"]},
            "shared_quota": {"on": false}, "state_file": {"on": true, "directory": "state", "error": null},
            "metrics": {"on": true, "address": "127.0.0.1:9464", "error": null},
            "providers": {"gemini": {"breaker_open": false, "until": null},
                "mine": {"breaker_open": true, "until": "2026-11-21T12:00:05Z"}},
            "version": "0.1.0", "pid": 26_223, "started_at": "2026-11-21T11:58:30Z", "uptime_seconds": 90
        })
    }

    /// The status of a ready daemon but for `members`.
    fn verdict_of(members: Value) -> String {
        let mut status = ready();
        let Value::Object(members) = members else { panic!("{members}") };
        status.as_object_mut().unwrap().extend(members);
        verdict(&status)
    }

    #[test]
    fn people_get_the_verdict_first() {
        let daemon = Daemon::answering(&ready().to_string());
        let screen = shown(false, async |screen| {
            status(&StatusArgs { fleet: false }, &daemon.client, screen).await
        });
        assert_eq!(
            screen,
            "ready\n\
             rotation       on: there is a keys file, config/keys.json\n\
             keys           8 keys: 7 ready, 1 cooling\n\
             capacity       345 requests a minute: gemini-2.0-flash 45, gemini-2.5-pro 300\n\
             strategy       least_utilized\n\
             last key       pro_02\n\
             waiting        0 requests\n\
             configuration  config/keys.json, generation 1, last read 12 s ago\n\
             warning        w 1\n\
             warning        w 2\n\
             provider       mine fails for several keys alike; next trial in 5 s\n\
             state          kept in state\n\
             metrics        http://127.0.0.1:9464/metrics\n\
             daemon         up 1 min 30 s, version 0.1.0, pid 26223\n"
        );
    }

    #[test]
    fn programs_get_the_json_as_it_came() {
        let daemon = Daemon::answering(&ready().to_string());
        let screen = shown(true, async |screen| {
            status(&StatusArgs { fleet: false }, &daemon.client, screen).await
        });
        assert_eq!(screen, format!("{}\n", ready()));
    }

    #[test]
    fn stores_of_secrets_say_how_they_are() {
        let stores = json!({
            "aws": {"secrets": 1, "serving": 1, "stale": 0, "away_since": null, "error": null},
            "vault": {"secrets": 8, "serving": 7, "stale": 7,
                "away_since": "2026-11-21T11:59:00Z", "error": "cannot be fetched: timeout"},
        });
        let now = parse_rfc3339("2026-11-21T12:00:00Z").unwrap();
        let told: Vec<String> =
            secret_stores(&stores, now).into_iter().map(|(_, text)| text).collect();
        let away = "vault WENT AWAY 1 min ago: cannot be fetched: timeout; 7 of 8 secrets serve, as \
                    last fetched";
        assert_eq!(told, ["aws: 1 of 1 secret serve", away]);
    }

    #[test]
    fn the_verdict_says_why_the_daemon_is_not_ready() {
        let no = |keys: Value| json!({"ready": false, "keys": keys});
        assert_eq!(
            verdict_of(no(json!({"dead": 3, "missing_secret": 5}))),
            "not ready: no key is usable; `keypool keys` tells why"
        );
        assert_eq!(verdict_of(no(json!({"ready": 3}))), "not ready: the daemon is stopping");
        assert_eq!(verdict_of(no(json!({"ready": 0}))), "not ready: config/keys.json holds no key");
        let off = json!({"ready": false, "keys": {}, "rotation": {"on": false, "why": "x"}});
        assert!(verdict_of(off).starts_with("not ready: rotation is off, and neither GEMINI_"));
        let rejected =
            json!({"ready": false, "keys": {}, "configuration": {"errors": ["e 1", "e 2"]}});
        assert_eq!(verdict_of(rejected), "not ready: the configuration is not valid: 2 errors");
    }

    #[test]
    fn the_verdict_says_what_a_ready_daemon_lacks() {
        assert_eq!(
            verdict_of(json!({"keys": {"cooling": 8}})),
            "ready, but no key can serve at this moment"
        );
        assert_eq!(
            verdict_of(json!({"configuration": {"generation": 1, "errors": ["e 1"]}})),
            "ready, but the last configuration is not valid and the one before is in use"
        );
    }

    #[test]
    fn without_limits_there_is_no_number() {
        assert_eq!(capacity(&json!({"rpm": null, "models": {}})), "no limit");
        assert_eq!(capacity(&json!({"rpm": null, "models": {"a": null}})), "no limit");
        assert_eq!(
            capacity(&json!({"rpm": null, "models": {"a": 15, "b": null}})),
            "no limit: a 15, b no limit"
        );
    }

    #[test]
    fn a_rejected_configuration_shows_its_errors_and_what_a_newer_daemon_adds() {
        let status = json!({"ready": false, "rotation": {"on": true, "why": ""},
            "configuration": {"generation": 0, "last_reload": "2026-11-21T11:59:48Z",
                "errors": ["keys.json: line 3"], "watched": true},
            "version": "9.0.0", "pid": 1, "moon_phase": {"on": true},
            "metrics": {"on": true, "address": "127.0.0.1:9464", "error": "taken"}});
        let screen = text(&status, parse_rfc3339("2026-11-21T12:00:00Z").unwrap());
        let lines: Vec<&str> = screen.lines().collect();
        assert_eq!(
            [&lines[..2], &lines[7..]].concat(),
            [
                "not ready: the configuration is not valid: 1 error",
                "rotation       on",
                "configuration  none in use, last read 12 s ago",
                "error          keys.json: line 3",
                "state          not kept: a restart begins with empty counters",
                "metrics        CANNOT BE SERVED at 127.0.0.1:9464: taken",
                "daemon         version 9.0.0, pid 1",
                "moon phase     {\"on\":true}",
                "watched        true",
            ]
        );
    }
}

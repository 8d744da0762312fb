//! The log: lines on standard error, text for people or JSON for machines.
//!
//! Whatever level is asked for, libraries that handle requests and secrets stay at `warn`: at
//! `trace` they would write down headers and bodies, keys among them. Those whose warnings quote
//! what others say are not heard at all. A panic is logged without its message, which may quote
//! what it choked on.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::str::FromStr;

use thiserror::Error;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::filter::{EnvFilter, FilterExt, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// One line of text for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The name used in keypool.toml.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// A level that is none. The text itself is left out: what stands in a wrong place may be secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "the log level must be off, error, warn, info, debug or trace, or tracing directives such as \
     info,keypool::pool=debug"
)]
pub struct BadLogLevel;

/// The level of a log: a word such as `info`, or directives such as `info,keypool::pool=debug`.
#[derive(Debug)]
pub struct LogLevel(EnvFilter);

impl FromStr for LogLevel {
    type Err = BadLogLevel;

    fn from_str(text: &str) -> Result<Self, BadLogLevel> {
        // To tracing a bare word is a target too, so that `inof` would silence the log.
        let is_clear = |directive: &str| {
            let directive = directive.trim();
            directive.contains('=')
                || (directive.parse::<LevelFilter>().is_ok() && is_word(directive))
        };
        if !text.split(',').all(is_clear) {
            return Err(BadLogLevel);
        }
        EnvFilter::builder().with_regex(false).parse(text).map(Self).map_err(|_| BadLogLevel)
    }
}

/// tracing also takes levels as numbers, which nobody can tell from a mistake.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Starts the log of this process at `level`; panics are logged from here on too. A log that has
/// started before stays as it is.
pub fn start(level: &str, format: LogFormat) -> Result<(), BadLogLevel> {
    let ansi = io::stderr().is_terminal();
    if subscriber(level.parse()?, format, ansi, io::stderr).try_init().is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// Prefixes of the targets that stay at `warn`.
const QUIET: [&str; 6] = ["hyper", "h2", "rustls", "reqwest", "redis", "notify"];

/// Prefixes of the targets that say nothing: their warnings quote what servers and files say.
const SILENT: [&str; 3] = ["aws_", "azure_", "typespec"];

fn subscriber<W>(LogLevel(level): LogLevel, format: LogFormat, ansi: bool, writer: W) -> Log
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let quiet = QUIET.map(|target| (target, LevelFilter::WARN));
    let silent = SILENT.map(|target| (target, LevelFilter::OFF));
    let quiet =
        Targets::new().with_default(LevelFilter::TRACE).with_targets(quiet).with_targets(silent);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Box::new(tracing_subscriber::registry().with(lines.with_filter(level.and(quiet))))
}

type Log = Box<dyn Subscriber + Send + Sync>;

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(place, thread = thread.name().unwrap_or("unnamed"), "panicked");
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What `act` logs at `level`.
    fn logged(level: &str, format: LogFormat, act: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = subscriber(level.parse().unwrap(), format, false, Writer(Arc::clone(&lines)));
        tracing::subscriber::with_default(log, act);
        String::from_utf8(lines.lock().unwrap().clone()).unwrap()
    }

    #[derive(Clone)]
    struct Writer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Writer {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_of_text_has_a_time_a_level_and_fields() {
        let log = logged("info", LogFormat::Text, || {
            tracing::info!(key_id = "flash_01", "selected");
            tracing::debug!("left out");
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains(" INFO ") && log.contains("selected key_id=\"flash_01\""), "{log}");
        assert!(log.split(' ').next().unwrap().ends_with('Z'), "{log}");
    }

    #[test]
    fn a_line_of_json_is_an_object_with_rfc_3339_time_in_utc() {
        let log = logged("info", LogFormat::Json, || {
            tracing::warn!(key_id = "flash_01", "cooling\nand more");
        });
        let line: serde_json::Value = serde_json::from_str(log.trim_end()).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["key_id"], "flash_01");
        assert_eq!(line["message"], "cooling\nand more");
        assert!(crate::clock::parse_rfc3339(line["timestamp"].as_str().unwrap()).is_some());
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn libraries_stay_at_warn_whatever_is_asked_for() {
        for level in [
            "trace",
            "trace,hyper::proto=trace,aws_config=trace,azure_core=trace,typespec_client_core=trace",
        ] {
            let log = logged(level, LogFormat::Text, || {
                tracing::debug!(target: "hyper::proto::h1", "header x-goog-api-key");
                tracing::info!(target: "hyper_util::client", "body");
                tracing::trace!(target: "aws_config", "credentials");
                tracing::debug!(target: "rustls::client", "secret");
                tracing::debug!(target: "azure_core::http::pager", "continuation");
                tracing::info!(target: "azure_identity::managed_identity_credential", "identity");
                tracing::trace!(target: "azure_security_keyvault_secrets", "secret");
                tracing::info!(target: "typespec_client_core::http::policies::logging", "request");
                tracing::trace!(target: "keypool::pool", "ours");
                tracing::warn!(target: "hyper", "trouble");
                tracing::error!(target: "aws_config::profile", "the answer of a server");
            });
            let lines = log.lines().collect::<Vec<_>>();
            assert_eq!(lines.len(), 2, "{log}");
            assert!(lines[0].contains("ours") && lines[1].contains("trouble"));
        }
    }

    #[test]
    fn a_level_is_a_word_or_directives() {
        for level in ["info", "WARN", "off", "info,keypool::pool=debug", "keypool=trace"] {
            assert!(level.parse::<LogLevel>().is_ok(), "{level}");
        }
        for level in ["", "inof", "info,", "3", "keypool", "keypool=loud", "info debug"] {
            assert_eq!(level.parse::<LogLevel>().unwrap_err(), BadLogLevel, "{level}");
        }
        assert_eq!(start("fake-secret-flash-01", LogFormat::Text), Err(BadLogLevel));
    }

    #[test]
    fn a_panic_is_logged_with_its_place_but_without_its_message() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        let log = logged("info", LogFormat::Text, || {
            let panic = std::panic::catch_unwind(|| panic!("fake-secret-flash-01"));
            assert!(panic.is_err());
        });
        std::panic::set_hook(hook);
        assert!(log.contains("panicked") && log.contains("logging.rs"), "{log}");
        assert!(log.contains("thread="), "{log}");
        assert!(!log.contains("fake-secret"), "{log}");
    }
}

//! What can be typed. The comments of the arguments are their help texts.

#![expect(clippy::doc_markdown, reason = "help texts have no backticks")]

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::add::AddArgs;
use super::administer::{ClearArgs, DisableArgs, EnableArgs, ProbeArgs, RemoveArgs};
use super::check::CheckArgs;
use super::events::EventsArgs;
use super::import::ImportArgs;
use super::keys::KeysArgs;
use super::reload::ReloadArgs;
use super::report::ReportArgs;
use super::select::SelectArgs;
use super::status::StatusArgs;
use super::usage::UsageArgs;
use crate::config::Flags;

/// Hands out API keys: the right key, within every limit, with rotation on failure.
#[derive(Debug, Parser)]
#[command(name = "keypool", version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

const AFTER_HELP: &str = "\
Settings come from flags, then KEYPOOL_* variables, then keypool.toml, then defaults.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 pool exhausted, 4 no daemon at the socket,
78 invalid configuration.";

#[derive(Debug, Args)]
pub(super) struct Global {
    /// The configuration [KEYPOOL_CONFIG; else config/keypool.toml, /etc/keypool/keypool.toml]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// The daemon's Unix socket [KEYPOOL_SOCKET; socket in keypool.toml]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Log more: -v debug, -vv trace [KEYPOOL_LOG; log in keypool.toml]
    #[arg(short, global = true, action = ArgAction::Count)]
    verbose: u8,
}

// A command without a comment here has its help text at its arguments.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon
    Serve,
    /// Diagnose the configuration: is rotation on, and does every key have its secret?
    Check(CheckArgs),
    Status(StatusArgs),
    Keys(KeysArgs),
    Usage(UsageArgs),
    Events(EventsArgs),
    Select(SelectArgs),
    Report(ReportArgs),
    /// Have the daemon read keys, settings and secrets anew, and say what came of it
    Reload(ReloadArgs),
    /// Have the provider asked about a key now; exits with 1 unless it accepts the key
    Probe(ProbeArgs),
    /// Forget the failures of a key and of its quota group: cooldowns, death, a learnt pace
    Clear(ClearArgs),
    /// Put a key back in service, in keys.json
    Enable(EnableArgs),
    /// Take a key out of service, in keys.json
    Disable(DisableArgs),
    /// Add a key to keys.json; its secret must be in its store, never on the command line
    Add(AddArgs),
    /// Remove a key from keys.json
    Remove(RemoveArgs),
    /// Turn a file of one key a line into keys.json entries and a private .env file
    Import(ImportArgs),
}

impl Global {
    /// What the flags say about settings.
    pub(super) fn flags(&self) -> Flags {
        let log = match self.verbose {
            0 => None,
            1 => Some("debug"),
            _ => Some("trace"),
        };
        Flags {
            config: self.config.clone(),
            socket: self.socket.clone(),
            log: log.map(str::to_owned),
            ..Flags::default()
        }
    }
}

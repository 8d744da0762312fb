//! `keypool check`: why is rotation not working? One screen that answers it.
//!
//! Three steps: look (all reading, and asking the providers if that is wanted), conclude
//! ([`Report`], pure), and show (text or JSON).

mod advice;
mod look;
mod models;
mod online;
mod progress;
mod redis;
mod report;
mod screen;
mod stores;

use std::io::{self, IsTerminal as _, Write};

use super::EXIT_CONFIG;
use crate::config::{Flags, bootstrap};
use crate::secrets::Process;

pub use online::Answer;
pub use redis::RedisRow;
pub use report::{Advice, KeyRow, ModelRow, Report, SharedGroup, Sources, Urgency, Verdict};

/// The arguments of `keypool check`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct CheckArgs {
    /// Also ask the provider about each key, at an endpoint that costs nothing [probe in keypool.toml],
    /// and the Redis that limits are shared through what it is and allows
    #[arg(long)]
    pub online: bool,
}

/// Runs the command and returns its exit code.
pub fn run(
    args: CheckArgs,
    json: bool,
    flags: &Flags,
    process: &Process,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<u8> {
    let progress = io::stderr().is_terminal().then_some(errors);
    let report = check(args, flags, process, progress)?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        screen::show(&report, out)?;
    }
    Ok(if report.valid { 0 } else { EXIT_CONFIG })
}

/// Reads everything the daemon would, and concludes. If that takes long, `progress` is told.
pub fn check(
    args: CheckArgs,
    flags: &Flags,
    process: &Process,
    mut progress: Option<&mut dyn Write>,
) -> io::Result<Report> {
    let built = match bootstrap(flags, process) {
        Ok(built) => built,
        Err(problems) => return Ok(Report::of_no_start(&problems)),
    };
    let keys = match built.load_keys() {
        Ok(keys) => keys,
        Err(problems) => return Ok(Report::of_no_keys(&built, &problems)),
    };
    let mut seen = look::look(&built, &keys, progress.as_mut().map(|screen| &mut **screen as _))?;
    if args.online {
        seen.redis = redis::ask(&built, progress.as_mut().map(|screen| &mut **screen as _))?;
        seen.answers = online::ask(&built, &keys, &seen, progress)?;
    }
    Ok(Report::of(&built, &keys, &seen))
}

#[cfg(test)]
mod tests;

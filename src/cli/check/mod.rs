//! `keypool check`: why is rotation not working? One screen that answers it.
//!
//! Three steps: look (all reading), conclude ([`Report`], pure), and show (text or JSON).

mod advice;
mod look;
mod models;
mod report;
mod screen;

use std::io::{self, Write};

use super::{EXIT_CONFIG, EXIT_USAGE};
use crate::config::{Flags, bootstrap};
use crate::secrets::Process;

pub use report::{Advice, KeyRow, ModelRow, Report, SharedGroup, Sources, Urgency, Verdict};

/// The arguments of `keypool check`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct CheckArgs {
    /// Also ask the provider about each key.
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
    if args.online {
        writeln!(errors, "check --online: probing is not in this version yet; leave --online out")?;
        return Ok(EXIT_USAGE);
    }
    let report = check(flags, process);
    if json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        screen::show(&report, out)?;
    }
    Ok(if report.valid { 0 } else { EXIT_CONFIG })
}

/// Reads everything the daemon would, and concludes.
pub fn check(flags: &Flags, process: &Process) -> Report {
    match bootstrap(flags, process) {
        Err(problems) => Report::of_no_start(&problems),
        Ok(built) => match built.load_keys() {
            Err(problems) => Report::of_no_keys(&built, &problems),
            Ok(keys) => Report::of(&built, &keys, &look::look(&built, &keys)),
        },
    }
}

#[cfg(test)]
mod tests;

//! The `keypool` binary: argv and the environment become values here and nowhere else.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use keypool::cli::{self, Arguments};
use keypool::secrets::{Process, seal_memory};

#[expect(clippy::disallowed_methods, reason = "the environment becomes a value here")]
fn main() -> anyhow::Result<ExitCode> {
    seal_memory()?;
    let process = Process::new(std::env::vars_os());
    let code = cli::run(Arguments::parse(), process, &mut io::stdout(), &mut io::stderr())?;
    Ok(ExitCode::from(code))
}

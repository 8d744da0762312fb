//! From arguments to an exit code.

use std::io::{self, Write};
use std::path::PathBuf;

use super::arguments::{Arguments, Command};
use super::{
    Client, ClientError, EXIT_CONFIG, EXIT_FAILED, Screen, add, administer, check, events, import,
    keys, reload, report, select, serve, status, usage,
};
use crate::clock::Clock;
use crate::config::{Flags, Problems, bootstrap};
use crate::secrets::Process;

/// Runs a command. What it answers goes to `out`, what went wrong to `errors`; the result is the
/// exit code.
pub fn run(
    arguments: Arguments,
    process: Process,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> anyhow::Result<u8> {
    let Arguments { global, command } = arguments;
    let flags = global.flags();
    let now = Clock::System.now().wall;
    match command {
        Command::Serve => serve::serve(flags, process, errors),
        Command::Check(args) => {
            let out = &mut UntilClosed(out);
            Ok(check::run(args, global.json, &flags, &process, out, errors)?)
        }
        Command::Import(args) => {
            let out = &mut UntilClosed(out);
            Ok(import::run(&args, global.json, &flags, &process, now, out, errors)?)
        }
        Command::Status(_)
        | Command::Keys(_)
        | Command::Usage(_)
        | Command::Events(_)
        | Command::Select(_)
        | Command::Report(_)
        | Command::Reload(_)
        | Command::Probe(_)
        | Command::Clear(_)
        | Command::Enable(_)
        | Command::Disable(_)
        | Command::Add(_)
        | Command::Remove(_) => {
            let socket = match socket(&flags, &process) {
                Ok(socket) => socket,
                Err(problems) => return refuse(&problems, errors),
            };
            let client = Client::new(socket);
            let mut screen = Screen { out, json: global.json, now };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            match runtime.block_on(ask(&command, &client, &mut screen)) {
                Ok(()) => Ok(0),
                // Who closes the pipe has seen enough.
                Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    Ok(0)
                }
                Err(error) => {
                    writeln!(errors, "keypool: {error}")?;
                    Ok(error.exit_code())
                }
            }
        }
    }
}

async fn ask(
    command: &Command,
    client: &Client,
    screen: &mut Screen<'_>,
) -> Result<(), ClientError> {
    match command {
        Command::Status(args) => status::status(args, client, screen).await,
        Command::Keys(args) => keys::keys(args, client, screen).await,
        Command::Usage(args) => usage::usage(args, client, screen).await,
        Command::Events(args) => events::events(args, client, screen).await,
        Command::Select(args) => select::select(args, client, screen).await,
        Command::Report(args) => report::report(args, client, screen).await,
        Command::Reload(args) => reload::reload(args, client, screen).await,
        Command::Probe(args) => administer::probe(args, client, screen).await,
        Command::Clear(args) => administer::clear(args, client, screen).await,
        Command::Enable(args) => administer::enable(args, client, screen).await,
        Command::Disable(args) => administer::disable(args, client, screen).await,
        Command::Add(args) => add::add(args, client, screen).await,
        Command::Remove(args) => administer::remove(args, client, screen).await,
        Command::Serve | Command::Check(_) | Command::Import(_) => Ok(()),
    }
}

/// A writer whose reader may go: a command that does more than answer goes on without it, and its
/// exit code is the same.
struct UntilClosed<'a>(&'a mut dyn Write);

impl Write for UntilClosed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// Where the daemon listens: a flag or a variable says so even if the configuration is broken.
fn socket(flags: &Flags, process: &Process) -> Result<PathBuf, Problems> {
    let variable = process.variable("KEYPOOL_SOCKET").filter(|path| !path.is_empty());
    match flags.socket.clone().or_else(|| variable.map(PathBuf::from)) {
        Some(socket) => Ok(socket),
        None => bootstrap(flags, process).map(|built| built.settings.socket),
    }
}

/// Prints every error of the configuration.
pub(super) fn refuse(problems: &Problems, errors: &mut dyn Write) -> anyhow::Result<u8> {
    for problem in problems.errors() {
        writeln!(errors, "{problem}")?;
    }
    writeln!(errors, "keypool: the configuration is not valid; `keypool check` tells more")?;
    Ok(EXIT_CONFIG)
}

/// Prints one error.
pub(super) fn fail(error: &dyn std::error::Error, errors: &mut dyn Write) -> anyhow::Result<u8> {
    writeln!(errors, "keypool: {error}")?;
    Ok(EXIT_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_goes_stops_nobody() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        assert!(writer.write_all(b"x").is_err());
        let mut out = UntilClosed(&mut writer);
        out.write_all(b"x").and_then(|()| out.flush()).unwrap();
    }
}

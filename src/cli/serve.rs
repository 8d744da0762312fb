//! `keypool serve`: the daemon.

use std::io::Write;
use std::path::Path;
use std::thread;

use super::run::{fail, refuse};
use crate::app::{Daemon, pause_after_a_crash};
use crate::clock::Clock;
use crate::config::{Flags, bootstrap};
use crate::pool::{KeyState, KeyView, Pool};
use crate::secrets::Process;
use crate::signals;
use crate::telemetry::logging;

/// One worker would do for the pool; the second answers while the first reads files.
const WORKERS: usize = 2;

/// Runs the daemon until it is told to stop.
pub(super) fn serve(flags: Flags, process: Process, errors: &mut dyn Write) -> anyhow::Result<u8> {
    let pause = |state_dir: Option<&Path>| {
        // Before all that may fail, and while a signal still ends the process at once.
        pause_after_a_crash(state_dir, &process, || Clock::System.now().wall, thread::sleep);
    };
    let built = match bootstrap(&flags, &process) {
        Ok(built) => built,
        Err(problems) => {
            pause(None);
            return refuse(&problems, errors);
        }
    };
    let logging = logging::start(&built.settings.log, built.settings.log_format);
    pause(built.settings.state_dir.as_deref());
    if let Err(error) = logging {
        return fail(&error, errors);
    }
    if let Some(file) = &built.file {
        tracing::info!("settings from {}", file.display());
    } else {
        tracing::info!("no keypool.toml; settings are the defaults");
    }
    let daemon = match Daemon::start(built, flags, process, Clock::System) {
        Ok(daemon) => daemon,
        Err(error) => return fail(&error, errors),
    };
    signals::listen(daemon.controls())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(4)
        .thread_name("keypool")
        .enable_all()
        .build()?;
    greet(&daemon);
    let ended = runtime.block_on(daemon.run());
    // A thread that hangs in a file system is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Ok(0),
        Err(error) => fail(&error, errors),
    }
}

/// Says what is served, and how to get the first key.
fn greet(daemon: &Daemon) {
    let (usable, capacity, models) = daemon.service().call(|pool: &mut Pool, now| {
        let serves = |key: &KeyView<'_>| match key.state {
            KeyState::Ready | KeyState::Exhausted { .. } | KeyState::Cooling { .. } => true,
            KeyState::Dead(_) | KeyState::MissingSecret(_) | KeyState::Inactive => false,
        };
        let usable = pool.keys(now).iter().filter(|key| serves(key)).count();
        (usable, pool.capacity(None), pool.models_offered())
    });
    let capacity = capacity.map_or("no limit".to_owned(), |rpm| format!("{rpm} requests a minute"));
    let socket = daemon.socket();
    tracing::info!("listening on {}; {usable} keys, {capacity}", socket.display());
    let body =
        models.first().map_or("{}".to_owned(), |model| format!("{{\"model\": \"{model}\"}}"));
    tracing::info!("try: {}", curl(socket, &body));
}

/// The curl line that selects a key.
fn curl(socket: &Path, body: &str) -> String {
    let socket = socket.display();
    format!("curl --unix-socket {socket} --json '{body}' http://localhost/v1/select")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curl_line_can_be_pasted() {
        assert_eq!(
            curl(Path::new("run/keypool.sock"), "{}"),
            "curl --unix-socket run/keypool.sock --json '{}' http://localhost/v1/select"
        );
    }
}

//! The daemon as `keypool serve` runs it, except that its clock moves by hand: each line on standard
//! input says how many nanoseconds, and is answered with a line once the clock has moved.
//!
//! Its argument is the path of keypool.toml.

#![allow(clippy::print_stderr, reason = "what fails here is for a person to see")]

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;
use std::{env, thread};

use anyhow::Context;
use keypool::app::Daemon;
use keypool::clock::{Clock, ManualClock};
use keypool::config::{Flags, bootstrap};
use keypool::control::Control;
use keypool::pool::{Instant, Now, WallTime};
use keypool::secrets::Process;

fn main() -> anyhow::Result<()> {
    let config = env::args_os().nth(1).context("usage: hand_clock_daemon KEYPOOL_TOML")?;
    let flags = Flags { config: Some(PathBuf::from(config)), ..Flags::default() };
    // Noon, an hour after the machine was started.
    let at = Instant::ZERO.plus(Duration::from_hours(1));
    let wall = WallTime::from_millis(1_767_268_800_000);
    let clock = ManualClock::at(Now { at, wall });
    let process = Process::new([]);
    let built = bootstrap(&flags, &process)?;
    let daemon = Daemon::start(built, flags, process, Clock::Manual(clock.clone()))?;
    let controls = daemon.controls();
    // Whoever moves the clock waits for it, so a thread of its own takes nothing from the daemon.
    thread::spawn(move || {
        if let Err(error) = follow(&clock) {
            eprintln!("the clock stands still: {error}");
        }
        controls.send(Control::Stop);
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(runtime.block_on(daemon.run())?)
}

/// Moves the clock until nobody tells how far.
fn follow(clock: &ManualClock) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let nanos = line?.trim().parse().map_err(io::Error::other)?;
        clock.advance(Duration::from_nanos(nanos));
        writeln!(io::stdout())?;
    }
    Ok(())
}

//! A busy day of a pool, to look at in Grafana: writes what Prometheus would have scraped of it.
//!
//! ```sh
//! cargo run --release --example busy_day -- target/busy_day.om
//! promtool tsdb create-blocks-from openmetrics --max-block-duration=24h \
//!     target/busy_day.om target/busy_day
//! prometheus --config.file=grafana/prometheus/prometheus.yml --storage.tsdb.path=target/busy_day
//! ```
//!
//! The daemon is the real one, on a clock that moves by hand: a day takes a few minutes. Its
//! callers and its providers follow the script of [`day`], in which a provider fails for a while, a
//! key is revoked and renewed, a limit is lower than keys.json says, demand goes over the capacity
//! at noon, and somebody saves a file that is not valid. The day is the one that ends now, or the
//! one that begins at the time given after the file: `… busy_day.om 2026-03-02T00:00:00Z`.

mod day;
mod daemon;
mod caller;
mod http;
mod openmetrics;

use std::env;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use keypool::clock::{Clock, ManualClock, parse_rfc3339};
use keypool::pool::{Instant, Now, WallTime};

use caller::Callers;
use daemon::Running;
use day::Day;

/// How long the day is.
const LENGTH: Duration = Duration::from_hours(24);

/// How far the clock moves at once: callers come and answers arrive in these steps.
const STEP: Duration = Duration::from_millis(500);

/// How often the metrics are scraped.
const SCRAPE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let Some(file) = arguments.next().map(PathBuf::from) else {
        bail!("usage: busy_day FILE [START]");
    };
    let start = match arguments.next() {
        Some(text) => {
            text.to_str().and_then(parse_rfc3339).context("START is a time of RFC 3339")?
        }
        None => a_day_ago(),
    };
    let out = File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, live_through(start, BufWriter::new(out)))
}

/// The last whole minute, a day ago.
fn a_day_ago() -> WallTime {
    let now = Clock::System.now().wall.as_millis();
    let length = u64::try_from(LENGTH.as_millis()).unwrap_or_default();
    WallTime::from_millis((now - length) / 60_000 * 60_000)
}

async fn live_through(start: WallTime, mut out: impl Write) -> anyhow::Result<()> {
    let clock =
        ManualClock::at(Now { at: Instant::ZERO.plus(Duration::from_hours(1)), wall: start });
    let day = Rc::new(Day::new(clock.clone()));
    let provider = http::serve_probes(day.clone()).await?;
    let daemon = Running::start(&clock, provider)?;
    let callers = Callers::new(day.clone(), daemon.socket());
    let mut terminal = io::stderr();
    let watched = terminal.is_terminal();

    let mut scraped = day.elapsed();
    while day.elapsed() < LENGTH {
        daemon.follow(&day)?;
        callers.arrive(STEP);
        callers.settle().await?;
        if day.elapsed() >= scraped {
            let text = http::send(&daemon.socket(), "GET", "/metrics", "").await?.body;
            openmetrics::write(&mut out, &text, clock.now().wall)?;
            scraped += SCRAPE;
        }
        if watched && day.elapsed().as_secs().is_multiple_of(600) {
            let hour = day.elapsed().as_secs_f64() / 3600.0;
            write!(terminal, "\r{hour:4.1} of 24 hours")?;
        }
        clock.advance(STEP);
    }
    openmetrics::end(&mut out)?;
    daemon.stop();
    writeln!(terminal, "\r{callers}")?;
    Ok(())
}

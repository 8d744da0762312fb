//! How many instructions the hot path takes, as callgrind counts them, against the counts that are
//! recorded in `counts.json`.
//!
//! ```sh
//! cargo bench --bench instructions                # fails if a count has grown by more than 5 %
//! cargo bench --bench instructions -- --record    # records the counts of this compiler
//! ```
//!
//! Counts hardly depend on what else the machine does, so that they show what times cannot. The
//! same with `cargo test` counts in a debug build: less than what serves, but built already.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures of a bench"
)]

mod counted;
mod record;
mod scenario;
mod socket;
#[path = "../pool/keys.rs"]
mod keys;
#[allow(dead_code, reason = "the other bench prints names")]
#[path = "../pool/traffic.rs"]
mod traffic;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use record::Record;
use scenario::Scenario;

/// By how many percent a count may grow: with the compiler that it is recorded of, and with
/// another one, whose code is another for the same source.
const MOST_GROWTH: f64 = 5.0;
const MOST_GROWTH_ELSEWHERE: f64 = 25.0;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = env::args().collect();
    let after = |flag: &str| arguments.iter().skip_while(move |argument| *argument != flag).nth(1);
    if let Some(name) = after("--scenario") {
        let scenario = Scenario::named(name).context("there is no such scenario")?;
        scenario.run();
        return Ok(ExitCode::SUCCESS);
    }
    let counts: Vec<(Scenario, u64)> = Scenario::ALL
        .into_iter()
        .map(|s| Ok((s, counted::per_call(s)?)))
        .collect::<anyhow::Result<_>>()?;
    if arguments.iter().any(|argument| argument == "--record") {
        return Record::write(&counts).map(|()| ExitCode::SUCCESS);
    }
    let record = Record::read()?;
    let most = if record.is_of_this_compiler() { MOST_GROWTH } else { MOST_GROWTH_ELSEWHERE };
    let mut out = io::stdout().lock();
    if !record.is_of_this_compiler() {
        writeln!(
            out,
            "The counts are recorded of {}, and this is {}: a growth up to {most} % is let pass.\n",
            record.compiler(),
            record::this_compiler(),
        )?;
    }
    writeln!(out, "| instructions | recorded | now | growth |\n|---|--:|--:|--:|")?;
    let mut grown = Vec::new();
    for (scenario, count) in counts {
        let name = scenario.name();
        let Some(recorded) = record.count(name) else {
            grown.push(format!("{name} has no recorded count"));
            continue;
        };
        let growth = 100.0 * (count as f64 / recorded as f64 - 1.0);
        writeln!(out, "| {name} | {recorded} | {count} | {growth:+.1} % |")?;
        if growth > most {
            grown.push(format!("{name} takes {growth:.1} % more instructions than recorded"));
        } else if growth < -MOST_GROWTH {
            writeln!(io::stderr(), "{name} takes fewer: record that")?;
        }
    }
    for what in &grown {
        writeln!(out, "MISSED: {what}; if that is meant, record the counts (benches/README.md)")?;
    }
    Ok(if grown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! What a decision costs in process: `Pool::select` and `Pool::report`, at 8 to 100,000 keys and
//! 50 to 150 % of what these allow, in virtual time, printed as Markdown.
//!
//! ```sh
//! cargo bench --bench pool                   # fails if a bound is missed
//! cargo bench --bench pool -- --no-bounds    # prints only
//! cargo bench --bench pool -- --keys 1000    # these alone
//! ```

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures of a bench"
)]

mod keys;
mod measured;
mod timer;
mod traffic;

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::Arc;

use keypool::pool::Revision;
use measured::Measured;
use timer::{Figures, Timer, Times};
use traffic::{Kind, Traffic};

/// How many keys, and what share of their capacity is asked for, in percent.
const COUNTS: [usize; 5] = [8, 100, 1_000, 10_000, 100_000];
const LOADS: [u32; 4] = [50, 95, 100, 150];

/// Measured selects of one load: rounds of so many, of which the middle one counts, because other
/// processes use the machine as well.
const ROUNDS: usize = 3;
const SELECTS: usize = 60_000;

/// What must hold at this many keys, at every load and for every kind of request: the 99th
/// percentile in nanoseconds, and the cost against that of the fewest keys.
const BOUND_AT: usize = 10_000;
const MOST_P99: u64 = 1000;
const MOST_TIMES: u64 = 5;

/// One load on one number of keys.
struct Row {
    count: usize,
    load: u32,
    measured: Measured,
}

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = env::args().collect();
    let bounds = !arguments.iter().any(|argument| argument == "--no-bounds");
    let only = arguments.iter().skip_while(|argument| *argument != "--keys").nth(1);
    let only: Option<usize> = only.and_then(|count| count.parse().ok());
    let timer = Timer::new();
    let mut rows = Vec::new();
    for count in COUNTS.into_iter().filter(|count| only.is_none_or(|only| only == *count)) {
        let mut traffic = Traffic::on(count);
        for load in LOADS {
            traffic.settle_at(load, count);
            let rounds = (0..ROUNDS).map(|_| {
                let mut measured = Measured::with(timer);
                traffic.run(SELECTS, &mut measured);
                measured
            });
            rows.push(Row { count, load, measured: middle(rounds.collect()) });
        }
    }
    let mut out = io::stdout().lock();
    writeln!(out, "In nanoseconds, less {} ns that measuring a call takes.\n", timer.own)?;
    costs(&mut out, &rows)?;
    kinds(&mut out, &rows)?;
    configurations(&mut out, timer, &rows)?;
    let missed: Vec<String> = rows.iter().flat_map(|row| missed(row, &rows)).collect();
    for miss in &missed {
        writeln!(out, "MISSED: {miss}")?;
    }
    Ok(if bounds && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The round whose selects are neither the fastest nor the slowest.
fn middle(mut rounds: Vec<Measured>) -> Measured {
    rounds.sort_by_key(|round| round.selects().figures().map(|figures| figures.p99));
    rounds.swap_remove(rounds.len() / 2)
}

/// The table of all selects and reports.
fn costs(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    writeln!(
        out,
        "| keys | load | refused | select p50 | p99 | mean | refusal p99 | mean \
         | report p50 | p99 | mean |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )?;
    for Row { count, load, measured } in rows {
        let (selects, refusals) = (measured.selects(), measured.refusals());
        let refused = 100.0 * refusals.count() as f64 / selects.count() as f64;
        let selects = cells(selects.figures());
        let refusals = refusals.figures();
        let refusals =
            refusals.map_or("– | –".to_owned(), |f| format!("{} | {}", f.p99, f.mean));
        let reports = cells(measured.reports.clone().figures());
        writeln!(
            out,
            "| {count} | {load} % | {refused:.1} % | {selects} | {refusals} | {reports} |"
        )?;
    }
    writeln!(out)
}

fn cells(figures: Option<Figures>) -> String {
    figures.map_or("– | – | –".to_owned(), |f| format!("{} | {} | {}", f.p50, f.p99, f.mean))
}

/// The table of the selects of each kind.
fn kinds(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let names = Kind::ALL.map(|kind| format!("{} p99 | mean", kind.name())).join(" | ");
    writeln!(out, "| keys | load | {names} |")?;
    writeln!(out, "|--:|--:|{}", "--:|--:|".repeat(Kind::ALL.len()))?;
    for Row { count, load, measured } in rows {
        let cells = Kind::ALL.map(|kind| {
            let figures = measured.selects_of(kind).figures();
            figures.map_or("– | –".to_owned(), |f| format!("{} | {}", f.p99, f.mean))
        });
        writeln!(out, "| {count} | {load} % | {} |", cells.join(" | "))?;
    }
    writeln!(out)
}

/// The table of how long the pool is busy with a configuration: the first one, and others that
/// change a limit of each key or add a key, which were compared with it before.
fn configurations(out: &mut impl Write, timer: Timer, rows: &[Row]) -> io::Result<()> {
    writeln!(out, "| keys | first configuration | other limits | a key more |\n|--:|--:|--:|--:|")?;
    for Row { count, .. } in rows.iter().filter(|row| row.load == LOADS[0]) {
        let settings = keys::settings(*count);
        let mut other_limits = settings.clone();
        for key in &mut other_limits.keys {
            Arc::make_mut(key).limits.rpd = NonZeroU64::new(2_000_000);
        }
        let a_key_more = keys::settings(count + 4);
        let ((mut pool, now), first) = timer.time(|| keys::pool(settings));
        let mut take = |next| {
            let mut revision = Revision::new(pool.settings(), next, &BTreeMap::new(), || {});
            timer.time(|| pool.revise(&mut revision, now)).1
        };
        let (other_limits, a_key_more) = (take(other_limits), take(a_key_more));
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let [first, limits, more] = [first, other_limits, a_key_more].map(millis);
        writeln!(out, "| {count} | {first:.1} ms | {limits:.1} ms | {more:.1} ms |")?;
    }
    writeln!(out)
}

/// The bounds that `row` misses.
fn missed(row: &Row, rows: &[Row]) -> Vec<String> {
    let fewest = rows.iter().find(|few| few.load == row.load);
    let Some(fewest) = fewest.filter(|_| row.count == BOUND_AT) else { return Vec::new() };
    let of_kind = |kind: Kind| {
        let what = format!("select ({}) at {} keys and {} %", kind.name(), row.count, row.load);
        bounds(&what, row.measured.selects_of(kind), fewest.measured.selects_of(kind))
    };
    let refusals = format!("a refusal at {} keys and {} %", row.count, row.load);
    let refusals = bounds(&refusals, row.measured.refusals(), fewest.measured.refusals());
    Kind::ALL.into_iter().flat_map(of_kind).chain(refusals).collect()
}

fn bounds(what: &str, many: Times, few: Times) -> Vec<String> {
    let (Some(many), few) = (many.figures(), few.figures()) else { return Vec::new() };
    let late = (many.p99 >= MOST_P99)
        .then(|| format!("{what}: p99 is {} ns, and must be under {MOST_P99} ns", many.p99));
    let times = few.filter(|few| many.mean > MOST_TIMES * few.mean).map(|few| {
        let (mean, least) = (many.mean, few.mean);
        format!("{what}: {mean} ns, more than {MOST_TIMES} times the {least} ns of the fewest keys")
    });
    late.into_iter().chain(times).collect()
}

//! The metrics that are used are the metrics that there are.

use std::collections::BTreeSet;

use keypool::telemetry::metrics::{CATALOGUE, Kind, PROCESS};

use crate::board::Board;
use crate::text;

/// What Prometheus writes by itself.
const BY_PROMETHEUS: [&str; 1] = ["up"];

/// The metrics that the dashboards and the rules name, without the parts of a histogram.
fn used() -> BTreeSet<String> {
    let boards = Board::all();
    let questions = boards.iter().flat_map(Board::questions).map(|question| question.expr);
    let variables = boards.iter().flat_map(Board::variable_queries).map(str::to_owned);
    let rules = text("grafana/prometheus/keypool.rules.yml");
    let rules = rules.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned);
    questions.chain(variables).chain(rules).flat_map(|expr| metrics(&expr)).collect()
}

/// The words of `expr` that are metrics.
fn metrics(expr: &str) -> Vec<String> {
    let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metric = |word: &&str| word.starts_with("keypool_") || word.starts_with("process_");
    words.filter(metric).map(family).collect()
}

fn family(name: &str) -> String {
    let histograms = CATALOGUE.iter().filter(|family| family.kind == Kind::Histogram);
    let part = |family: &str| ["_bucket", "_sum", "_count"].map(|part| format!("{family}{part}"));
    let whole = histograms.map(|family| family.name);
    whole
        .into_iter()
        .find(|whole| part(whole).iter().any(|part| part == name))
        .unwrap_or(name)
        .into()
}

#[test]
fn every_metric_that_is_used_is_exported() {
    let exported = CATALOGUE.iter().map(|family| family.name).chain(PROCESS);
    let exported: BTreeSet<&str> = exported.chain(BY_PROMETHEUS).collect();
    let unknown: Vec<String> =
        used().into_iter().filter(|name| !exported.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "nothing exports {unknown:?}");
}

#[test]
fn every_metric_that_is_exported_is_used() {
    let used = used();
    let exported = CATALOGUE.iter().map(|family| family.name).chain(PROCESS);
    let unused: Vec<&str> = exported.filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "no dashboard and no alert looks at {unused:?}");
}

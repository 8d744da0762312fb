//! A scrape, read back.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of one scrape.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    pub(crate) text: String,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    pub(crate) fn of(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, number) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), number.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        });
        let (text, count) = (text.to_owned(), text.lines().filter(|l| !l.starts_with('#')).count());
        let samples: BTreeMap<String, f64> = samples.collect();
        assert_eq!(samples.len(), count, "every series stands once");
        Self { text, samples }
    }

    /// The number of `series`, such as `keypool_selects_total{result="granted"}`.
    pub(crate) fn number(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }

    /// The series that begin with `prefix` and are not 0, with their numbers.
    pub(crate) fn counted(&self, prefix: &str) -> Vec<(&str, f64)> {
        let samples = self.samples.iter().filter(|(series, _)| series.starts_with(prefix));
        let samples = samples.filter(|(_, number)| **number != 0.0);
        samples.map(|(series, number)| (&series[prefix.len()..], *number)).collect()
    }

    /// The names that have a type.
    pub(crate) fn families(&self) -> BTreeSet<&str> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).collect()
    }

    /// Whether any series names `text`.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.samples.keys().any(|series| series.contains(text))
    }
}

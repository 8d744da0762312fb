//! The text that Prometheus is given, with any text as the value of a label.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::clock::ManualClock;
use crate::pool::{KeyId, KeySettings, Limits, PoolSettings, ResetZone, SelectRequest, WallTime};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Reading, Surroundings};

/// The text is given in pieces of about so many bytes.
const PIECE: usize = 1000;

/// Reads `bytes` as names of models and providers, one a line with a tab between: the exposition
/// parses, and what it says of the keys are these very names.
pub fn exposition(bytes: &[u8]) {
    thread_local! {
        static METRICS: Metrics = Metrics::new(WallTime::default());
    }
    let text = String::from_utf8_lossy(bytes);
    // Line feeds are of the input's format; another character stands for one in a name.
    let name = |text: &str| -> Arc<str> { text.replace('~', "\n").into() };
    let keys: Vec<KeySettings> = text
        .lines()
        .take(20)
        .enumerate()
        .filter_map(|(n, line)| {
            let (provider, models) = line.split_once('\t').unwrap_or((line, ""));
            // No configuration gives a model twice.
            let models: BTreeSet<&str> =
                models.split('\t').filter(|name| !name.is_empty()).collect();
            let models = models.into_iter().map(name);
            Some(key(KeyId::parse(&format!("key_{n:02}"))?, name(provider), models))
        })
        .collect();
    let expected: BTreeSet<[String; 3]> = keys
        .iter()
        .flat_map(|key| {
            let of = |model: &str| [key.id.to_string(), key.provider.to_string(), model.to_owned()];
            let any = key.models.is_empty().then(|| of("*"));
            key.models.iter().map(|model| of(model)).chain(any).collect::<Vec<_>>()
        })
        .collect();

    let now = ManualClock::default().now();
    let mut pool = super::pool();
    let secrets = keys.iter().map(|key| (key.id.clone(), None)).collect();
    let keys = keys.into_iter().map(Arc::new).collect();
    let settings = PoolSettings { keys, ..PoolSettings::default() };
    pool.reconfigure_with_secrets(settings, &secrets, now);
    pool.select(SelectRequest::default(), None, now).ok();
    let reading = Reading::of(&mut pool, now);
    let around = Surroundings { serving: true, ..Surroundings::default() };
    let text = METRICS.with(|metrics| metrics.text(&reading, &around, PIECE));

    let samples = parse(&text.concat());
    let infos = samples.iter().filter(|sample| sample.name == "keypool_key_info");
    let found: BTreeSet<[String; 3]> = infos
        .map(|sample| ["key_id", "provider", "model"].map(|label| sample.label(label).to_owned()))
        .collect();
    assert_eq!(found, expected);
}

fn key(id: KeyId, provider: Arc<str>, models: impl Iterator<Item = Arc<str>>) -> KeySettings {
    let limits = Limits { rpm: NonZeroU64::new(5), rpd: NonZeroU64::new(7), ..Limits::default() };
    KeySettings {
        credential: id.as_str().into(),
        id,
        provider,
        models: models.collect(),
        limits,
        quota_group: None,
        priority: None,
        workload: None,
        tags: [].into(),
        weight: NonZeroU64::MIN,
        active: true,
        reset_zone: ResetZone::new("UTC"),
    }
}

/// A line of the exposition.
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
}

impl Sample {
    fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| value.as_str()).unwrap()
    }
}

/// Reads the text as Prometheus does: every line is a comment or a sample of the family that was
/// begun last, and no series is there twice.
fn parse(text: &str) -> Vec<Sample> {
    assert!(text.ends_with('\n'));
    let mut series = BTreeSet::new();
    let mut family = String::new();
    let mut families = BTreeSet::new();
    let mut samples = Vec::new();
    // Not `lines`, which takes a carriage return for the end of one.
    for line in text.trim_end_matches('\n').split('\n') {
        if let Some(comment) = line.strip_prefix("# ") {
            let (word, rest) = comment.split_once(' ').unwrap();
            let name = rest.split(' ').next().unwrap();
            match word {
                "HELP" => assert!(families.insert(name.to_owned()), "{name} twice"),
                "TYPE" => name.clone_into(&mut family),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (sample, rest) = sample(line);
        assert!(sample.name.starts_with(&family), "{line} in {family}");
        let number = rest.trim_start_matches(' ');
        assert!(number.parse::<f64>().is_ok() || ["+Inf", "-Inf"].contains(&number), "{line}");
        assert!(series.insert(&line[..line.len() - number.len()]), "{line} twice");
        samples.push(sample);
    }
    samples
}

/// The sample that `line` begins with, and what follows.
fn sample(line: &str) -> (Sample, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = line.find(|c| !is_name(c)).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(!label.is_empty() && label.chars().all(is_name), "{line}");
            let (value, after) = value(after);
            labels.push((label.to_owned(), value));
            if let Some(after) = after.strip_prefix(',') {
                rest = after;
            } else {
                rest = after.strip_prefix('}').unwrap();
                break;
            }
        }
    }
    (Sample { name: name.to_owned(), labels }, rest)
}

/// The value of a label up to its quote, and what follows.
fn value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next().unwrap() {
            '"' => return (value, chars.as_str()),
            '\\' => value.push(match chars.next().unwrap() {
                'n' => '\n',
                plain @ ('\\' | '"') => plain,
                other => panic!("\\{other} is no escape"),
            }),
            other => value.push(other),
        }
    }
}

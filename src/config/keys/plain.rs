//! A plain text file of one key a line.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use super::ReadKey;
use crate::config::problem::Problem;
use crate::config::settings::Settings;
use crate::config::text::Position;
use crate::pool::{KeyId, KeySettings, Limits};
use crate::secrets::{Secret, SecretRef};

/// A flat file does not say whose keys it has.
const PROVIDER: &str = "gemini";

/// More wrong lines than anybody reads: such a file is something else.
const MOST_WRONG: usize = 200;

/// One key of a flat file.
#[derive(Debug)]
pub(crate) struct Line<'t> {
    /// The line, from 1.
    pub(crate) number: usize,
    /// The key.
    pub(crate) text: &'t str,
}

/// The keys of a flat file and what is wrong with it. Blank lines and lines that begin with `#`
/// are none, and neither is a key that another line has.
pub(crate) fn lines<'t>(
    path: &Arc<Path>,
    bytes: &'t [u8],
    problems: &mut Vec<Problem>,
) -> Vec<Line<'t>> {
    let mut wrong = 0;
    let mut lines = Vec::new();
    let mut first_lines = HashMap::new();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (number, bytes) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let place = |problem: Problem| problem.in_file(path).at(Position::line(number));
        let text = bytes.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        let text = std::str::from_utf8(text).ok();
        let one_key = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let Some(text) = text.filter(one_key) else {
            problems.push(place(Problem::error("expected one key and nothing else on the line")));
            wrong += 1;
            if wrong == MOST_WRONG {
                break;
            }
            continue;
        };
        if let Some(first) = first_lines.get(text) {
            let message = format!("line {first} has this key already, so this line has no effect");
            problems.push(place(Problem::warning(message)));
            continue;
        }
        first_lines.insert(text, number);
        lines.push(Line { number, text });
    }
    lines
}

/// The keys of the file at `path`, as `key_01` and so on.
pub(super) fn read(
    path: &Arc<Path>,
    bytes: &[u8],
    settings: &Settings,
    problems: &mut Vec<Problem>,
) -> Vec<ReadKey> {
    let before = problems.len();
    let lines = lines(path, bytes, problems);
    if lines.is_empty() && problems.len() == before {
        problems.push(Problem::error("expected one key a line").in_file(path));
    }
    let ids = (1..).filter_map(|number| KeyId::parse(&format!("key_{number:02}")));
    let key = |(id, line): (KeyId, Line<'_>)| {
        let secret = SecretRef::Line {
            key_id: id.to_string(),
            secret: Secret::new(line.text),
            path: Arc::clone(path),
            line: line.number,
        };
        unlimited(id, PROVIDER, secret, settings)
    };
    ids.zip(lines).map(key).collect()
}

/// A key of which nothing is known but its provider.
pub(super) fn unlimited(
    id: KeyId,
    provider: &str,
    secret: SecretRef,
    settings: &Settings,
) -> ReadKey {
    let settings = KeySettings {
        id,
        provider: provider.into(),
        models: Vec::new(),
        limits: Limits::default(),
        quota_group: None,
        credential: secret.credential(),
        priority: None,
        workload: None,
        tags: BTreeMap::new(),
        weight: NonZeroU64::MIN,
        active: true,
        reset_zone: settings.reset_zone(provider),
    };
    ReadKey { settings, secret }
}

//! A daemon of one's own, and ways to talk to it.

mod daemon;
mod http;

pub(crate) use daemon::TestDaemon;
pub(crate) use http::{Answer, exchange, send};

/// Eight keys: three of 15 requests a minute, five of 60.
pub(crate) const EIGHT_KEYS: &str = include_str!("../../../config/keys.json");

/// keys.json with one line per key: its id and more members.
pub(crate) fn keys_json(keys: &[(&str, &str)]) -> String {
    let entry = |(id, more): &(&str, &str)| {
        let comma = if more.is_empty() { "" } else { ", " };
        format!("{{\"key_id\": \"{id}\"{comma}{more}}}")
    };
    let entries: Vec<String> = keys.iter().map(entry).collect();
    format!("{{\"keys\": [{}]}}", entries.join(",\n"))
}

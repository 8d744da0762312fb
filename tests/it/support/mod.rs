//! A daemon of one's own, and ways to talk to it.

use std::thread;
use std::time::Duration;

use keypool::clock::Clock;

mod daemon;
mod document;
mod fake_provider;
mod fake_vault;
mod http;
mod scrape;

pub(crate) use daemon::TestDaemon;
pub(crate) use document::{DOCUMENT, judge_value};
pub(crate) use fake_provider::{FakeProvider, Manner};
pub(crate) use fake_vault::FakeVault;
pub(crate) use http::{Answer, exchange, exchange_over, send};
pub(crate) use scrape::Scrape;

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

/// Returns once `happened`; fails if it does not for long. For what takes real time.
#[track_caller]
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let now = || Clock::System.now().at;
    let begun = now();
    while !happened() {
        assert!(now().since(begun) < Duration::from_secs(30), "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

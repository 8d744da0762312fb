//! keys.json, and the plain file of one key a line that may stand in its place.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::clock::ManualClock;
use crate::config::{Bootstrap, Keys, NotEdited, with_changes, with_entry, without_entry};
use crate::pool::{KeyId, SelectRequest};

/// Reads `bytes` as a keys file: valid keys or errors, each with its place. What is valid makes a
/// pool, and an edited file is valid as long as the edit is.
pub fn keys_json(bytes: &[u8]) {
    thread_local! {
        static USUAL: Bootstrap = super::usual();
    }
    USUAL.with(|usual| {
        if let Some(keys) = read(usual, bytes, false) {
            use_in_pool(keys);
        }
        if let Some(keys) = read(usual, bytes, true) {
            let text = std::str::from_utf8(bytes).expect("valid files are text");
            edit(usual, text, &keys);
            use_in_pool(keys);
        }
    });
}

fn read(usual: &Bootstrap, bytes: &[u8], json: bool) -> Option<Keys> {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    match usual.keys_of(&super::path("keys.json"), bytes, json) {
        Ok(keys) => {
            let ids: BTreeSet<&KeyId> = keys.pool.keys.iter().map(|key| &key.id).collect();
            assert!(!ids.is_empty() && ids.len() == keys.pool.keys.len(), "ids are unique");
            assert!(keys.secrets.keys().eq(ids.iter().copied()), "each has its secret");
            assert!(keys.pool.fallback_order.iter().all(|id| ids.contains(id)));
            assert!(keys.pool.warning_threshold > 0.0 && keys.pool.warning_threshold <= 1.0);
            assert!(!keys.health_check_interval.is_zero());
            // In keys.json nothing is a secret, and an id may be called like one.
            assert!(
                json || !format!("{keys:?}").contains("fake-secret"),
                "a secret in Debug output"
            );
            Some(keys)
        }
        Err(problems) => {
            assert!(problems.errors().count() > 0);
            for problem in problems.errors() {
                let line = problem.position.map_or(1, |position| position.line);
                assert!((1..=lines).contains(&line), "{problem}: {lines} lines");
                assert!(!problem.to_string().contains("fake-secret"), "{problem}");
            }
            None
        }
    }
}

fn use_in_pool(keys: Keys) {
    let clock = ManualClock::default();
    let mut pool = super::pool();
    let secrets = keys.secrets.keys().map(|id| (id.clone(), None)).collect();
    let added = keys.pool.keys.len();
    let changes = pool.reconfigure_with_secrets(keys.pool.clone(), &secrets, clock.now());
    assert_eq!(changes.added.len(), added);
    for _ in 0..3 {
        pool.select(SelectRequest::default(), None, clock.now()).ok();
    }
    let again = pool.reconfigure(keys.pool, clock.now());
    assert_eq!(again, crate::pool::KeyChanges::default(), "the same again changes nothing");
    assert_eq!(pool.keys(clock.now()).len(), added);
}

/// Changes, adds and removes an entry, as administrators do.
fn edit(usual: &Bootstrap, text: &str, keys: &Keys) {
    let path = super::path("keys.json");
    let ids = |text: &str| {
        let keys = usual.keys_of(&path, text.as_bytes(), true);
        keys.ok().map(|keys| keys.pool.keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>())
    };
    let before = ids(text).unwrap();
    let key = &keys.pool.keys[0];

    let members = [("active".to_owned(), Value::from(!key.active))];
    let changed = with_changes(text, key.id.as_str(), &members).unwrap();
    let read = usual.keys_of(&path, changed.as_bytes(), true).unwrap();
    assert_eq!(read.pool.keys[0].active, !key.active, "{changed}");
    let [one, other] = [&read, keys].map(|keys| keys.pool.keys.len());
    assert_eq!(one, other, "{changed}");

    let absent = [("active".to_owned(), Value::Null)];
    let changed = with_changes(text, key.id.as_str(), &absent).unwrap();
    assert_eq!(ids(&changed).as_ref(), Some(&before), "{changed}");

    let new = "added_by_hand";
    match with_entry(text, new, &[("priority".to_owned(), Value::from(7))]) {
        Ok(added) => {
            let expected: Vec<_> = before.iter().cloned().chain(KeyId::parse(new)).collect();
            assert_eq!(ids(&added), Some(expected), "{added}");
            let removed = without_entry(&added, new).unwrap();
            assert_eq!(ids(&removed), Some(before.clone()), "{removed}");
        }
        Err(NotEdited::KeyExists) => assert!(before.iter().any(|id| id.as_str() == new)),
        Err(refused) => panic!("{refused:?}"),
    }

    let removed = without_entry(text, key.id.as_str()).unwrap();
    match usual.keys_of(&path, removed.as_bytes(), true) {
        Ok(left) => assert_eq!(left.pool.keys.len(), before.len() - 1, "{removed}"),
        // A file without a key is none; and limits may be taken from the entry that has gone.
        Err(problems) => assert_eq!(before.len(), 1, "{problems:?} {removed}"),
    }
}

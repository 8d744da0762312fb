//! Files that nobody can mean.

use super::*;

/// Versions of keys.json that nobody can mean.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let entry = |more: &str| format!("{{\"keys\": [{{\"key_id\": \"b\"{more}}}]}}").into_bytes();
    let named = |id: &str| format!("{{\"keys\": [{{\"key_id\": {id}}}]}}").into_bytes();
    let utf16 = only("b").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut cases = vec![
        ("empty", Vec::new()),
        ("white space", b" \n\t\n".to_vec()),
        ("null", b"null".to_vec()),
        ("a list", b"[]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("no keys", b"{\"keys\": []}".to_vec()),
        ("a key twice", keys_json(&[("b", ""), ("b", "")]).into_bytes()),
        ("a member twice", entry(", \"rpm\": 1, \"rpm\": 2")),
        ("text after the end", [&*entry(""), b" x"].concat()),
        ("a byte order mark", [b"\xef\xbb\xbf", &*entry("")].concat()),
        ("UTF-16", utf16),
        ("no UTF-8", [&*entry(""), b"\xff"].concat()),
        ("half a character", entry(", \"workload_type\": \"\\ud800\"")),
        ("an id with a new line", named(r#""a\nb""#)),
        ("an id with a quote", named(r#""a\"b""#)),
        ("an id with an escape", named(r#""\u001b[31m""#)),
        ("an id of 10 KB", named(&format!("\"{}\"", "x".repeat(10_000)))),
        ("an id that looks like another", named("\"fl\u{430}sh\"")),
        (
            "an unknown strategy",
            b"{\"keys\": [{\"key_id\": \"b\"}], \"rotation_strategy\": \"best\"}".to_vec(),
        ),
        (
            "a fallback to nobody",
            b"{\"keys\": [{\"key_id\": \"b\"}], \"fallback_order\": [\"z\"]}".to_vec(),
        ),
        ("a bomb", [b'['; 100_000].to_vec()),
    ];
    for number in ["0", "-1", "1.5", "1e400", "NaN", "\"60\"", "18446744073709551615", "[]"] {
        cases.push(("a wrong rpm", entry(&format!(", \"rpm\": {number}"))));
    }
    cases.push(("a burst of nothing", entry(", \"rpm\": 5, \"burst_capacity\": 0")));
    cases.push(("a weight of nothing", entry(", \"weight\": 0")));
    cases
}

#[test]
fn a_broken_file_leaves_everything_as_it_was_and_says_why() {
    let edited = Edited::with("");
    let lease = edited.daemon.select(&json!({}));
    for (what, text) in broken() {
        // What serves is told apart from what is broken by its id.
        save(&edited.keys(), &text);
        let outcome = edited.reload();
        let shown = String::from_utf8_lossy(&text[..text.len().min(100)]);
        assert_eq!(outcome["result"], "kept", "{what}: {shown}: {outcome}");
        assert_eq!(outcome["errors"], edited.configuration()["errors"], "{what}");
        let errors = edited.errors();
        assert!(!errors.is_empty() && errors.iter().all(|e| e.contains("keys.json")), "{errors:?}");
        assert!(edited.serves(&["a"]), "{what}");
        assert_eq!(edited.daemon.select(&json!({}))["key_id"], "a", "{what}");
    }
    edited.daemon.report(&lease, "success");
    save(&edited.keys(), only("b"));
    edited.soon_serves("mended", &["b"]);
    assert_eq!(edited.errors(), [""; 0]);
}

#[test]
fn a_file_cut_off_anywhere_is_never_a_part_of_the_pool() {
    let edited = Edited::start();
    let whole =
        keys_json(&[("b", r#""rpm": 15, "tags": {"region": "us"}"#), ("c", r#""rpm": 60"#)]);
    for length in 0..whole.len() {
        fs::write(edited.keys(), &whole[..length]).unwrap();
        assert_eq!(edited.reload()["result"], "kept", "{length} bytes");
        assert!(edited.serves(&["a"]), "{length} bytes");
    }
    fs::write(edited.keys(), &whole).unwrap();
    let applied = json!({"result": "applied", "added": ["b", "c"], "removed": ["a"], "changed": [],
        "errors": [], "needs_restart": []});
    assert_eq!(edited.reload(), applied);
}

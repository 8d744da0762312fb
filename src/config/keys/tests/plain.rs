//! Keys without keys.json.

use super::*;

#[test]
fn a_plain_file_is_one_key_a_line() {
    let bytes = b"# mine\nfake-secret-1\n\n  fake-secret-2\r\nfake-secret-1\nfake-secret-3";
    let given = Given { name: "API_Keys.txt", bytes, ..Given::default() };
    let keys = given.load().unwrap();
    let ids: Vec<_> = keys.pool.keys.iter().map(|key| key.id.to_string()).collect();
    assert_eq!(ids, ["key_01", "key_02", "key_03"]);
    assert_eq!(keys.pool.strategy, Strategy::RoundRobin);
    assert_eq!(&*keys.pool.keys[0].provider, "gemini");
    let told = "API_Keys.txt:5: line 2 has this key already, so this line has no effect";
    assert_eq!(messages(&keys), [told]);
    let SecretRef::Line { secret, .. } = &keys.secrets["key_02"] else { panic!("a line") };
    assert_eq!(secret.expose(), "fake-secret-2");
    assert!(!format!("{keys:?}").contains("fake-secret"));
}

#[test]
fn a_plain_file_that_everybody_can_read_is_warned_about() {
    let given =
        Given { name: "keys.txt", bytes: b"fake-secret-1", mode: 0o644, ..Given::default() };
    let told = messages(&given.load().unwrap());
    assert!(told[0].ends_with("mend it with: chmod o-r keys.txt"), "{told:?}");
    assert!(Given { mode: 0o666, ..given }.load().is_err());
}

#[test]
fn a_plain_file_of_something_else_is_rejected_without_its_text() {
    for (bytes, told) in [
        (b"# nothing\n".as_slice(), "keys.txt: expected one key a line"),
        (b"canary canary", "keys.txt:1: expected one key and nothing else on the line"),
        (b"a\ncan\xffary", "keys.txt:2: expected one key and nothing else on the line"),
    ] {
        let given = Given { name: "keys.txt", bytes, ..Given::default() };
        assert_eq!(given.load().unwrap_err(), [told]);
    }
    let json = Given { name: "keys.conf", bytes: b"{}", ..Given::default() };
    assert!(json.load().unwrap_err()[0].contains("expected a list"), "JSON under another name");
}

#[test]
fn without_a_keys_file_the_first_single_key_is_the_default() {
    let variables = [("OPENAI_API_KEY", "fake-b"), ("ANTHROPIC_API_KEY", "fake-c")];
    let keys = Given { variables: &variables, ..Given::default() }.load().unwrap();
    assert!(!keys.rotation.on && keys.rotation.why.starts_with("there is no keys file at"));
    assert_eq!(keys.source, KeysSource::SingleKey);
    let ids: Vec<_> = keys.pool.keys.iter().map(|key| key.id.to_string()).collect();
    assert_eq!(ids, ["default", "default_anthropic"]);
    assert_eq!(keys.secrets["default"].looked_up(), "OPENAI_API_KEY");
    let none = Given { variables: &[("GEMINI_API_KEY", "")], ..Given::default() }.load().unwrap();
    assert!(none.pool.keys.is_empty());
}

#[test]
fn rotation_can_be_forced_off_and_on() {
    let text = one("");
    let load = |value, bytes| {
        let variables = [("ENABLE_KEY_ROTATION", value), ("GEMINI_API_KEY", "fake")];
        Given { bytes, variables: &variables, ..Given::default() }.load()
    };
    for value in ["false", "0", "no", "OFF"] {
        let keys = load(value, text.as_bytes()).unwrap();
        assert!(!keys.rotation.on);
        assert_eq!(keys.rotation.why, "ENABLE_KEY_ROTATION is false (process environment)");
        assert_eq!(keys.pool.keys[0].id.as_str(), "default");
    }
    assert!(load("true", text.as_bytes()).unwrap().rotation.on);
    assert!(load("", text.as_bytes()).unwrap().rotation.on, "empty is as good as unset");
    assert_eq!(load("yes", b"").unwrap_err(), ["keys.json: there is no such file"]);
}

//! The fields of an entry.

use super::*;

#[test]
fn a_key_without_limit_and_weight_weighs_as_much_as_the_largest() {
    let keys = load(r#"{"keys": [{"key_id": "a", "rpm": 60}, {"key_id": "b"}]}"#).unwrap();
    assert_eq!(keys.pool.keys[1].weight.get(), 60);
}

#[test]
fn a_limit_is_a_whole_number_from_one() {
    for limit in ["rpm", "tpm", "rpd", "max_concurrent", "priority", "weight"] {
        for value in ["0", "-1", "1.5", "1e400", "\"60\"", "true", "[]", "{}", "1e3", "60.0"] {
            let told = field_errors(&format!("\"{limit}\": {value}"));
            assert_eq!(told, [format!("{limit}: expected a whole number of at least 1")]);
        }
        for value in ["18446744073709551615", "1000000000001", "99999999999999999999999"] {
            let told = field_errors(&format!("\"{limit}\": {value}"));
            let most = "expected a whole number of at least 1 and at most 1000000000000";
            assert_eq!(told, [format!("{limit}: {most}")]);
        }
        load(&one(&format!("\"{limit}\": 1000000000000"))).unwrap();
        load(&one(&format!("\"{limit}\": null"))).unwrap();
    }
    let told = errors(&one("\"rpm\": NaN"));
    assert_eq!(told, ["keys.json:1:41: expected JSON"]);
}

#[test]
fn an_id_is_made_of_a_few_characters() {
    for id in ["", "a b", "a\\n", "a\\\"", "\\u001b[0m", "ключ", "a\u{2010}b", &"x".repeat(10_000)]
    {
        let told = errors(&format!(r#"{{"keys": [{{"key_id": "{id}"}}]}}"#));
        let expected = "keys.json:1:22: key_id: expected 1 to 64 characters of A-Z, a-z, 0-9, \
                        `_`, `.` and `-`";
        assert_eq!(told, [expected]);
    }
    let told = errors(r#"{"keys": [{"rpm": 5}]}"#);
    assert!(told[0].starts_with("keys.json:1:11: key_id: is missing"), "{told:?}");
}

#[test]
fn an_id_is_there_once() {
    let told = errors("{\"keys\": [{\"key_id\": \"a\"},\n{\"key_id\": \"a\"}]}");
    assert_eq!(told, ["keys.json:2:12: key a: key_id: line 1 has this key_id already"]);
}

#[test]
fn an_unknown_field_is_a_warning_with_the_nearest_name_and_the_key_serves() {
    let told = warnings(&one(r#""modle_name": "gemini-2.0-flash""#));
    let expected = "keys.json:1:34: key flash_01: unknown field, which has no effect; did you \
                    mean model_name?";
    assert_eq!(told, [expected]);
}

#[test]
fn a_strategy_that_is_nearly_right_is_told() {
    let told = errors(r#"{"keys": [{"key_id": "a"}], "rotation_strategy": "round-robin"}"#);
    assert!(told[0].ends_with("did you mean round_robin?"), "{told:?}");
}

#[test]
fn keys_of_one_group_and_model_have_the_same_limits() {
    let text = |second: &str| {
        format!(
            r#"{{"keys": [{{"key_id": "a", "quota_group": "g", "model_name": "m", "rpm": 5}},
            {{"key_id": "b", "quota_group": "g", {second}}}]}}"#
        )
    };
    let told = errors(&text(r#""model_name": "m", "rpm": 6"#));
    assert!(told[0].starts_with("keys.json:2:13: key b: quota_group: expected the same rpm"));
    load(&text(r#""model_name": "m", "rpm": 5"#)).unwrap();
    load(&text(r#""model_name": "n", "rpm": 6"#)).unwrap();
}

#[test]
fn a_burst_without_a_rate_is_a_warning() {
    let told = warnings(&one(r#""burst_capacity": 5"#));
    assert_eq!(told, ["keys.json:1:52: key flash_01: burst_capacity: has no effect without rpm"]);
    assert_eq!(field_errors(r#""rpm": 5, "burst_capacity": 0"#).len(), 1);
}

#[test]
fn a_provider_that_is_nearly_known_is_a_warning() {
    let told = warnings(&one(r#""provider": "Gemini""#));
    assert!(told[0].ends_with("did you mean gemini?"), "{told:?}");
    let bytes = one(r#""provider": "geminy""#);
    let toml = "[providers.geminy]\nauth_header = {name = \"x-key\"}\n";
    let given = Given { bytes: bytes.as_bytes(), toml, ..Given::default() };
    assert_eq!(messages(&given.load().unwrap()), [""; 0]);
}

#[test]
fn a_secret_store_that_is_nearly_right_is_told() {
    let told = field_errors(r#""secret_store": "valt""#);
    assert!(told[0].ends_with("did you mean vault?"), "{told:?}");
}

#[test]
fn two_keys_that_meet_in_one_name_of_azure_are_an_error_unless_they_say_so() {
    let keys = |more: &str| {
        let text = format!(
            r#"{{"keys": [{{"key_id": "a_1", "secret_store": "azure"{more}}},
                 {{"key_id": "A.1", "secret_store": "azure"{more}}}]}}"#
        );
        Given { bytes: text.as_bytes(), ..Given::default() }.load()
    };
    let told = keys("").unwrap_err();
    let expected = "its secret would be azure:A-1, as that of key a_1 is; give both a secret_name";
    assert!(told.len() == 1 && told[0].contains(expected), "{told:?}");
    keys(r#", "secret_name": "team""#).unwrap();
}

#[test]
fn the_name_of_a_secret_file_has_no_directory() {
    for name in ["../x", "a/b", "/etc/passwd", "..", "."] {
        let text = one(&format!(r#""secret_store": "file", "secret_name": "{name}""#));
        let toml = "[secrets]\ndir = \"secrets\"\n";
        let told = Given { bytes: text.as_bytes(), toml, ..Given::default() }.load().unwrap_err();
        assert!(told[0].contains("without a directory"), "{name}: {told:?}");
    }
}

#[test]
fn the_share_of_this_daemon_is_taken_of_every_limit() {
    let bytes = one(r#""rpm": 15, "tpm": 1001, "rpd": 1"#);
    let toml = "[quota]\nshare = 0.5\n";
    let keys = Given { bytes: bytes.as_bytes(), toml, ..Given::default() }.load().unwrap();
    let limits = keys.pool.keys[0].limits;
    let values = [limits.rpm, limits.tpm, limits.rpd].map(|limit| limit.unwrap().get());
    assert_eq!(values, [7, 500, 1]);
}

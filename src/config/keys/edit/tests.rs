use serde_json::json;

use super::*;

const FILE: &str = r#"{
  "comment":   "mine",
  "keys": [
    {
      "key_id" : "a",
      "rpm" : 15, "note": [1,  2],
      "active": true
    },
    {"key_id": "b", "rpm": 1e1, "tags": {"region":"us-east"}}
  ],
  "fallback_order": ["b", "a"]
}
"#;

fn add(text: &str) -> String {
    with_entries(text, &["{\"key_id\": \"x\"}".into(), "{\"key_id\": \"y\"}".into()]).unwrap()
}

fn members(value: &Value) -> Vec<(String, Value)> {
    value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn changed(key_id: &str, change: &Value) -> String {
    with_changes(FILE, key_id, &members(change)).unwrap()
}

#[test]
fn entries_are_added_and_all_else_is_kept() {
    let text = "{\n  \"comment\": 1,\n  \"keys\": [\n    {\"key_id\": \"a\", \"mine\": [ 1 ]}\n  ],\n  \
                \"fallback_order\": [\"a\"]}";
    assert_eq!(
        add(text),
        "{\n  \"comment\": 1,\n  \"keys\": [\n    {\"key_id\": \"a\", \"mine\": [ 1 ]},\n    \
         {\"key_id\": \"x\"},\n    {\"key_id\": \"y\"}\n  ],\n  \"fallback_order\": [\"a\"]}"
    );
    let inline = "{\"keys\": [{\"key_id\": \"a\"}]}";
    let added = "{\"keys\": [{\"key_id\": \"a\"}, {\"key_id\": \"x\"}, {\"key_id\": \"y\"}]}";
    assert_eq!(add(inline), added);
    let none = "{\"keys\": []}";
    assert_eq!(add(none), "{\"keys\": [{\"key_id\": \"x\"}, {\"key_id\": \"y\"}]}");
}

#[test]
fn what_is_no_keys_file_is_not_edited() {
    for text in ["", "[]", "{}", "{\"keys\": 5}", "{\"keys\": [}"] {
        assert_eq!(with_entries(text, &[]), None, "{text}");
        assert_eq!(with_entry(text, "a", &[]), Err(NotEdited::NoKeysFile), "{text}");
        assert_eq!(without_entry(text, "a"), Err(NotEdited::NoKeysFile), "{text}");
    }
}

#[test]
fn a_value_that_is_replaced_is_all_that_differs() {
    assert_eq!(changed("a", &json!({"rpm": 60})), FILE.replace("15", "60"));
    assert_eq!(
        changed("b", &json!({"tags": {"x": "y", "z": "ü\""}, "rpm": 7})),
        FILE.replace("{\"region\":\"us-east\"}", "{\"x\": \"y\", \"z\": \"ü\\\"\"}")
            .replace("1e1", "7")
    );
    assert_eq!(changed("a", &json!({})), FILE);
}

#[test]
fn a_new_member_comes_last_in_the_manner_of_its_entry() {
    assert_eq!(
        changed("a", &json!({"rpd": 5})),
        FILE.replace("\"active\": true", "\"active\": true,\n      \"rpd\" : 5")
    );
    assert_eq!(
        changed("b", &json!({"active": false})),
        FILE.replace("\"us-east\"}", "\"us-east\"}, \"active\": false")
    );
}

#[test]
fn null_takes_a_member_away_wherever_it_is() {
    assert_eq!(changed("a", &json!({"rpm": null})), FILE.replace(",\n      \"rpm\" : 15", ""));
    assert_eq!(
        changed("a", &json!({"active": null})),
        FILE.replace(",\n      \"active\": true", "")
    );
    assert_eq!(changed("b", &json!({"tpm": null})), FILE);
    let first = r#"{"keys": [{ "\u0072pm": 1 , "\u0074pm": 2, "key_id": "a"}]}"#;
    let gone = with_changes(first, "a", &[("rpm".into(), Value::Null)]).unwrap();
    assert_eq!(gone, r#"{"keys": [{ "\u0074pm": 2, "key_id": "a"}]}"#);
    let both = [("rpm".into(), Value::Null), ("tpm".into(), Value::Null)];
    assert_eq!(with_changes(first, "a", &both).unwrap(), r#"{"keys": [{ "key_id": "a"}]}"#);
}

#[test]
fn a_new_entry_is_written_as_the_last_one() {
    let new = members(&json!({"rpm": 5, "model_name": ["m", "n"], "tpm": null}));
    assert_eq!(
        with_entry(FILE, "c", &new).unwrap(),
        FILE.replace(
            "\"us-east\"}}",
            "\"us-east\"}},\n    {\"key_id\": \"c\", \"model_name\": [\"m\", \"n\"], \"rpm\": 5}"
        )
    );
    let lines = "{\"keys\": [\n  {\n    \"key_id\": \"a\",\n    \"rpm\": 1\n  }\n]}";
    assert_eq!(
        with_entry(lines, "c", &new).unwrap(),
        lines.replace(
            "  }\n]",
            "  },\n  {\n    \"key_id\": \"c\",\n    \"model_name\": [\"m\", \"n\"],\n    \"rpm\": 5\n  }\n]"
        )
    );
    let empty = with_entry("{\"keys\": []}", "c", &[]).unwrap();
    assert_eq!(empty, "{\"keys\": [{\"key_id\": \"c\"}]}");
}

#[test]
fn an_entry_that_goes_leaves_the_fallback_order_as_well() {
    assert_eq!(
        without_entry(FILE, "b").unwrap(),
        FILE.replace(
            ",\n    {\"key_id\": \"b\", \"rpm\": 1e1, \"tags\": {\"region\":\"us-east\"}}",
            ""
        )
        .replace("\"b\", ", "")
    );
    let without_a = without_entry(FILE, "a").unwrap();
    assert!(without_a.contains("\"keys\": [\n    {\"key_id\": \"b\""), "{without_a}");
    assert!(without_a.contains("[\"b\"]"), "{without_a}");
    assert!(without_a.starts_with("{\n  \"comment\":   \"mine\","), "{without_a}");
}

#[test]
fn keys_that_are_not_there_or_are_already_are_told() {
    let rpm = members(&json!({"rpm": 1}));
    assert_eq!(with_changes(FILE, "c", &rpm), Err(NotEdited::NoSuchKey));
    assert_eq!(without_entry(FILE, "c"), Err(NotEdited::NoSuchKey));
    assert_eq!(with_entry(FILE, "a", &rpm), Err(NotEdited::KeyExists));
}

#[test]
fn fields_that_entries_do_not_have_are_told_with_the_nearest() {
    let Err(NotEdited::UnknownField { name, hint }) =
        with_changes(FILE, "a", &members(&json!({"rmp": 1})))
    else {
        panic!("it is edited")
    };
    assert_eq!(name, "rmp");
    assert!(hint.contains("rpm"), "{hint}");
}

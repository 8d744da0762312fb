mod fields;
mod plain;

use std::sync::Arc;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::{prop, prop_assert, proptest};

use super::*;
use crate::config::{Flags, bootstrap};
use crate::secrets::Process;

/// A keys file in a directory of its own, and what is around it.
struct Given<'a> {
    name: &'a str,
    bytes: &'a [u8],
    mode: u32,
    umask: u32,
    toml: &'a str,
    env: &'a str,
    variables: &'a [(&'a str, &'a str)],
}

impl Default for Given<'_> {
    fn default() -> Self {
        let (mode, umask) = (0o600, 0o022);
        Self { name: "keys.json", bytes: b"", mode, umask, toml: "", env: "", variables: &[] }
    }
}

impl Given<'_> {
    /// The keys, or the problems, with paths cut to the name of the file.
    fn load(&self) -> Result<Keys, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let here = format!("{}/", dir.path().display());
        let write = |name: &str, bytes: &[u8], mode| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        };
        let keys = dir.path().join(self.name);
        if !self.bytes.is_empty() {
            write(self.name, self.bytes, self.mode);
        }
        let env = write("a.env", self.env.as_bytes(), 0o600);
        let toml = format!("keys = {keys:?}\nenv_files = [{env:?}]\n{}", self.toml);
        let config = Some(write("keypool.toml", toml.as_bytes(), 0o600));
        let variables = self.variables.iter();
        let variables = variables.map(|(name, value)| ((*name).into(), (*value).into()));
        let process = Process { umask: self.umask, ..Process::new(variables) };
        let shown = |problem: &Problem| problem.to_string().replace(&here, "");
        let flags = Flags { config, ..Flags::default() };
        match bootstrap(&flags, &process).unwrap().load_keys() {
            Ok(mut keys) => {
                for warning in &mut keys.warnings {
                    *warning = Problem::warning(shown(warning));
                }
                Ok(keys)
            }
            Err(Problems(list)) => Err(list.iter().map(shown).collect()),
        }
    }
}

fn load(text: &str) -> Result<Keys, Vec<String>> {
    Given { bytes: text.as_bytes(), ..Given::default() }.load()
}

fn errors(text: &str) -> Vec<String> {
    load(text).expect_err(text)
}

fn warnings(text: &str) -> Vec<String> {
    messages(&load(text).expect(text))
}

fn messages(keys: &Keys) -> Vec<String> {
    keys.warnings.iter().map(|warning| warning.message.clone()).collect()
}

/// A file of one key with these fields after the id.
fn one(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { ", " };
    format!(r#"{{"keys": [{{"key_id": "flash_01"{comma}{fields}}}]}}"#)
}

fn field_errors(fields: &str) -> Vec<String> {
    let of_key = "key flash_01: ";
    let told = errors(&one(fields));
    told.iter().map(|line| line.split_once(of_key).expect(line).1.to_owned()).collect()
}

#[test]
fn a_full_file_is_read() {
    let text = r#"{
      "keys": [
        {"key_id": "flash_01", "model_name": "gemini-2.0-flash", "provider": "gemini",
         "rpm": 15, "tpm": 1000000, "rpd": 1500, "burst_capacity": 5, "max_concurrent": 4,
         "priority": 3, "workload_type": "light", "active": false, "tags": {"region": "us-east"},
         "quota_group": "project-a", "secret_name": "project-a", "secret_store": "env",
         "created_at": "2024-01-01T00:00:00", "updated_at": "2024-01-01T00:00:00"},
        {"key_id": "open", "provider": "openai", "model_name": ["a", "b"], "weight": 7}
      ],
      "fallback_order": ["open", "flash_01"],
      "rotation_strategy": "round_robin",
      "health_check_interval": 90,
      "quota_warning_threshold": 0.5
    }"#;
    let keys = load(text).unwrap();
    assert_eq!(messages(&keys), [""; 0]);
    assert_eq!(keys.health_check_interval, Duration::from_secs(90));
    assert!(keys.rotation.on);
    let pool = &keys.pool;
    assert_eq!(pool.strategy, Strategy::RoundRobin);
    assert!((pool.warning_threshold - 0.5).abs() < f64::EPSILON);
    let order: Vec<_> = pool.fallback_order.iter().map(KeyId::as_str).collect();
    assert_eq!(order, ["open", "flash_01"]);
    let [flash, open] = &pool.keys[..] else { panic!("two keys") };
    assert_eq!(flash.limits.rpm.unwrap().get(), 15);
    assert_eq!(flash.limits.max_concurrent.unwrap().get(), 4);
    assert_eq!(&*flash.credential, "env:GEMINI_KEY_project-a");
    assert_eq!((flash.priority, flash.active, flash.weight.get()), (Some(3), false, 15));
    assert_eq!(flash.tags["region"], "us-east");
    assert_eq!(flash.reset_zone.name(), "America/Los_Angeles");
    assert_eq!(open.models, ["a", "b"].map(Arc::<str>::from));
    assert_eq!((open.priority, open.active, open.weight.get()), (None, true, 7));
    assert_eq!(open.limits, crate::pool::Limits::default());
}

#[test]
fn files_that_say_nothing_are_rejected() {
    for (text, told) in [
        (" \n ", "keys.json:1:1: the file is empty"),
        ("null", "keys.json:1:1: expected an object: {\"keys\": […]}"),
        ("[]", "keys.json:1:1: expected an object: {\"keys\": […]}"),
        (
            "{}",
            "keys.json:1:1: keys: expected a list of at least one key: [{\"key_id\": \"flash_01\"}]",
        ),
        (
            "{\"keys\": []}",
            "keys.json:1:10: keys: expected a list of at least one key: [{\"key_id\": \"flash_01\"}]",
        ),
    ] {
        assert_eq!(errors(text), [told], "{text:?}");
    }
    let empty = Given { name: "keys.json", bytes: b"\n", ..Given::default() };
    assert_eq!(empty.load().unwrap_err(), ["keys.json:1:1: the file is empty"]);
}

#[test]
fn a_text_in_another_encoding_is_rejected() {
    let told = |bytes: &[u8]| Given { bytes, ..Given::default() }.load().unwrap_err();
    let utf16: Vec<u8> = one("").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xff\xfe", utf16.as_slice()].concat();
    for bytes in [utf16, marked] {
        let expected = "keys.json:1:1: expected UTF-8 text; this file looks like UTF-16";
        assert_eq!(told(&bytes), [expected]);
    }
    let bom = ["\u{feff}".to_owned(), one("")].concat();
    assert!(told(bom.as_bytes())[0].contains("byte order mark"));
    assert_eq!(told(b"{\n \"\xff\"}"), ["keys.json:2:3: expected UTF-8 text"]);
    let surrogate = one(r#""model_name": "\ud800""#);
    assert_eq!(errors(&surrogate).len(), 1);
}

#[test]
fn text_after_the_end_and_members_there_twice_are_rejected() {
    let told = errors(&(one("") + " canary"));
    assert_eq!(told, ["keys.json:1:36: there is more text after the end of the value"]);
    let told = errors(&one(r#""rpm": 1, "rpm": 2"#));
    assert_eq!(told, ["keys.json:1:44: this member is there twice"]);
}

#[test]
fn every_error_comes_at_once_and_without_the_text() {
    let text = r#"{
  "keys": [
    {"key_id": "a", "rpm": "canary", "tags": ["canary"], "active": "canary"},
    {"key_id": "b", "provider": "can ary", "model_name": [], "canary": 1},
    "canary",
    {"key_id": "canary canary", "rpd": 0}
  ],
  "fallback_order": ["a", "a", "canary", 5],
  "rotation_strategy": "canary",
  "health_check_interval": 0,
  "quota_warning_threshold": 80
}"#;
    let told = errors(text);
    assert_eq!(
        told,
        [
            "keys.json:3:28: key a: rpm: expected a whole number of at least 1",
            "keys.json:3:46: key a: tags: expected an object of texts: {\"region\": \"us-east\"}",
            "keys.json:3:68: key a: active: expected true or false",
            "keys.json:4:33: key b: provider: expected gemini, openai, anthropic or another name \
             of letters, digits, `_`, `.` and `-`",
            "keys.json:4:58: key b: model_name: expected at least one model; leave the field out \
             for any model",
            "keys.json:4:62: key b: unknown field, which has no effect; the fields are key_id, \
             model_name, provider, rpm, tpm, rpd, max_concurrent, burst_capacity, priority, \
             workload_type, active, tags, quota_group, secret_name, secret_store, weight, \
             created_at, updated_at",
            "keys.json:5:5: expected an object: {\"key_id\": \"flash_01\"}",
            "keys.json:6:16: key_id: expected 1 to 64 characters of A-Z, a-z, 0-9, `_`, `.` and \
             `-`",
            "keys.json:6:40: rpd: expected a whole number of at least 1",
            "keys.json:8:27: fallback_order: this key is there twice",
            "keys.json:8:32: fallback_order: expected the key_id of a key in this file",
            "keys.json:8:42: fallback_order: expected the key_id of a key in this file",
            "keys.json:9:24: rotation_strategy: expected one of round_robin, least_utilized, \
             weighted, random, fallback_order",
            "keys.json:10:28: health_check_interval: expected a whole number of at least 1",
            "keys.json:11:30: quota_warning_threshold: expected a number above 0 and at most 1",
        ]
    );
}

#[test]
fn the_mode_of_the_file_decides_whether_it_is_used() {
    let text = one("");
    let load =
        |mode, umask| Given { bytes: text.as_bytes(), mode, umask, ..Given::default() }.load();
    let told = load(0o666, 0o022).unwrap_err();
    assert!(told[0].contains("everybody can write") && told[0].contains("chmod o-w"), "{told:?}");
    let told = messages(&load(0o664, 0o022).unwrap());
    assert!(told[0].ends_with("mend it with: chmod g-w keys.json"), "{told:?}");
    assert_eq!(messages(&load(0o640, 0o022).unwrap()), [""; 0]);
    assert_eq!(messages(&load(0o644, 0o022).unwrap()), [""; 0]);
    assert!(load(0o666, 0o000).is_ok(), "a fresh clone under any umask works");
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let text = one("") + &" ".repeat(1 << 20);
    assert_eq!(errors(&text), ["keys.json: is longer than 1048576 bytes"]);
}

#[test]
fn a_file_of_nothing_but_errors_is_rejected_soon() {
    let text = format!("{{\"keys\": [{}5]}}", "5,".repeat(500_000));
    assert_eq!(errors(&text).len(), 200);
}

#[test]
fn a_wrong_env_file_is_among_the_errors() {
    let text = one("");
    let given = Given { bytes: text.as_bytes(), env: "A=1\ncanary\nA=2\n", ..Given::default() };
    let told = given.load().unwrap_err();
    assert_eq!(
        told,
        ["a.env:2: expected KEY=value", "a.env:3: this variable is set already on line 1"]
    );
}

#[test]
fn a_file_cut_at_any_place_is_rejected_and_never_half_a_pool() {
    let text = one(r#""rpm": 15, "tags": {"region": "us-east"}, "model_name": ["a", "ü"]"#);
    load(&text).unwrap();
    for end in 0..text.len() {
        let bytes = if end == 0 { b" " } else { &text.as_bytes()[..end] };
        assert!(Given { bytes, ..Given::default() }.load().is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn any_value_of_any_field_is_judged_without_a_panic_and_never_told(
        field in prop::sample::select(vec!["key_id", "model_name", "provider", "rpm", "tags",
            "quota_group", "secret_name", "secret_store", "active", "created_at", "weight"]),
        value in prop::sample::select(vec!["\"CANARY \"", "[\"CANARY \"]", "{\"CANARY \": 1}",
            "-9", "1e999", "{}", "[[]]", "\"\\u0000CANARY\"", "null"]),
    ) {
        let text = format!(r#"{{"keys": [{{"key_id": "a", "{field}": {value}}}]}}"#);
        if let Err(told) = load(&text) {
            prop_assert!(!told.concat().contains("CANARY"), "{told:?}");
        }
    }
}

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::*;

/// Files in a directory of their own, with a check of them.
struct Place {
    dir: tempfile::TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

impl Place {
    fn new(keys: &str, env: &str) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap(), variables: Vec::new() };
        place.write("keypool.toml", "keys = \"HERE/keys.json\"\nenv_files = [\"HERE/a.env\"]\n");
        place.write("a.env", env);
        if !keys.is_empty() {
            place.write("keys.json", keys);
        }
        place
    }

    fn here(&self) -> String {
        self.dir.path().display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text.replace("HERE", &self.here())).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn process(&self) -> Process {
        let variables = self.variables.iter();
        let variables = variables.map(|(name, value)| ((*name).into(), (*value).into()));
        Process { umask: 0o022, ..Process::new(variables) }
    }

    fn run(&self, args: CheckArgs, json: bool) -> (u8, String) {
        let config = Some(self.dir.path().join("keypool.toml"));
        let flags = Flags { config, ..Flags::default() };
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = run(args, json, &flags, &self.process(), &mut out, &mut errors).unwrap();
        let text = String::from_utf8([out, errors].concat()).unwrap();
        (code, text.replace(&self.here(), "HERE"))
    }

    fn screen(&self) -> String {
        self.run(CheckArgs::default(), false).1
    }

    #[track_caller]
    fn shows(&self, lines: &[&str]) {
        let screen = self.screen();
        for line in lines {
            assert!(screen.lines().any(|shown| shown.trim() == *line), "{line}\nnot in\n{screen}");
        }
    }
}

const TWO: &str = r#"{"keys": [
    {"key_id": "flash_01", "model_name": "gemini-2.0-flash", "rpm": 15},
    {"key_id": "flash_02", "model_name": "gemini-2.0-flash", "rpm": 15}]}"#;

const SECRETS: &str = "GEMINI_KEY_flash_01=fake-secret-1\nGEMINI_KEY_flash_02=fake-secret-2\n";

/// The screen for one of the examples of trouble, as a clone under the usual umask shows it.
fn trouble(name: &str) {
    let dir = Path::new("tests/trouble").join(name);
    for file in fs::read_dir(&dir).unwrap() {
        fs::set_permissions(file.unwrap().path(), Permissions::from_mode(0o644)).unwrap();
    }
    let flags = Flags { config: Some(dir.join("keypool.toml")), ..Flags::default() };
    let uid = fs::metadata(&dir).unwrap().uid();
    let process = Process { umask: 0o022, uid, ..Process::new([]) };
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let code = run(CheckArgs::default(), false, &flags, &process, &mut out, &mut errors).unwrap();
    let expected = fs::read_to_string(dir.join("check.txt")).unwrap_or_default();
    let shown = String::from_utf8(out).unwrap();
    assert_eq!((code, errors.len()), (0, 0));
    assert!(shown == expected, "{name} shows:\n{shown}\nand not:\n{expected}");
}

#[test]
fn the_screen_for_an_unknown_field_tells_the_field() {
    trouble("unknown-field");
}

#[test]
fn the_screen_for_an_unread_env_file_tells_the_file() {
    trouble("unread-env");
}

#[test]
fn the_screen_for_a_misspelt_model_tells_the_model() {
    trouble("misspelt-model");
}

#[test]
fn a_sound_configuration_has_nothing_to_mend() {
    let (code, screen) = Place::new(TWO, SECRETS).run(CheckArgs::default(), false);
    assert_eq!(code, 0);
    assert_eq!(
        screen,
        "Rotation is on: there is a keys file, HERE/keys.json. 2 of 2 keys can serve.\n\n\
         Keys\n\
         \x20 KEY       PROVIDER  MODEL             RPM  PRIORITY  STORE  SECRET\n\
         \x20 flash_01  gemini    gemini-2.0-flash  15   -         env    found: GEMINI_KEY_flash_01 \
         (HERE/a.env:1)\n\
         \x20 flash_02  gemini    gemini-2.0-flash  15   -         env    found: GEMINI_KEY_flash_02 \
         (HERE/a.env:2)\n\n\
         Models\n\
         \x20 MODEL             PROVIDER  KEYS    REQUESTS A MINUTE\n\
         \x20 gemini-2.0-flash  gemini    2 of 2  30\n\n\
         Read\n\
         \x20 settings   HERE/keypool.toml\n\
         \x20 keys       HERE/keys.json\n\
         \x20 env_files  HERE/a.env\n\
         \x20 socket     /run/keypool/keypool.sock\n"
    );
}

#[test]
fn a_variable_that_is_nearly_right_is_to_be_renamed() {
    let place = Place::new(TWO, "GEMINI_KEY_flash_01=fake-secret-1\nGEMINI_KEY_flsh_02=fake-2\n");
    place.shows(&[
        "Rotation is on: there is a keys file, HERE/keys.json. 1 of 2 keys can serve.",
        "warning: key flash_02 has no secret: GEMINI_KEY_flash_02 is not set",
        "-> rename GEMINI_KEY_flsh_02 (HERE/a.env:2) to GEMINI_KEY_flash_02",
        "hint: GEMINI_KEY_flsh_02 (HERE/a.env:2) is used by no key",
        "-> the nearest key is flash_02",
        "hint: only one key can serve gemini-2.0-flash, so there is none to rotate to",
    ]);
}

#[test]
fn a_variable_that_is_nowhere_is_to_be_set() {
    let place = Place::new(TWO, "GEMINI_KEY_flash_01=\n");
    place.shows(&[
        "warning: key flash_01 has no secret: GEMINI_KEY_flash_01 is empty (HERE/a.env:1)",
        "-> write the secret anew: GEMINI_KEY_flash_01 (HERE/a.env:1)",
        "warning: key flash_02 has no secret: GEMINI_KEY_flash_02 is not set",
        "-> set GEMINI_KEY_flash_02 in HERE/a.env or in the environment",
        "warning: no key can serve gemini-2.0-flash",
    ]);
}

#[test]
fn a_variable_in_an_unread_file_is_found() {
    let place = Place::new(TWO, "GEMINI_KEY_flash_01=fake-secret-1\n");
    place.write(".env.local", "GEMINI_KEY_flash_02=fake-secret-2\n");
    place.shows(&[
        "warning: no secret for key flash_02: HERE/.env.local sets GEMINI_KEY_flash_02, but is \
         not read",
        "-> add it to env_files in HERE/keypool.toml: env_files = [\"HERE/a.env\", \
         \"HERE/.env.local\"]",
    ]);
}

#[test]
fn rotation_that_is_off_is_told_with_the_reason() {
    let mut place = Place::new("", "GEMINI_API_KEY=fake-secret-1\n");
    place.shows(&[
        "Rotation is off: there is no keys file at HERE/keys.json. 1 of 1 key can serve.",
        "-> write HERE/keys.json, or name your keys file as `keys` in HERE/keypool.toml or in \
         KEYPOOL_KEYS",
    ]);
    place.write("keys.json", TWO);
    place.variables = vec![("ENABLE_KEY_ROTATION", "no")];
    place.shows(&[
        "Rotation is off: ENABLE_KEY_ROTATION is false (process environment). 1 of 1 key can \
         serve.",
        "-> set ENABLE_KEY_ROTATION to true there, or take it out",
    ]);
}

#[test]
fn without_any_key_the_variables_are_named() {
    let place = Place::new("", "");
    let told = "warning: there is no key: none of GEMINI_API_KEY, OPENAI_API_KEY, \
                ANTHROPIC_API_KEY is set";
    place.shows(&[told]);
    place.write(".env", "OPENAI_API_KEY=fake-secret\n");
    let told = "warning: no secret for key default: HERE/.env sets OPENAI_API_KEY, but is not read";
    place.shows(&[told]);
}

#[test]
fn keys_with_one_secret_and_one_model_need_one_group() {
    let same = "GEMINI_KEY_flash_01=fake-secret\nGEMINI_KEY_flash_02=fake-secret\n";
    let told =
        "warning: one secret and one model, but quotas of their own: keys flash_01, flash_02";
    Place::new(TWO, same).shows(&[told, "one secret: flash_01, flash_02"]);
    let grouped = TWO.replace("\"rpm\"", "\"quota_group\": \"mine\", \"rpm\"");
    let place = Place::new(&grouped, same);
    place
        .shows(&["one quota (mine): flash_01, flash_02", "gemini-2.0-flash  gemini    2 of 2  15"]);
    assert!(!place.screen().contains(told));
}

#[test]
fn errors_are_all_told_with_code_78() {
    let place = Place::new("{\"keys\": [{\"key_id\": \"a\", \"rpm\": 0, \"tpm\": 0}]}", "");
    let (code, screen) = place.run(CheckArgs::default(), false);
    assert_eq!(code, 78);
    assert!(screen.starts_with("The configuration is not valid: 2 errors. The daemon would start"));
    place.shows(&[
        "error: HERE/keys.json:1:34: key a: rpm: expected a whole number of at least 1",
        "error: HERE/keys.json:1:44: key a: tpm: expected a whole number of at least 1",
    ]);
    place.write("keypool.toml", "sokcet = 5\n");
    let (code, screen) = place.run(CheckArgs::default(), false);
    assert_eq!(code, 78);
    assert!(
        screen.ends_with("error: HERE/keypool.toml:1:1: unknown setting; did you mean socket?\n")
    );
}

#[test]
fn the_report_is_there_as_json() {
    let (code, text) =
        Place::new(TWO, "GEMINI_KEY_flash_01=fake-secret-1\n").run(CheckArgs::default(), true);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 0);
    assert_eq!(report["valid"], true);
    assert_eq!(report["verdict"]["serving"], 1);
    assert_eq!(report["keys"][1]["secret"], "GEMINI_KEY_flash_02 is not set");
    assert_eq!(report["models"][0]["requests_per_minute"], 15);
    assert!(!text.contains("fake-secret"));
}

#[test]
fn a_store_that_cannot_be_asked_is_told_once_for_all_its_keys() {
    let keys = r#"{"keys": [{"key_id": "a", "secret_store": "vault"},
        {"key_id": "b", "secret_store": "vault"}]}"#;
    let mut place = Place::new(keys, "");
    let why = "secrets of the store vault cannot be fetched";
    place.shows(&[&format!("warning: no secret for keys a, b: {why}: VAULT_ADDR is not set")]);
    // Nobody listens there.
    place.variables = vec![("VAULT_ADDR", "http://127.0.0.1:1"), ("VAULT_TOKEN", "fake-token")];
    place.shows(&[
        &format!("warning: no secret for keys a, b: {why}: no connection"),
        "-> see that the store can be reached from here",
    ]);
}

#[test]
fn a_credential_without_systemd_is_told_with_the_line_for_its_unit() {
    let keys = r#"{"keys": [{"key_id": "a", "secret_store": "credentials"}]}"#;
    Place::new(keys, "")
        .shows(&["-> add LoadCredential=a:/path/of/the/file to the service of keypool"]);
}

#[test]
fn the_age_of_a_secret_is_that_of_its_file() {
    let keys = r#"{"keys": [{"key_id": "a", "secret_store": "file"}]}"#;
    let place = Place::new(keys, "");
    let toml = "keys = \"HERE/keys.json\"\n[secrets]\ndir = \"HERE\"\n";
    place.write("keypool.toml", toml);
    let file = fs::File::open(place.write("a", "fake-secret-a")).unwrap();
    let ago = std::time::Duration::from_mins((3 * 24 + 5) * 60 + 30);
    file.set_modified(file.metadata().unwrap().modified().unwrap() - ago).unwrap();
    let (_, json) = place.run(CheckArgs::default(), true);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["keys"][0]["store"], "file");
    let age = report["keys"][0]["age_seconds"].as_u64().unwrap();
    assert_eq!(age / 3600, 3 * 24 + 5);
    assert!(place.screen().contains(" 3 d 5 h"), "{}", place.screen());
}

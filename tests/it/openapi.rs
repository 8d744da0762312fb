//! The document of the API: it is sound, and the daemon does as it says, whatever is asked.
//!
//! Beside these tests, every answer that any test gets over the socket is judged by the document;
//! see `support::document`.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use serde_json::Value;

use crate::command::{err, keypool, out};
use crate::support::{DOCUMENT, EIGHT_KEYS, TestDaemon, judge_value, until};

/// Keys with limits of every kind and without, one without its secret, and one of a provider that
/// nobody has heard of.
const KEYS: &str = r#"{"keys": [
  {"key_id": "flash_01", "model_name": "gemini-2.0-flash", "rpm": 1000, "workload_type": "light",
   "tags": {"region": "us-east"}},
  {"key_id": "flash_02", "model_name": "gemini-2.0-flash", "tpm": 1000000, "rpd": 15,
   "max_concurrent": 2},
  {"key_id": "pro_01", "provider": "openai"},
  {"key_id": "other_01", "provider": "other"},
  {"key_id": "none_01"}
]}"#;

const SECRETS: &str = "GEMINI_KEY_flash_01=fake-secret-flash-01\n\
                       GEMINI_KEY_flash_02=fake-secret-flash-02\n\
                       OPENAI_KEY_pro_01=fake-secret-pro-01\n\
                       OTHER_KEY_other_01=fake-secret-other-01\n";

/// Nobody waits for long, and no provider is there to be asked.
const SETTINGS: &str = r#"
socket = "keypool.sock"
keys = "keys.json"
env_files = ["keys.env"]
state_dir = "state"
metrics_addr = ""
wait.max = "50ms"
lease.ttl = "10s"
probe = { enabled = false, allow_private = true }
providers.gemini.base_url = "http://127.0.0.1:1"
providers.openai.base_url = "http://127.0.0.1:1"
providers.anthropic.base_url = "http://127.0.0.1:1"
"#;

/// A daemon with a clock that goes, whose log is in a file. Dropping it kills it.
struct Running(Child);

impl Running {
    fn start(dir: &Path) -> Self {
        for (name, text) in [("keypool.toml", SETTINGS), ("keys.json", KEYS), ("keys.env", SECRETS)]
        {
            fs::write(dir.join(name), text).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let log = File::create(dir.join("log")).unwrap();
        let mut command = keypool(dir, &["--config", "keypool.toml", "serve"]);
        let running = Self(command.stderr(log).spawn().unwrap());
        until("it serves", || UnixStream::connect(dir.join("keypool.sock")).is_ok());
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The program called `name` among those from `PyPI`.
fn installed(name: &str) -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = target.parent().unwrap().join("python/bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/python/install", path.display());
    path
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What schemathesis says after asking the daemon in `dir`.
fn schemathesis(dir: &Path) -> Output {
    let mut command = Command::new(installed("python"));
    command.arg("-B").arg(project("tests/python/over_the_socket.py")).arg("--config-file");
    command.arg(project("tests/python/schemathesis.toml")).args(["--no-color", "run"]);
    // Taken from where it is served, the document would not be asked for.
    command.arg(project("src/server/openapi.json")).args(["--url", "http://localhost"]);
    command.current_dir(dir).env("SOCKET", dir.join("keypool.sock")).output().unwrap()
}

#[test]
fn the_document_is_served_with_the_version_of_the_daemon() {
    let daemon = TestDaemon::of(EIGHT_KEYS);
    let mut expected = DOCUMENT.clone();
    expected["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    assert_eq!(daemon.get("/openapi.json").json(), expected);
}

#[test]
fn the_document_is_openapi() {
    assert!(DOCUMENT["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut judge = Command::new(installed("openapi-spec-validator"));
    let output = judge.arg(project("src/server/openapi.json")).output().unwrap();
    assert!(output.status.success(), "{}{}", out(&output), err(&output));
}

#[test]
fn every_object_is_closed_and_every_example_is_one() {
    let mut examples = 0;
    look(&DOCUMENT, "", &mut |place, value| {
        if value["type"] == "object" && value.get("properties").is_some() {
            let open = value.get("additionalProperties") != Some(&Value::Bool(false));
            assert!(!open || place.ends_with("/content/application~1json/schema"), "{place}");
        }
        for example in value["examples"].as_array().into_iter().flatten() {
            judge_value(place, example, "an example");
            examples += 1;
        }
        let schema = format!("{place}/schema");
        if let Some(example) = value.get("example").filter(|_| value.get("schema").is_some()) {
            judge_value(&schema, example, "an example");
            examples += 1;
        }
        for example in value["examples"].as_object().into_iter().flat_map(|named| named.values()) {
            judge_value(&schema, &example["value"], "an example");
            examples += 1;
        }
    });
    assert!(examples > 100, "{examples}");
}

/// Shows `told` every object of `value` with its place.
fn look(value: &Value, place: &str, told: &mut impl FnMut(&str, &Value)) {
    let inside = |name: &str| format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(members) => {
            told(place, value);
            for (name, value) in members {
                // What is in them is no schema.
                if !["examples", "example", "enum", "const"].contains(&name.as_str()) {
                    look(value, &inside(name), told);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                look(item, &inside(&index.to_string()), told);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn requests_that_somebody_thinks_of_who_knows_the_document_alone_find_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let _running = Running::start(dir.path());
    let output = schemathesis(dir.path());
    let (told, log) = (out(&output), fs::read_to_string(dir.path().join("log")).unwrap());
    assert!(output.status.success(), "{told}{}", err(&output));
    let paths = DOCUMENT["paths"].as_object().unwrap().values();
    let operations: usize = paths.map(|methods| methods.as_object().unwrap().len()).sum();
    assert!(told.contains(&format!("Tested: {operations}\n")), "{told}");
    assert!(told.contains("✅ Stateful"), "{told}");
    assert!(!log.contains("panicked") && !log.contains("fake-secret"), "{log}");
}

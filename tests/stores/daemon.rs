//! The daemon with a key in every store, each behind a real server: secrets come, change, outlive
//! an outage and go, and none of them is ever anywhere but in the answer to select.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::aws::moto::Moto;
use crate::azure;
use crate::http::{Answer, send};
use crate::support::key_vault::{KeyVault, READER_SECRET};
use crate::support::{Bao, until};

/// A key for each store.
const STORES: [&str; 6] = ["env", "file", "credentials", "vault", "aws", "azure"];

/// What every secret here has in it.
const CANARY: &str = "canary";

fn secret(store: &str, version: u32) -> String {
    format!("fake-secret-{CANARY}-{store}-{version}")
}

/// A daemon at its loudest, and everything that it has said apart from answers to select.
struct Daemon {
    dir: TempDir,
    child: Child,
    variables: Vec<(&'static str, String)>,
    said: Vec<String>,
}

/// The servers behind the stores.
struct Servers {
    bao: Bao,
    moto: Moto,
    vault: KeyVault,
}

impl Servers {
    fn start() -> Self {
        let servers = Self { bao: Bao::start(), moto: Moto::start(), vault: KeyVault::start() };
        servers.bao.put("keypool/vault", &json!({"value": secret("vault", 1)}));
        servers.moto.put("keypool/aws", &secret("aws", 1));
        servers.vault.set("azure", &secret("azure", 1));
        servers
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = azure::address(&self.vault);
        variables.extend(azure::reader());
        variables.extend([
            ("VAULT_ADDR", format!("http://{}", self.bao.address())),
            ("VAULT_TOKEN", self.bao.root_token().to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", self.moto.url()),
            ("AWS_ACCESS_KEY_ID", "fake-id".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", format!("fake-{CANARY}-key")),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]);
        variables
    }
}

impl Daemon {
    fn start(servers: &Servers) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for store in ["file", "credentials"] {
            write(&dir.path().join(store).join(store), &secret(store, 1));
        }
        let keys = STORES.map(|store| json!({"key_id": store, "secret_store": store}));
        write(&dir.path().join("keys.json"), &json!({"keys": keys}).to_string());
        let settings = "socket = \"keypool.sock\"\nkeys = \"keys.json\"\nstate_dir = \"state\"\n\
                        metrics_addr = \"\"\n[secrets]\ndir = \"file\"\nrefresh = \"1s\"\n\
                        [probe]\nenabled = false\n";
        write(&dir.path().join("keypool.toml"), settings);
        let mut variables = servers.variables();
        let credentials = dir.path().join("credentials").display().to_string();
        variables.extend([
            ("GEMINI_KEY_env", secret("env", 1)),
            ("CREDENTIALS_DIRECTORY", credentials),
            ("KEYPOOL_LOG", "trace".to_owned()),
            ("RUST_LOG", "trace".to_owned()),
        ]);
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = command(dir.path(), &variables, &["serve"]).stderr(log).spawn().unwrap();
        let daemon = Self { dir, child, variables, said: Vec::new() };
        until("the daemon listens", || daemon.socket().exists());
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("keypool.sock")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        send(&self.socket(), "POST", path, Some(&body.to_string()))
    }

    #[expect(clippy::print_stdout, reason = "it is shown where a test waits in vain")]
    fn state(&self, key_id: &str) -> String {
        let key = send(&self.socket(), "GET", &format!("/v1/keys/{key_id}"), None).json();
        println!("{key_id}: {} {}", key["state"], key["reason"]);
        key["state"].as_str().unwrap().to_owned()
    }

    /// A lease of `key_id`.
    fn lease(&self, key_id: &str) -> Value {
        let others: Vec<&str> = STORES.into_iter().filter(|other| *other != key_id).collect();
        let answer = self.post("/v1/select", &json!({"exclude": others}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// The secret that is handed out for `key_id`.
    fn handed_out(&self, key_id: &str) -> String {
        self.lease(key_id)["secret"].as_str().unwrap().to_owned()
    }

    /// Whether its store answers.
    fn is_there(&self, store: &str) -> bool {
        let status = send(&self.socket(), "GET", "/v1/status", None).json();
        status["secret_stores"][store]["error"].is_null()
    }

    /// Keeps what every other endpoint and every command says at this time.
    fn listen(&mut self) {
        for path in ["/v1/keys", "/v1/usage", "/v1/events", "/v1/status", "/readyz", "/metrics"] {
            self.said.push(send(&self.socket(), "GET", path, None).body);
        }
        for arguments in [&["check"][..], &["--json", "check"], &["keys"], &["status"], &["events"]]
        {
            let output = command(self.dir.path(), &self.variables, arguments).output().unwrap();
            self.said.extend(
                [output.stdout, output.stderr]
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            );
        }
    }

    /// Ends it; everything that it has said and written.
    fn end(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let state = fs::read_dir(self.dir.path().join("state")).unwrap();
        let files = state.map(|entry| entry.unwrap().path()).chain([self.dir.path().join("log")]);
        let texts =
            files.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
        let texts: Vec<String> = texts.collect();
        self.said.extend(texts);
        std::mem::take(&mut self.said)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn command(dir: &Path, variables: &[(&str, String)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keypool"));
    command.args(["--config", "keypool.toml"]).args(arguments).current_dir(dir).env_clear();
    command.envs(variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    command
}

#[test]
fn secrets_of_six_stores_live_side_by_side_and_are_never_told() {
    let mut servers = Servers::start();
    let mut daemon = Daemon::start(&servers);
    for store in STORES {
        until("the secret comes", || daemon.state(store) == "ready");
        assert_eq!(daemon.handed_out(store), secret(store, 1));
    }
    daemon.listen();

    // Providers that repeat what they are sent, in every place.
    for (store, status) in STORES.into_iter().zip([500, 429, 403, 400, 404, 200]) {
        let lease = daemon.lease(store);
        let told = &lease["secret"];
        let body = json!({"error": {"message": told, "status": told, "code": told, "type": told}});
        let report = json!({"lease_id": lease["lease_id"], "status": status, "body": body,
            "headers": {"retry-after": told, "x-request-id": told}});
        let answer = daemon.post("/v1/report", &report);
        assert_eq!(answer.status, 200, "{}", answer.body);
        daemon.said.push(answer.body);
    }
    daemon.listen();

    servers.bao.put("keypool/vault", &json!({"value": secret("vault", 2)}));
    servers.moto.rotate("keypool/aws", &secret("aws", 2));
    servers.vault.set("azure", &secret("azure", 2));
    for store in ["file", "credentials"] {
        write(&daemon.dir.path().join(store).join(store), &secret(store, 2));
    }
    for store in &STORES[1..] {
        until("the next secret comes", || {
            daemon.state(store) == "ready" && daemon.handed_out(store) == secret(store, 2)
        });
    }
    daemon.listen();

    servers.bao.seal();
    servers.moto.stop();
    servers.vault.stop();
    for store in ["vault", "aws", "azure"] {
        until("the outage is noticed", || !daemon.is_there(store));
        assert_eq!(daemon.handed_out(store), secret(store, 2), "it outlives the outage");
    }
    daemon.listen();

    servers.bao.unseal();
    servers.moto.start_again();
    servers.vault.restart();
    servers.bao.admin("DELETE", "secret/data/keypool/vault", &Value::Null);
    servers.vault.delete("azure");
    // moto forgets everything when it stops.
    for store in ["vault", "aws", "azure"] {
        until("the secret goes", || daemon.state(store) == "missing_secret");
    }
    assert_eq!(daemon.handed_out("env"), secret("env", 1));
    daemon.listen();

    let token = servers.bao.root_token().to_owned();
    let said = daemon.end();
    assert!(said.iter().any(|text| text.contains("selected")), "the log is at its loudest");
    for text in said {
        for hidden in [CANARY, READER_SECRET, &token] {
            let at = text
                .find(hidden)
                .map(|at| text[at.saturating_sub(300)..].chars().take(600).collect::<String>());
            assert_eq!(at, None, "this was said");
        }
    }
}

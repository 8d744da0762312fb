//! OpenBao, which speaks as Vault does.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Certified, free_port, installed, until};

/// A server with its data in a directory of its own, and KV version 2 at `secret/`. Dropping it
/// kills it.
pub(crate) struct Bao {
    dir: TempDir,
    address: SocketAddr,
    tls: Vec<SocketAddr>,
    child: Child,
    root: String,
    unseal_key: String,
}

impl Bao {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With a listener more for each of `certificates`.
    pub(crate) fn start_with(certificates: &[Certified]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let address = here(free_port());
        let tls: Vec<_> = certificates.iter().map(|_| here(free_port())).collect();
        let mut listeners = vec![json!({"tcp": {"address": address, "tls_disable": true}})];
        for (number, certified) in certificates.iter().enumerate() {
            let (chain, key) = (format!("{number}.pem"), format!("{number}.key"));
            let (chain, key) = (dir.path().join(chain), dir.path().join(key));
            fs::write(&chain, &certified.chain).unwrap();
            fs::write(&key, &certified.key).unwrap();
            listeners.push(json!({"tcp": {"address": tls[number],
                "tls_cert_file": chain, "tls_key_file": key}}));
        }
        let config = json!({
            // With the usual factor it waits seconds for others before it leads itself.
            "storage": {"raft": {"path": dir.path().join("data"), "node_id": "one",
                "performance_multiplier": "1"}},
            "listener": listeners,
            "api_addr": format!("http://{address}"),
            "cluster_addr": format!("http://{}", here(free_port())),
        });
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let child = run(&dir);
        let (root, unseal_key) = (String::new(), String::new());
        let mut bao = Self { dir, address, tls, child, root, unseal_key };
        bao.until_it_answers();
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let keys = bao.admin("PUT", "sys/init", &shares);
        bao.root = text(&keys["root_token"]);
        bao.unseal_key = text(&keys["keys"][0]);
        bao.unseal();
        bao.admin("POST", "sys/mounts/secret", &json!({"type": "kv", "options": {"version": "2"}}));
        // An engine that was just mounted answers 400 for a moment.
        until("the engine is ready", || {
            bao.ask("GET", "secret/data/keypool/none", &Value::Null, "").0 == 404
        });
        bao
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listener of the certificate that was given as the one after `number` others.
    pub(crate) fn tls(&self, number: usize) -> SocketAddr {
        self.tls[number]
    }

    pub(crate) fn root_token(&self) -> &str {
        &self.root
    }

    /// Writes a new version of the secret at `name` below `secret/`.
    pub(crate) fn put(&self, name: &str, fields: &Value) {
        self.admin("POST", &format!("secret/data/{name}"), &json!({"data": fields}));
    }

    /// Does as the administrator; the answer.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(method, path, body, "");
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Does as the administrator, in a namespace; the status and the answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value, space: &str) -> (u16, Value) {
        exchange(self.address, method, path, body, &self.root, space).unwrap()
    }

    /// A policy that lets its holder read what is at `path`.
    pub(crate) fn reader(&self, policy: &str, path: &str) {
        let rule = format!("path \"{path}\" {{ capabilities = [\"read\"] }}");
        self.admin("PUT", &format!("sys/policies/acl/{policy}"), &json!({"policy": rule}));
    }

    /// A token with a policy.
    pub(crate) fn token(&self, policy: &str, more: &Value) -> String {
        let mut asked = json!({"policies": [policy]});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        text(&self.admin("POST", "auth/token/create", &asked)["auth"]["client_token"])
    }

    /// A role with a policy: its id and a secret id.
    pub(crate) fn role(&self, policy: &str, ttl: &str, max_ttl: &str) -> (String, String) {
        self.admin("POST", "sys/auth/approle", &json!({"type": "approle"}));
        let path = "auth/approle/role/keypool";
        let role = json!({"token_policies": [policy], "token_ttl": ttl, "token_max_ttl": max_ttl});
        self.admin("POST", path, &role);
        let id = self.admin("GET", &format!("{path}/role-id"), &Value::Null);
        let secret = self.admin("POST", &format!("{path}/secret-id"), &json!({}));
        (text(&id["data"]["role_id"]), text(&secret["data"]["secret_id"]))
    }

    pub(crate) fn seal(&self) {
        self.admin("PUT", "sys/seal", &Value::Null);
    }

    pub(crate) fn unseal(&self) {
        self.admin("PUT", "sys/unseal", &json!({"key": self.unseal_key}));
        until("it is active", || {
            let path = "sys/health";
            let status = exchange(self.address, "GET", path, &Value::Null, "", "");
            status.is_ok_and(|(status, _)| status == 200)
        });
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts what was stopped. It is sealed then.
    pub(crate) fn start_again(&mut self) {
        self.child = run(&self.dir);
        self.until_it_answers();
    }

    fn until_it_answers(&self) {
        until("it answers", || {
            let path = "sys/seal-status";
            exchange(self.address, "GET", path, &Value::Null, "", "").is_ok()
        });
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn run(dir: &TempDir) -> Child {
    let log = File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
    Command::new(installed("bao"))
        .arg("server")
        .arg(format!("-config={}", dir.path().join("config.json").display()))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// One request; the status and the JSON of the answer.
fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &Value,
    token: &str,
    space: &str,
) -> std::io::Result<(u16, Value)> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(address)?;
    // HTTP/1.0 has no chunks, and ends with the connection.
    write!(
        stream,
        "{method} /v1/{path} HTTP/1.0\r\nx-vault-token: {token}\r\nx-vault-namespace: {space}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let json = answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
    Ok((status.unwrap_or(0), json.unwrap_or_default()))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

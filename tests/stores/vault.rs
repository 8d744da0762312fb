//! The store `vault` against OpenBao, and against servers that are none.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use keypool::clock::{Clock, ManualClock};
use keypool::secrets::{RemoteStore, RemoteStores};
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

use crate::support::{
    Authority, Bao, Certified, Tap, Written, canned, fetch, free_port, silent, stores, until,
};

const SECRET: &str = "fake-secret-flash-01";
const NAME: &str = "secret/keypool/flash_01";
const LOGIN: &str = "POST /v1/auth/approle/login";
const RENEW: &str = "POST /v1/auth/token/renew-self";
const READ: &str = "GET /v1/secret/data/keypool/";
const DENIED: &str =
    "denied: is denied: the token has expired, or no policy of it allows to read this";
const SEALED: &str = "unavailable: cannot be fetched: the vault is sealed (503)";

/// The store behind `address`, with `variables`, on a clock that stands still.
fn vault(address: SocketAddr, variables: &[(&str, &str)]) -> RemoteStores {
    vault_at(&format!("http://{address}"), variables, &Clock::Manual(ManualClock::default()))
}

fn vault_at(address: &str, variables: &[(&str, &str)], clock: &Clock) -> RemoteStores {
    stores(&[&[("VAULT_ADDR", address)], variables].concat(), clock)
}

async fn ask(stores: &RemoteStores, name: &str) -> Result<String, String> {
    fetch(stores, RemoteStore::Vault, name).await
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what a fetch gives")]
fn found(secret: &str) -> Result<String, String> {
    Ok(secret.to_owned())
}

fn told(what: &str) -> Result<String, String> {
    Err(what.to_owned())
}

/// A server with one secret, and a role that may read it.
struct WithRole {
    bao: Bao,
    tap: Tap,
    role_id: String,
    secret_id: String,
}

impl WithRole {
    fn start(ttl: &str, max_ttl: &str) -> Self {
        let bao = Bao::start();
        bao.put("keypool/flash_01", &json!({"value": SECRET}));
        bao.reader("keypool", "secret/data/keypool/*");
        let (role_id, secret_id) = bao.role("keypool", ttl, max_ttl);
        let tap = Tap::on(bao.address());
        Self { bao, tap, role_id, secret_id }
    }

    fn store(&self, clock: &Clock) -> RemoteStores {
        let role = [
            ("VAULT_ROLE_ID", self.role_id.as_str()),
            ("VAULT_SECRET_ID", self.secret_id.as_str()),
        ];
        vault_at(&format!("http://{}", self.tap.address()), &role, clock)
    }
}

#[tokio::test]
async fn a_secret_is_followed_through_its_life() {
    let bao = Bao::start();
    let store = vault(bao.address(), &[("VAULT_TOKEN", bao.root_token())]);
    assert_eq!(ask(&store, NAME).await, told("gone: does not exist"));
    bao.put("keypool/flash_01", &json!({"value": SECRET, "note": "of the team"}));
    assert_eq!(ask(&store, NAME).await, found(SECRET));
    bao.put("keypool/flash_01", &json!({"value": "fake-secret-rotated"}));
    assert_eq!(ask(&store, NAME).await, found("fake-secret-rotated"));
    bao.admin("DELETE", "secret/data/keypool/flash_01", &Value::Null);
    assert_eq!(ask(&store, NAME).await, told("gone: is deleted"));
    bao.admin("POST", "secret/undelete/keypool/flash_01", &json!({"versions": [2]}));
    assert_eq!(ask(&store, NAME).await, found("fake-secret-rotated"));
    bao.admin("POST", "secret/destroy/keypool/flash_01", &json!({"versions": [2]}));
    assert_eq!(ask(&store, NAME).await, told("gone: is destroyed"));
    bao.admin("DELETE", "secret/metadata/keypool/flash_01", &Value::Null);
    assert_eq!(ask(&store, NAME).await, told("gone: does not exist"));
    let unmounted = "gone: does not exist: there is no such engine or namespace";
    assert_eq!(ask(&store, "elsewhere/keypool/flash_01").await, told(unmounted));
}

#[tokio::test]
async fn a_secret_that_is_no_key_is_told_by_its_field() {
    let bao = Bao::start();
    let store = vault(bao.address(), &[("VAULT_TOKEN", bao.root_token())]);
    for (fields, what) in [
        (json!({"key": SECRET}), "unusable: has no field value"),
        (json!({"value": 17}), "unusable: has a field value that is not a text"),
        (json!({"value": ""}), "unusable: has a field value that is empty"),
    ] {
        bao.put("keypool/flash_01", &fields);
        assert_eq!(ask(&store, NAME).await, told(what));
    }
}

#[tokio::test]
async fn a_strange_name_is_the_same_to_the_vault_and_to_us() {
    let bao = Bao::start();
    let store = vault(bao.address(), &[("VAULT_TOKEN", bao.root_token())]);
    bao.put("key%20pool/a%25b%3Fc", &json!({"value": SECRET}));
    assert_eq!(ask(&store, "secret/key pool/a%b?c").await, found(SECRET));
}

#[tokio::test]
async fn what_no_policy_allows_is_denied() {
    let bao = Bao::start();
    bao.put("keypool/flash_01", &json!({"value": SECRET}));
    bao.put("others/flash_01", &json!({"value": SECRET}));
    bao.reader("keypool", "secret/data/keypool/*");
    let token = bao.token("keypool", &json!({}));
    let store = vault(bao.address(), &[("VAULT_TOKEN", &token)]);
    assert_eq!(ask(&store, NAME).await, found(SECRET));
    assert_eq!(ask(&store, "secret/others/flash_01").await, told(DENIED));
    let store = vault(bao.address(), &[("VAULT_TOKEN", "s.fakefakefakefakefakefake")]);
    assert_eq!(ask(&store, NAME).await, told(DENIED));
}

#[tokio::test]
async fn a_token_file_is_read_again_when_its_token_is_revoked() {
    let bao = Bao::start();
    bao.put("keypool/flash_01", &json!({"value": SECRET}));
    bao.reader("keypool", "secret/data/keypool/*");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let first = bao.token("keypool", &json!({}));
    fs::write(&path, &first).unwrap();
    let store = vault(bao.address(), &[("VAULT_TOKEN_FILE", path.to_str().unwrap())]);
    assert_eq!(ask(&store, NAME).await, found(SECRET));
    bao.admin("POST", "auth/token/revoke", &json!({"token": first}));
    assert_eq!(ask(&store, NAME).await, told(DENIED));
    fs::write(&path, bao.token("keypool", &json!({})) + "\n").unwrap();
    assert_eq!(ask(&store, NAME).await, found(SECRET));
}

#[tokio::test]
async fn revoked_tokens_of_a_role_cost_one_login_for_all_secrets() {
    let server = WithRole::start("1h", "1h");
    let clock = ManualClock::default();
    let store = server.store(&Clock::Manual(clock.clone()));
    assert_eq!(ask(&store, NAME).await, found(SECRET));
    clock.advance(Duration::from_mins(1));
    let token = &server.tap.answered("client_token")[0];
    server.bao.admin("POST", "auth/token/revoke", &json!({"token": token}));
    let all = tokio::join!(ask(&store, NAME), ask(&store, NAME), ask(&store, NAME));
    assert_eq!(all, (found(SECRET), found(SECRET), found(SECRET)));
    assert_eq!(server.tap.requests(LOGIN), 2);
    assert_eq!(server.tap.requests(READ), 1 + 2 * 3);
    for _ in 0..10 {
        assert_eq!(ask(&store, "secret/others/flash_01").await, told(DENIED));
    }
    assert_eq!(server.tap.requests(LOGIN), 2, "the new token is not at fault");
}

#[tokio::test]
async fn tokens_that_live_for_seconds_are_no_hindrance() {
    let server = WithRole::start("2s", "5s");
    let store = server.store(&Clock::System);
    while server.tap.requests(LOGIN) < 2 {
        assert_eq!(ask(&store, NAME).await, found(SECRET));
        store.tend().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&store, NAME).await, found(SECRET));
    let renewals = server.tap.requests(RENEW);
    assert!((1..=6).contains(&renewals), "{renewals} renewals");
}

#[tokio::test]
async fn a_token_is_renewed_at_two_thirds_of_its_life_without_a_fetch() {
    let server = WithRole::start("90s", "10m");
    let clock = ManualClock::default();
    let store = server.store(&Clock::Manual(clock.clone()));
    assert_eq!(ask(&store, NAME).await, found(SECRET));
    let begun = clock.now().at;
    assert_eq!(store.due().unwrap().since(begun), Duration::from_mins(1));
    clock.advance(Duration::from_mins(1));
    store.tend().await;
    assert_eq!((server.tap.requests(RENEW), server.tap.requests(LOGIN)), (1, 1));
    assert_eq!(store.due().unwrap().since(begun), Duration::from_mins(2));
}

#[tokio::test]
async fn a_given_token_is_renewed_too() {
    let bao = Bao::start();
    bao.put("keypool/flash_01", &json!({"value": SECRET}));
    bao.reader("keypool", "secret/data/keypool/*");
    let token = bao.token("keypool", &json!({"ttl": "1h", "period": "1h"}));
    let tap = Tap::on(bao.address());
    let clock = ManualClock::default();
    let address = format!("http://{}", tap.address());
    let store = vault_at(&address, &[("VAULT_TOKEN", &token)], &Clock::Manual(clock.clone()));
    assert_eq!(ask(&store, NAME).await, found(SECRET));
    clock.advance(Duration::from_mins(40));
    store.tend().await;
    assert_eq!(tap.requests(RENEW), 1);
}

#[tokio::test]
async fn a_sealed_or_stopped_vault_is_unavailable_until_it_is_back() {
    let mut server = WithRole::start("1h", "1h");
    let clock = ManualClock::default();
    let store = server.store(&Clock::Manual(clock.clone()));
    assert_eq!(ask(&store, NAME).await, found(SECRET));
    server.bao.seal();
    assert_eq!(ask(&store, NAME).await, told(SEALED));
    let newcomer = server.store(&Clock::Manual(clock.clone()));
    assert_eq!(ask(&newcomer, NAME).await, told(SEALED));
    server.bao.unseal();
    assert_eq!(ask(&store, NAME).await, found(SECRET));
    server.bao.stop();
    let direct = vault(server.bao.address(), &[("VAULT_TOKEN", server.bao.root_token())]);
    let gone = "unavailable: cannot be fetched: no connection";
    assert_eq!(ask(&direct, NAME).await, told(gone));
    server.bao.start_again();
    assert_eq!(ask(&store, NAME).await, told(SEALED));
    server.bao.unseal();
    assert_eq!(ask(&store, NAME).await, found(SECRET));
    assert_eq!(ask(&direct, NAME).await, found(SECRET));
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&newcomer, NAME).await, found(SECRET));
}

#[tokio::test]
async fn a_namespace_has_secrets_of_its_own() {
    let bao = Bao::start();
    bao.put("keypool/flash_01", &json!({"value": SECRET}));
    bao.admin("POST", "sys/namespaces/team", &json!({}));
    let engine = json!({"type": "kv", "options": {"version": "2"}});
    assert_eq!(bao.ask("POST", "sys/mounts/shared/kv", &engine, "team").0, 204);
    let fields = json!({"data": {"value": "fake-secret-of-team"}});
    until("the engine is ready", || {
        bao.ask("POST", "shared/kv/data/keypool/flash_01", &fields, "team").0 == 200
    });
    let token = ("VAULT_TOKEN", bao.root_token());
    let more = [token, ("VAULT_NAMESPACE", "team"), ("VAULT_KV_MOUNT", "shared/kv")];
    let store = vault(bao.address(), &more);
    assert_eq!(ask(&store, "shared/kv/keypool/flash_01").await, found("fake-secret-of-team"));
    let store = vault(bao.address(), &[token, ("VAULT_NAMESPACE", "nowhere")]);
    let nowhere = "gone: does not exist: there is no such engine or namespace";
    assert_eq!(ask(&store, NAME).await, told(nowhere));
}

#[tokio::test]
async fn certificates_are_always_verified() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let bao = Bao::start_with(&[
        authority.certify("localhost"),
        authority.certify("vault.example"),
        authority.certify_expired("localhost"),
        Certified::self_signed("localhost"),
    ]);
    bao.put("keypool/flash_01", &json!({"value": SECRET}));
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, pem: String| {
        let path = dir.path().join(name);
        fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ours = file("ours.pem", authority.pem());
    let theirs = file("theirs.pem", stranger.pem());
    let both = file("both.pem", authority.pem() + &stranger.pem());
    let ask = async |listener, authorities: &str| {
        let address = format!("https://localhost:{}", bao.tls(listener).port());
        // None of these helps, or hinders.
        let more = [
            ("VAULT_TOKEN", bao.root_token()),
            ("VAULT_CACERT", authorities),
            ("VAULT_SKIP_VERIFY", "true"),
            ("HTTPS_PROXY", "http://127.0.0.1:1"),
        ];
        ask(&vault_at(&address, &more, &Clock::System), NAME).await
    };
    let distrusted = |why| told(&format!("unavailable: cannot be fetched: no trust: {why}"));
    assert_eq!(ask(0, &ours).await, found(SECRET));
    assert_eq!(ask(0, &both).await, found(SECRET));
    let unknown = || distrusted("the certificate is of no known authority");
    assert_eq!(ask(0, &theirs).await, unknown());
    assert_eq!(ask(0, "").await, unknown());
    assert_eq!(ask(1, &ours).await, distrusted("the certificate is for another name"));
    let expired = "the certificate has expired, or is not valid yet";
    assert_eq!(ask(2, &ours).await, distrusted(expired));
    assert_eq!(ask(3, &ours).await, unknown());
    let missing = "unset: cannot be fetched: the file of VAULT_CACERT: there is no such file";
    assert_eq!(ask(0, "/nowhere/ca.pem").await, told(missing));
}

#[tokio::test]
async fn garbage_is_no_answer() {
    let answer = |headers: &str, body: &[u8]| {
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{headers}\r\n");
        [head.as_bytes(), body].concat()
    };
    let bomb = {
        let body = json!({"data": {"data": {"value": SECRET}, "metadata": {"created_time": ""}}});
        gzip(body.to_string().as_bytes())
    };
    let huge = [br#"{"data":""#, vec![b'x'; 100 << 20].as_slice()].concat();
    let senseless = "unavailable: cannot be fetched: the answer is not one of a vault (200)";
    let long = "unavailable: cannot be fetched: the answer is longer than 1 MiB";
    let broken = "unavailable: cannot be fetched: the connection broke";
    for (answer, what) in [
        (answer("content-type: text/html\r\n", b"<html>Sign in</html>"), senseless),
        (answer("content-encoding: gzip\r\n", &bomb), senseless),
        (answer("", b"null"), senseless),
        (answer("", b""), senseless),
        (answer("", &huge), long),
        (b"220 mail.example ESMTP\r\n".to_vec(), broken),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec(), broken),
        (Vec::new(), broken),
    ] {
        let store = vault(canned(answer, 1 << 20), &[("VAULT_TOKEN", "fake-token")]);
        assert_eq!(ask(&store, NAME).await, told(what));
    }
}

/// Whoever decompressed it would find a good answer in it.
fn gzip(text: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[tokio::test]
async fn slow_answers_are_not_waited_for() {
    let token = [("VAULT_TOKEN", "fake-token")];
    let (_listener, address) = silent();
    let hanging = vault(address, &token);
    let drip = "HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n".to_owned() + &" ".repeat(9999);
    let dripping = vault(canned(drip.into_bytes(), 1), &token);
    let begun = Clock::System.now().at;
    let both = tokio::join!(ask(&hanging, NAME), ask(&dripping, NAME));
    let timeout = "unavailable: cannot be fetched: timeout";
    assert_eq!(both, (told(timeout), told(timeout)));
    // The bound of one request, and some air for a busy machine.
    assert!(Clock::System.now().at.since(begun) < Duration::from_secs(10));
}

#[tokio::test]
async fn no_log_at_any_level_holds_a_secret_or_a_token() {
    let log = Written::default();
    let writer = log.clone();
    // Without the cap that the daemon puts on libraries, and for every test of this program.
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();

    let server = WithRole::start("1h", "1h");
    server.bao.put("keypool/odd", &json!({"value": ["fake-secret-odd"]}));
    let clock = ManualClock::default();
    let store = server.store(&Clock::Manual(clock.clone()));
    let mut shown = Vec::new();
    for name in [NAME, "secret/keypool/odd", "secret/keypool/none", "secret/others/flash_01"] {
        shown.push(format!("{:?}", ask_for_all(&store, name).await));
    }
    clock.advance(Duration::from_mins(40));
    store.tend().await;
    let wrong = [("VAULT_TOKEN", "fake-token-wrong"), ("VAULT_SECRET_ID", "fake-secret-id")];
    let denied = vault(server.tap.address(), &wrong);
    shown.push(format!("{:?}", ask_for_all(&denied, NAME).await));
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let absent = vault_at(&nobody, &wrong, &Clock::System);
    shown.push(format!("{:?}", ask_for_all(&absent, NAME).await));
    server.bao.seal();
    shown.push(format!("{:?}", ask_for_all(&store, NAME).await));
    shown.push(format!("{store:?} {denied:?} {absent:?}"));

    let mut secrets = server.tap.answered("client_token");
    assert_eq!(secrets.len(), 2, "of a login and a renewal");
    let more = [SECRET, "fake-secret-odd", "fake-token-wrong", "fake-secret-id"];
    secrets.extend(more.map(str::to_owned));
    secrets.extend([server.secret_id.clone(), server.bao.root_token().to_owned()]);
    let log = log.text();
    assert!(log.contains("reqwest") && log.contains("hyper"), "the libraries have spoken: {log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} in {log}");
        assert!(!shown.concat().contains(&secret), "{secret} in {shown:?}");
    }
}

/// What comes of a fetch, with all that its parts show of themselves.
async fn ask_for_all(stores: &RemoteStores, name: &str) -> impl std::fmt::Debug {
    let reference = keypool::secrets::RemoteRef { store: RemoteStore::Vault, name: name.into() };
    stores.fetch(&reference).await
}

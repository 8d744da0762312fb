//! The store `aws` against moto, and against servers that are none.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use keypool::clock::Clock;
use keypool::secrets::{
    Environment, FailureClass, Process, RemoteRef, RemoteStore, RemoteStores, Version,
};
use keypool::telemetry::logging::{self, LogFormat};
use serde_json::json;
use tempfile::TempDir;

pub(crate) mod moto;
mod scripted;

use self::moto::{AccessKey, Moto};
use self::scripted::{Scripted, answer};

const SECRET: &str = "fake-secret-flash-01";
const NAME: &str = "keypool/flash_01";

/// What the answers of a server and the files of a user hold that nobody else may see.
const CANARY: &str = "fakesecretcanary";

/// The stores as a process with `variables` has them, with no other file than those.
fn stores(variables: &[(&str, &str)]) -> RemoteStores {
    let nothing = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ];
    let variables = nothing.iter().chain(variables);
    let variables = variables.map(|(name, value)| ((*name).into(), (*value).into()));
    let process = Process::new(variables);
    RemoteStores::new(&Environment::new(&process), &process, &Clock::System)
}

/// The stores of somebody with an access key, at `url`.
fn stores_with(url: &str, id: &str, secret: &str) -> RemoteStores {
    let key = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)];
    stores(&[&key[..], &[("AWS_ENDPOINT_URL", url)]].concat())
}

/// The stores of somebody whom nobody checks, at `url`.
fn stores_at(url: &str) -> RemoteStores {
    stores_with(url, "fake-id", "fake-secret-key")
}

/// The stores of somebody whose access key is in a file.
fn stores_of_file(url: &str, file: &str) -> RemoteStores {
    stores(&[("AWS_SHARED_CREDENTIALS_FILE", file), ("AWS_ENDPOINT_URL", url)])
}

async fn version(stores: &RemoteStores, name: &str) -> Result<Version, String> {
    let asked = RemoteRef { store: RemoteStore::Aws, name: name.into() };
    let version = stores.fetch(&asked).await;
    version.map_err(|failure| format!("{}: {failure}", failure.class.name()))
}

/// The secret, or the class and text of the failure.
async fn fetch(stores: &RemoteStores, name: &str) -> Result<String, String> {
    version(stores, name).await.map(|version| version.secret.expose().to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a fetch gives")]
fn found(secret: &str) -> Result<String, String> {
    Ok(secret.to_owned())
}

fn told(what: &str) -> Result<String, String> {
    Err(what.to_owned())
}

fn unavailable(why: &str) -> Result<String, String> {
    Err(format!("unavailable: cannot be fetched: {why}"))
}

#[tokio::test]
async fn a_secret_is_followed_through_its_life() {
    let moto = Moto::start();
    let stores = stores_at(&moto.url());
    let not_there = told("gone: does not exist (ResourceNotFoundException)");
    assert_eq!(fetch(&stores, NAME).await, not_there);
    moto.put(NAME, SECRET);
    assert_eq!(fetch(&stores, NAME).await, found(SECRET));
    let first = version(&stores, NAME).await.unwrap().changed_at.unwrap();
    assert!(first.as_millis() > 1_700_000_000_000, "{first:?}");
    moto.rotate(NAME, "{\"value\": \"fake-secret-flash-02\"}");
    assert_eq!(fetch(&stores, NAME).await, found("fake-secret-flash-02"));
    let second = version(&stores, NAME).await.unwrap().changed_at.unwrap();
    assert!(second >= first, "{first:?} {second:?}");
    moto.secrets("DeleteSecret", &json!({"SecretId": NAME}));
    let deleted = told("gone: is deleted, or will be soon (InvalidRequestException)");
    assert_eq!(fetch(&stores, NAME).await, deleted);
    moto.secrets("RestoreSecret", &json!({"SecretId": NAME}));
    assert_eq!(fetch(&stores, NAME).await, found("fake-secret-flash-02"));
    let at_once = json!({"SecretId": NAME, "ForceDeleteWithoutRecovery": true});
    moto.secrets("DeleteSecret", &at_once);
    assert_eq!(fetch(&stores, NAME).await, not_there);
}

#[tokio::test]
async fn what_is_no_key_is_unusable() {
    let moto = Moto::start();
    let stores = stores_at(&moto.url());
    moto.put("json", "{\"key\": \"fake-secret\"}");
    assert_eq!(fetch(&stores, "json").await, told("unusable: is JSON without a member `value`"));
    moto.secrets("CreateSecret", &json!({"Name": "binary", "SecretBinary": "ZmFrZQ=="}));
    let binary = told("unusable: is binary (SecretBinary), not text (SecretString)");
    assert_eq!(fetch(&stores, "binary").await, binary);
}

#[tokio::test]
async fn a_server_may_stop_and_come_back() {
    let mut moto = Moto::start();
    let stores = stores_at(&moto.url());
    moto.put(NAME, SECRET);
    assert_eq!(fetch(&stores, NAME).await, found(SECRET));
    moto.stop();
    assert_eq!(fetch(&stores, NAME).await, unavailable("no connection"));
    moto.start_again();
    moto.put(NAME, "fake-secret-flash-02");
    assert_eq!(fetch(&stores, NAME).await, found("fake-secret-flash-02"));
}

#[tokio::test]
async fn signatures_and_policies_are_accepted_or_denied() {
    let moto = Moto::start();
    moto.put(NAME, SECRET);
    let AccessKey { id, secret } = moto.user("keypool");
    let stores = stores_with(&moto.url(), &id, &secret);
    moto.check(true);
    let denied = told("denied: may not be read with these credentials (status 403)");
    assert_eq!(fetch(&stores, NAME).await, denied, "no policy");
    moto.check(false);
    moto.permit("keypool", "Allow");
    moto.check(true);
    assert_eq!(fetch(&stores, NAME).await, found(SECRET));
    let wrong_secret = stores_with(&moto.url(), &id, "fake-secret-key");
    assert_eq!(fetch(&wrong_secret, NAME).await, denied);
    let unknown = stores_with(&moto.url(), "AKIAFAKEFAKEFAKEFAKE", &secret);
    assert_eq!(fetch(&unknown, NAME).await, denied);
    moto.check(false);
    moto.permit("keypool", "Deny");
    moto.check(true);
    assert_eq!(fetch(&stores, NAME).await, denied, "the policy denies");
}

#[tokio::test]
async fn the_access_key_of_a_profile_signs() {
    let moto = Moto::start();
    moto.put(NAME, SECRET);
    let key = moto.user("keypool");
    moto.permit("keypool", "Allow");
    moto.check(true);
    let dir = TempDir::new().unwrap();
    let file = credentials(&dir, "prod", &key.id, &key.secret);
    let url = moto.url();
    let of_profile = [("AWS_SHARED_CREDENTIALS_FILE", &*file), ("AWS_ENDPOINT_URL", &url)];
    let stores = stores(&[&of_profile[..], &[("AWS_PROFILE", "prod")]].concat());
    assert_eq!(fetch(&stores, NAME).await, found(SECRET));
}

#[tokio::test]
async fn credentials_that_have_expired_are_read_anew_once() {
    let dir = TempDir::new().unwrap();
    let file = credentials(&dir, "default", "fake-id-old", "fake");
    let expired = answer(400, "", "{\"__type\": \"ExpiredTokenException\"}");
    let good = answer(200, "", &json!({"SecretString": SECRET}).to_string());
    let replace = move || drop(credentials(&dir, "default", "fake-id-new", "fake"));
    let server = Scripted::acting(vec![expired.clone(), good], replace);
    let stores = stores_of_file(&server.url(), &file);
    assert_eq!(fetch(&stores, NAME).await, found(SECRET));
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].contains("Credential=fake-id-old/"), "{asked:?}");
    assert!(asked[1].contains("Credential=fake-id-new/"), "{asked:?}");

    let server = Scripted::start(vec![expired]);
    let denied = "denied: cannot be fetched: AWS does not accept the credentials \
        (ExpiredTokenException)";
    let dir = TempDir::new().unwrap();
    let file = credentials(&dir, "default", "fake-id-old", "fake");
    assert_eq!(fetch(&stores_of_file(&server.url(), &file), NAME).await, told(denied));
    assert_eq!(server.asked().len(), 2, "once");
    assert_eq!(fetch(&stores_at(&server.url()), NAME).await, told(denied));
    assert_eq!(server.asked().len(), 3, "those of variables are not read anew");
}

#[tokio::test]
async fn no_credentials_are_told_with_where_they_were_looked_for() {
    let stores = stores(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
    let failure = fetch(&stores, NAME).await.unwrap_err();
    assert!(failure.starts_with("unavailable: cannot be fetched: there are no cred"), "{failure}");
    assert!(failure.contains("AWS_ACCESS_KEY_ID"), "{failure}");
}

#[tokio::test]
async fn without_a_region_nothing_is_asked() {
    let stores = stores(&[("AWS_REGION", "")]);
    let unset = told("unset: cannot be fetched: AWS_REGION is not set");
    assert_eq!(fetch(&stores, NAME).await, unset);
}

#[tokio::test]
async fn the_region_may_be_that_of_a_profile() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("config");
    fs::write(&file, "[default]\nregion = eu-north-1\n").unwrap();
    let good = answer(200, "", &json!({"SecretString": SECRET}).to_string());
    let server = Scripted::start(vec![good]);
    let url = server.url();
    let variables = [
        ("AWS_REGION", ""),
        ("AWS_CONFIG_FILE", file.to_str().unwrap()),
        ("AWS_ACCESS_KEY_ID", "fake-id"),
        ("AWS_SECRET_ACCESS_KEY", "fake"),
        ("AWS_ENDPOINT_URL", &url),
    ];
    assert_eq!(fetch(&stores(&variables), NAME).await, found(SECRET));
    assert!(server.asked()[0].contains("/eu-north-1/secretsmanager/"), "{:?}", server.asked());
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = stores_at(&format!("http://{}", listener.local_addr().unwrap()));
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"Secret";
    let endless = Scripted::start(vec![begun.to_owned()]);
    let endless = stores_at(&endless.url());
    // This takes the four seconds of an attempt, which is not for a test to measure.
    let (silent, endless) = tokio::join!(fetch(&silent, NAME), fetch(&endless, NAME));
    assert_eq!(silent, unavailable("timeout"));
    assert_eq!(endless, unavailable("timeout"));
}

#[tokio::test]
async fn garbage_is_told_as_such() {
    let nonsense = unavailable("the answer makes no sense");
    let long = "x".repeat(1024 * 1024);
    for (said, expected) in [
        (answer(200, "", "<html>fake-secret-flash-01</html>"), nonsense.clone()),
        (answer(200, "", "{\"SecretString\": 1}"), nonsense.clone()),
        (answer(200, "", "[]"), nonsense),
        (answer(200, "", ""), unavailable("the answer has no secret")),
        (answer(200, "", &long), unavailable("the answer is too long")),
        (
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{long}"),
            unavailable("the answer is too long"),
        ),
        ("connection: close\r\n\r\nSSH-2.0".to_owned(), unavailable("the connection broke")),
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{".to_owned(),
            unavailable("the connection broke"),
        ),
        (answer(502, "", "<html>"), unavailable("AWS answers with an error (status 502)")),
        (
            answer(503, "x-amzn-errortype: ServiceUnavailable:http://fake\r\n", "{}"),
            unavailable("AWS answers with an error (ServiceUnavailable)"),
        ),
        (
            answer(400, "", "{\"__type\": \"com.amazonaws#ThrottlingException\"}"),
            unavailable("too many requests (ThrottlingException)"),
        ),
    ] {
        let server = Scripted::start(vec![said]);
        assert_eq!(fetch(&stores_at(&server.url()), NAME).await, expected);
        assert_eq!(server.asked().len(), 1, "one attempt");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Scripted::start(vec![answer(200, "", "{}")]);
    let location = format!("location: {}/\r\n", elsewhere.url());
    let server = Scripted::start(vec![answer(307, &location, "")]);
    let refused = unavailable("AWS answers with an error (status 307)");
    assert_eq!(fetch(&stores_at(&server.url()), NAME).await, refused);
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn who_does_not_speak_tls_is_not_trusted() {
    let server = Scripted::start(vec![answer(200, "", "{}")]);
    let url = server.url().replace("http:", "https:");
    let why = "no trust: the certificate or the TLS of the other side is not accepted";
    assert_eq!(fetch(&stores_at(&url), NAME).await, unavailable(why));
}

#[test]
fn the_log_at_its_loudest_has_no_secret_in_it() {
    let canary = |status, headers: &str, body: &str| {
        answer(status, &headers.replace('?', CANARY), &body.replace('?', CANARY))
    };
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("credentials");
    let file = file.to_str().unwrap();
    let key = format!("[default]\naws_access_key_id = {CANARY}\naws_secret_access_key = {CANARY}");
    let program = format!("[default]\ncredential_process = sh -c 'echo {CANARY} >&2; exit 1'");
    let broken = format!("[default\n{CANARY}");
    for (said, credentials, expected) in [
        (canary(200, "", "{\"SecretString\": \"?\"}"), &key, "found"),
        (canary(200, "x-amzn-requestid: ?\r\n", "<html>?"), &key, "unavailable"),
        (canary(400, "", "{\"__type\": \"A-?\", \"message\": \"?\"}"), &key, "unavailable"),
        (canary(403, "x-amzn-requestid: ?\r\n", "<Message>?</Message>"), &key, "denied"),
        (canary(200, "", "{\"SecretString\": \"{\\\"?\\\": \\\"?\\\"}\"}"), &key, "unusable"),
        (canary(200, "", ""), &program, "unavailable"),
        (canary(200, "", ""), &broken, "unavailable"),
    ] {
        let server = Scripted::start(vec![said]);
        fs::write(file, credentials).unwrap();
        let output = child(&[
            ("AWS_SHARED_CREDENTIALS_FILE", file),
            ("AWS_ENDPOINT_URL", &server.url()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]);
        assert!(output.contains(&format!("came of it: {expected}")), "{output}");
        assert!(output.contains("TRACE") && output.contains("the log is heard"), "{output}");
        assert!(!output.contains(CANARY), "{output}");
    }
}

#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let proxy = Scripted::start(vec![answer(200, "", "{}")]);
    let good = answer(200, "", &json!({"SecretString": SECRET}).to_string());
    let server = Scripted::start(vec![good]);
    let output = child(&[
        ("HTTP_PROXY", &proxy.url()),
        ("HTTPS_PROXY", &proxy.url()),
        ("ALL_PROXY", &proxy.url()),
        ("http_proxy", &proxy.url()),
        ("AWS_ACCESS_KEY_ID", "fake-id"),
        ("AWS_SECRET_ACCESS_KEY", "fake"),
        ("AWS_ENDPOINT_URL", &server.url()),
    ]);
    assert!(output.contains("came of it: found"), "{output}");
    assert_eq!(proxy.asked(), Vec::<String>::new());
}

#[test]
fn the_role_of_a_container_or_an_instance_signs() {
    let role = json!({"Code": "Success", "AccessKeyId": "fake-id-of-role", "Token": "fake-token",
        "SecretAccessKey": "fake", "Expiration": "2099-01-01T00:00:00Z"});
    let role = answer(200, "content-type: application/json\r\n", &role.to_string());
    let token = answer(200, "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n", "fake-token");
    let container = Scripted::start(vec![role.clone()]);
    let instance = Scripted::start(vec![token, answer(200, "", "keypool"), role]);
    for (variable, url) in [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.url()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.url()),
    ] {
        let good = answer(200, "", &json!({"SecretString": SECRET}).to_string());
        let server = Scripted::start(vec![good]);
        let output = child(&[(variable, &url), ("AWS_ENDPOINT_URL", &server.url())]);
        assert!(output.contains("came of it: found"), "{variable}: {output}");
        let asked = server.asked();
        assert!(asked[0].contains("Credential=fake-id-of-role/"), "{asked:?}");
        assert!(asked[0].contains("x-amz-security-token: fake-token"), "{asked:?}");
    }
}

/// All that is printed by a process with `variables` that fetches a secret and logs all it can.
fn child(variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "aws::as_a_child"])
        .env_clear()
        .env("AWS_REGION", "us-east-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success());
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test]
#[ignore = "other tests run it, as a process of its own"]
async fn as_a_child() {
    logging::start("trace,aws_config=trace,aws_smithy_runtime=trace", LogFormat::Text).unwrap();
    tracing::trace!("the log is heard");
    #[expect(clippy::disallowed_methods, reason = "this is a process of its own")]
    let process = Process::new(std::env::vars_os());
    let stores = RemoteStores::new(&Environment::new(&process), &process, &Clock::System);
    let asked = RemoteRef { store: RemoteStore::Aws, name: NAME.into() };
    match stores.fetch(&asked).await {
        Ok(version) => println!("came of it: found {version:?} {stores:?}"),
        Err(failure) => {
            assert!(FailureClass::ALL.contains(&failure.class));
            println!("came of it: {} {failure} {failure:?} {stores:?}", failure.class.name());
        }
    }
}

/// A file of credentials with one profile; its path.
fn credentials(dir: &TempDir, profile: &str, id: &str, secret: &str) -> String {
    let path = dir.path().join("credentials");
    let text = format!("[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

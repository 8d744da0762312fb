//! Azure Key Vault.

use std::process::Command;

use keypool::clock::{Clock, rfc3339};
use keypool::pool::WallTime;
use keypool::secrets::{
    Environment, FailureClass, Process, RemoteRef, RemoteStore, RemoteStores, Version,
};
use keypool::telemetry::logging::{self, LogFormat};
use serde_json::json;

use crate::support::installed;
use crate::support::key_vault::{
    ASSERTION, IDENTITY_HEADER, KeyVault, LOGIN, Mood, OFFICER, OTHER_VAULT, READER, READER_SECRET,
    RESOURCE, Seen, TENANT, VAULT, now,
};

/// What the store needs to know to find `vault`.
pub(crate) fn address(vault: &KeyVault) -> Vec<(&'static str, String)> {
    vec![
        ("AZURE_VAULT_URL", vault.url(VAULT)),
        ("AZURE_AUTHORITY_HOST", vault.url(LOGIN)),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", vault.metadata()),
        ("AZURE_CA_FILE", vault.ca_file().display().to_string()),
    ]
}

/// The reader, who logs in with a secret.
pub(crate) fn reader() -> Vec<(&'static str, String)> {
    let ids = [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", READER)];
    let secret = ("AZURE_CLIENT_SECRET", READER_SECRET);
    ids.into_iter().chain([secret]).map(|(name, value)| (name, value.to_owned())).collect()
}

/// The store with `variables` in its environment; the last of a name counts.
fn store(variables: &[Vec<(&'static str, String)>]) -> RemoteStores {
    let variables = variables.iter().flatten();
    let variables = variables.map(|(name, value)| ((*name).into(), value.into()));
    let process = Process::new(variables);
    RemoteStores::new(&Environment::new(&process), &process, &Clock::System)
}

fn store_of_reader(vault: &KeyVault) -> RemoteStores {
    store(&[address(vault), reader()])
}

type Told = Result<String, (FailureClass, String)>;

async fn version(store: &RemoteStores, name: &str) -> Result<Version, (FailureClass, String)> {
    let reference = RemoteRef { store: RemoteStore::Azure, name: name.into() };
    let fetched = store.fetch(&reference).await;
    fetched.map_err(|failure| (failure.class, failure.text.into_owned()))
}

/// The value of `flash-01`.
async fn fetch(store: &RemoteStores) -> Told {
    version(store, "flash-01").await.map(|version| version.secret.expose().to_owned())
}

fn gone(text: &str) -> Told {
    Err((FailureClass::Gone, text.to_owned()))
}

fn denied(text: &str) -> Told {
    Err((FailureClass::Denied, text.to_owned()))
}

fn unavailable(text: &str) -> Told {
    Err((FailureClass::Unavailable, format!("cannot be fetched: {text}")))
}

/// How many logins are among `seen`.
fn logins(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.host == LOGIN).count()
}

fn always(host: &'static str, status: u16, body: &str) -> Mood {
    Mood::Always(host, status, None, body.to_owned())
}

#[test]
fn azures_python_client_takes_it_for_a_key_vault() {
    let vault = KeyVault::start();
    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/key_vault.py");
    let output = Command::new(installed("python"))
        .arg(judge)
        .env("REQUESTS_CA_BUNDLE", vault.ca_file())
        .env("VAULT_URL", format!("https://{VAULT}"))
        .env("AUTHORITY", format!("https://{LOGIN}"))
        .env("PORT", vault.port().to_string())
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", vault.metadata())
        .envs([("TENANT", TENANT), ("READER", READER), ("OFFICER", OFFICER)])
        .envs([("READER_SECRET", READER_SECRET), ("ASSERTION", ASSERTION)])
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("it is a Key Vault"), "{told}{complaint}");
}

#[tokio::test]
async fn a_secret_is_fetched_and_then_its_next_version() {
    let vault = KeyVault::start();
    let store = store_of_reader(&vault);
    let first = version(&store, "flash-01").await.unwrap();
    assert_eq!(first.secret.expose(), "fake-secret-flash-01");
    let written = first.changed_at.unwrap();
    let ago = WallTime::from_millis(now().unsigned_abs() * 1000).since(written);
    assert!(ago.as_secs() < 600, "{}", rfc3339(written));
    vault.set("flash-01", "fake-secret-flash-02 with \"quotes\" and \u{e9}");
    assert_eq!(
        fetch(&store).await.as_deref(),
        Ok("fake-secret-flash-02 with \"quotes\" and \u{e9}")
    );
}

#[tokio::test]
async fn one_login_serves_many_fetches() {
    let vault = KeyVault::start();
    let store = store_of_reader(&vault);
    assert!(vault.seen().is_empty(), "nobody asks before the first fetch");
    for _ in 0..5 {
        fetch(&store).await.unwrap();
    }
    let seen = vault.seen();
    assert_eq!(logins(&seen), 1, "{seen:?}");
    let without = seen.iter().filter(|seen| seen.host == VAULT && !seen.with_token).count();
    assert_eq!((without, seen.len()), (1, 7), "one challenge, five answers: {seen:?}");
}

#[tokio::test]
async fn a_pod_logs_in_with_its_token() {
    let vault = KeyVault::start();
    let ids = [("AZURE_TENANT_ID", TENANT.to_owned()), ("AZURE_CLIENT_ID", READER.to_owned())];
    let pod = |text: &str| {
        let file = vault.file("token", text).display().to_string();
        store(&[address(&vault), ids.to_vec(), vec![("AZURE_FEDERATED_TOKEN_FILE", file)]])
    };
    assert_eq!(fetch(&pod(ASSERTION)).await.as_deref(), Ok("fake-secret-flash-01"));
    let told = "cannot be fetched: the login service answers 401 invalid_client (AADSTS7000215)";
    assert_eq!(fetch(&pod("fake-secret-other")).await, denied(told));
    let file = [("AZURE_FEDERATED_TOKEN_FILE", "/nonexistent".to_owned())];
    let pod = store(&[address(&vault), ids.to_vec(), file.to_vec()]);
    assert_eq!(fetch(&pod).await, unavailable("AZURE_FEDERATED_TOKEN_FILE cannot be read"));
}

#[tokio::test]
async fn a_machine_asks_its_metadata_service() {
    let vault = KeyVault::start();
    assert_eq!(fetch(&store(&[address(&vault)])).await.as_deref(), Ok("fake-secret-flash-01"));
    let identity = |id: &str| store(&[address(&vault), vec![("AZURE_CLIENT_ID", id.to_owned())]]);
    assert_eq!(fetch(&identity(READER)).await.as_deref(), Ok("fake-secret-flash-01"));
    let told = "cannot be fetched: the managed identity answers 400 invalid_request";
    assert_eq!(fetch(&identity(OFFICER)).await, denied(told));
    vault.answer(always("127.0.0.1", 404, ""));
    let told = unavailable("the managed identity answers 404");
    assert_eq!(fetch(&store(&[address(&vault)])).await, told);
    let seen = vault.seen();
    assert_eq!(seen.last().unwrap().host, "127.0.0.1", "asked once: {seen:?}");
}

#[tokio::test]
async fn what_is_not_or_no_longer_there_is_gone() {
    let vault = KeyVault::start();
    let store = store_of_reader(&vault);
    let never = version(&store, "flash-09").await.unwrap_err();
    assert_eq!(never, (FailureClass::Gone, "is not in the vault".to_owned()));
    vault.update("flash-01", &json!({"enabled": false}));
    assert_eq!(fetch(&store).await, gone("is disabled in the vault"));
    vault.update("flash-01", &json!({"enabled": true, "exp": 1_000_000_000}));
    assert_eq!(fetch(&store).await, gone("has expired at 2001-09-09T01:46:40Z"));
    vault.update("flash-01", &json!({"exp": 4_102_444_800_i64, "nbf": 4_000_000_000_i64}));
    assert_eq!(fetch(&store).await, gone("is not valid before 2096-10-02T07:06:40Z"));
    vault.update("flash-01", &json!({"nbf": 1_000_000_000}));
    assert_eq!(fetch(&store).await.as_deref(), Ok("fake-secret-flash-01"));
    vault.delete("flash-01");
    assert_eq!(fetch(&store).await, gone("is not in the vault"));
    assert_eq!(logins(&vault.seen()), 1, "none of this needs a new login");
}

#[tokio::test]
async fn who_has_no_role_is_told_which_one_it_needs() {
    let vault = KeyVault::start();
    let store = store_of_reader(&vault);
    vault.permit_reader(false);
    let told = denied(
        "may not be read: the vault answers 403 ForbiddenByRbac; the identity needs the role Key \
         Vault Secrets User",
    );
    assert_eq!(fetch(&store).await, told);
    assert_eq!(logins(&vault.seen()), 1, "its token was fresh");
    for _ in 0..5 {
        assert_eq!(fetch(&store).await, told);
    }
    assert_eq!(logins(&vault.seen()), 1, "one more login, for a role may have come since");
    vault.permit_reader(true);
    assert_eq!(fetch(&store).await.as_deref(), Ok("fake-secret-flash-01"));
}

#[tokio::test]
async fn a_token_that_the_vault_refuses_is_replaced_at_once() {
    let vault = KeyVault::start();
    let store = store_of_reader(&vault);
    for _ in 0..3 {
        assert_eq!(fetch(&store).await.as_deref(), Ok("fake-secret-flash-01"));
        assert_eq!(logins(&vault.seen()), 1);
        vault.end_tokens();
    }
}

#[tokio::test]
async fn a_refused_login_is_no_answer_about_the_secret() {
    let vault = KeyVault::start();
    let with = |name: &'static str, value: &str| {
        store(&[address(&vault), reader(), vec![(name, value.to_owned())]])
    };
    let wrong = with("AZURE_CLIENT_SECRET", "fake-secret-wrong");
    let told = "cannot be fetched: the login service answers 401 invalid_client (AADSTS7000215)";
    assert_eq!(fetch(&wrong).await, denied(told));
    assert_eq!(logins(&vault.seen()), 1);
    let told =
        "cannot be fetched: the login service answers 400 unauthorized_client (AADSTS700016)";
    assert_eq!(fetch(&with("AZURE_CLIENT_ID", "unheard-of")).await, denied(told));
    let told = "cannot be fetched: the login service answers 400 invalid_request (AADSTS90002)";
    assert_eq!(fetch(&with("AZURE_TENANT_ID", "unheard-of")).await, denied(told));
}

#[tokio::test]
async fn a_vault_that_stops_is_unavailable_until_it_is_back() {
    let mut vault = KeyVault::start();
    let store = store_of_reader(&vault);
    fetch(&store).await.unwrap();
    vault.stop();
    // The first may still try the connection of before.
    assert_eq!(fetch(&store).await.unwrap_err().0, FailureClass::Unavailable);
    assert_eq!(fetch(&store).await, unavailable("the vault: no connection"));
    vault.restart();
    assert_eq!(fetch(&store).await.as_deref(), Ok("fake-secret-flash-01"));
}

#[tokio::test]
async fn a_vault_that_does_not_answer_is_given_up() {
    let vault = KeyVault::start();
    let store = store_of_reader(&vault);
    vault.answer(Mood::Silent(VAULT));
    assert_eq!(fetch(&store).await, unavailable("the vault: timeout"));
}

#[tokio::test]
async fn a_login_service_that_does_not_answer_is_given_up() {
    let vault = KeyVault::start();
    let store = store_of_reader(&vault);
    vault.answer(Mood::Silent(LOGIN));
    let (class, text) = fetch(&store).await.unwrap_err();
    assert_eq!(class, FailureClass::Unavailable);
    assert!(text.ends_with(": timeout"), "{text}");
    vault.answer(Mood::Faithful);
    assert_eq!(fetch(&store).await.as_deref(), Ok("fake-secret-flash-01"));
}

#[tokio::test]
async fn garbage_says_nothing_of_the_secret() {
    let vault = KeyVault::start();
    let store = store_of_reader(&vault);
    fetch(&store).await.unwrap();
    let long = format!("{{\"value\":\"{}\"}}", "a".repeat(300 * 1024));
    let nonsense = unavailable("the answer of the vault makes no sense");
    for (status, body, told) in [
        (200, "<html>fake-secret-flash-01</html>", nonsense.clone()),
        (200, "", nonsense.clone()),
        (200, r#"{"value":7}"#, nonsense.clone()),
        (200, r#"{"value":"fake-secret-flash-01","attributes":{"exp":1e300}}"#, nonsense.clone()),
        (
            200,
            r#"{"value":"fake-secret-flash-01","attributes":{"exp":9223372036854775807}}"#,
            nonsense,
        ),
        (200, &long, unavailable("the answer of the vault is longer than 256 KiB")),
        (204, "", unavailable("the vault answers 204")),
        (403, "<html>fake-secret-flash-01</html>", unavailable("the vault answers 403")),
        (404, "not here", unavailable("the vault answers 404")),
        (429, r#"{"error":{"code":"Throttled"}}"#, unavailable("the vault answers 429 Throttled")),
        (503, r#"{"error":"fake-secret-flash-01"}"#, unavailable("the vault answers 503")),
    ] {
        vault.answer(always(VAULT, status, body));
        vault.seen();
        assert_eq!(fetch(&store).await, told, "{status} {body:.80}");
        assert_eq!(vault.seen().len(), 1, "there is one attempt: {status} {body:.80}");
    }
    vault.answer(always(VAULT, 200, "{}"));
    let told = (FailureClass::Unusable, "has no value".to_owned());
    assert_eq!(fetch(&store).await, Err(told));
    vault.answer(Mood::Faithful);
    assert_eq!(fetch(&store).await.as_deref(), Ok("fake-secret-flash-01"));
}

#[tokio::test]
async fn garbage_of_the_login_service_is_no_token() {
    let vault = KeyVault::start();
    let store = store_of_reader(&vault);
    let nonsense = unavailable("the answer of the login service makes no sense");
    for (status, body, told) in [
        (200, "{}", nonsense.clone()),
        (200, "<html>", nonsense.clone()),
        (200, r#"{"access_token":"fake","expires_in":9223372036854775807}"#, nonsense),
        (302, "", unavailable("the login service answers 302")),
        (400, "<html>", unavailable("the login service answers 400")),
        (503, r#"{"error":"x-y"}"#, unavailable("the login service answers 503")),
    ] {
        vault.answer(always(LOGIN, status, body));
        assert_eq!(fetch(&store).await, told, "{status} {body}");
        let seen = vault.seen();
        assert!(seen.iter().all(|seen| !seen.with_token), "{seen:?}");
        assert_eq!(logins(&seen), 1, "there is one attempt: {seen:?}");
    }
}

#[tokio::test]
async fn nobody_logs_in_for_what_is_not_the_vaults_own() {
    let vault = KeyVault::start();
    let fresh = store_of_reader(&vault);
    let used = store_of_reader(&vault);
    fetch(&used).await.unwrap();
    vault.seen();
    for resource in [
        "https://management.example",
        "https://ault.localhost",
        "https://evil.example/vault.localhost",
    ] {
        vault.answer(Mood::Challenges(resource));
        let told = unavailable("the vault sends to a login for something other than itself");
        assert_eq!(fetch(&fresh).await, told, "{resource}");
        assert_eq!(fetch(&used).await, told, "{resource}");
        assert_eq!(logins(&vault.seen()), 0, "{resource}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let vault = KeyVault::start();
    let store = store_of_reader(&vault);
    fetch(&store).await.unwrap();
    for host in [OTHER_VAULT, VAULT] {
        let elsewhere = format!("{}/secrets/flash-01?api-version=7.4", vault.url(host));
        let header = Some(("location", elsewhere));
        vault.answer(Mood::Always(VAULT, 302, header, String::new()));
        vault.seen();
        assert_eq!(fetch(&store).await, unavailable("the vault answers 302"));
        assert_eq!(vault.seen().len(), 1, "{host}");
    }
}

#[tokio::test]
async fn a_certificate_of_no_known_authority_is_not_trusted() {
    let vault = KeyVault::start();
    let ca_file =
        |path: &str| store(&[address(&vault), reader(), vec![("AZURE_CA_FILE", path.to_owned())]]);
    let told = unavailable("the vault: no trust: the certificate is of no known authority");
    assert_eq!(fetch(&ca_file("")).await, told);
    let other = KeyVault::start();
    assert_eq!(fetch(&ca_file(&other.ca_file().display().to_string())).await, told);
    let unset = |why: &str| {
        Err((FailureClass::Unset, format!("cannot be fetched: the file of AZURE_CA_FILE{why}")))
    };
    assert_eq!(fetch(&ca_file("/nonexistent")).await, unset(": there is no such file"));
    let empty = vault.file("empty", "").display().to_string();
    assert_eq!(fetch(&ca_file(&empty)).await, unset(" is no PEM certificate"));
    assert!(vault.seen().is_empty());
}

#[tokio::test]
async fn settings_that_are_missing_are_told_by_name() {
    let told = (FailureClass::Unset, "cannot be fetched: AZURE_VAULT_URL is not set".to_owned());
    assert_eq!(fetch(&store(&[reader()])).await, Err(told));
}

/// What a process of its own says that fetches `flash-01` with `variables` in its environment.
fn said_elsewhere(variables: &[(&'static str, String)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "azure::fetches_in_a_process_of_its_own", "--ignored", "--nocapture"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success() && said.contains("it may begin"), "{said}");
    said
}

#[tokio::test]
#[ignore = "other tests run it, because a process has one environment and one log"]
async fn fetches_in_a_process_of_its_own() {
    logging::start("trace", LogFormat::Text).unwrap();
    tracing::trace!("it may begin");
    #[expect(clippy::disallowed_methods, reason = "this is the process")]
    let process = Process::new(std::env::vars_os());
    let store = RemoteStores::new(&Environment::new(&process), &process, &Clock::System);
    for _ in 0..2 {
        let reference = RemoteRef { store: RemoteStore::Azure, name: "flash-01".into() };
        println!("{:?}", store.fetch(&reference).await);
    }
    println!("{store:?}");
}

#[test]
fn an_application_of_app_service_asks_the_endpoint_it_was_given() {
    let vault = KeyVault::start();
    let mut variables = address(&vault);
    variables.push(("IDENTITY_ENDPOINT", vault.metadata() + "/msi/token"));
    variables.push(("IDENTITY_HEADER", IDENTITY_HEADER.to_owned()));
    let said = said_elsewhere(&variables);
    assert!(said.contains("Ok(Version { secret: [REDACTED]"), "{said}");
    assert!(!said.contains(IDENTITY_HEADER), "{said}");
}

#[test]
fn no_secret_is_said_at_the_level_of_trace() {
    let vault = KeyVault::start();
    let variables = [address(&vault), reader()].concat();
    let canary = "fake-secret-flash-01";
    let echo = |status| always(VAULT, status, &format!("{{\"error\":{{\"code\":\"{canary}\"}}}}"));
    let redirect = Some(("location", format!("{}/{canary}", vault.url(OTHER_VAULT))));
    let refusal = format!("{{\"error\":\"{canary}\",\"error_description\":\"{READER_SECRET}\"}}");
    for (mood, expected) in [
        (Mood::Faithful, "Ok("),
        (echo(403), "403"),
        (echo(500), "500"),
        (always(VAULT, 200, &format!("{{\"value\":7,\"{canary}\":\"{canary}\"}}")), "no sense"),
        (Mood::Always(VAULT, 302, redirect, canary.to_owned()), "302"),
        (always(LOGIN, 401, &refusal), "401"),
        (always(LOGIN, 200, &format!("{{\"access_token\":\"{canary}\\n\"}}")), "no sense"),
        (Mood::Challenges("https://fake-secret-flash-01.example"), "other than itself"),
    ] {
        vault.answer(mood);
        let said = said_elsewhere(&variables);
        assert!(said.contains(expected), "{expected}: {said}");
        for secret in [canary, READER_SECRET, "fake-secret-token"] {
            assert!(!said.contains(secret), "{said}");
        }
        assert!(!said.contains(RESOURCE) && !said.contains(VAULT_PATH), "{said}");
    }
}

/// What would be in a URL.
const VAULT_PATH: &str = "/secrets/";

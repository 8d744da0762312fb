use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

use super::*;
use crate::clock::ManualClock;

const NAME: &str = "secret/keypool/flash_01";
const FOUND: Canned = (
    200,
    r#"{"data":{"data":{"value":"fake-secret-flash-01"},
        "metadata":{"created_time":"2026-11-21T12:00:00Z","destroyed":false}}}"#,
);
const DENIED: Canned = (403, r#"{"errors":["permission denied"]}"#);
const SEALED: Canned = (503, r#"{"errors":["Vault is sealed"]}"#);
const REJECTED: Canned = (400, r#"{"errors":["invalid role or secret ID"]}"#);
const LOGGED_IN: Canned =
    (200, r#"{"auth":{"client_token":"fake-token-role","lease_duration":90,"renewable":true}}"#);
const LOGGED_IN_AGAIN: Canned =
    (200, r#"{"auth":{"client_token":"fake-token-again","lease_duration":90,"renewable":true}}"#);
const ROLE: [(&str, &str); 2] =
    [("VAULT_ROLE_ID", "fake-role"), ("VAULT_SECRET_ID", "fake-secret-id")];
const TOKEN: [(&str, &str); 1] = [("VAULT_TOKEN", "fake-token")];

const LOGIN: &str = "POST /v1/auth/approle/login";
const LOOKUP: &str = "GET /v1/auth/token/lookup-self";
const RENEW: &str = "POST /v1/auth/token/renew-self";
const READ: &str = "GET /v1/secret/data/keypool/flash_01";

type Canned = (u16, &'static str);

/// A vault that answers as it is told: by the request's first words, one after the other, the last
/// one for ever.
struct FakeVault {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeVault {
    fn answering(answers: &[(&str, &[Canned])]) -> Self {
        let answers: Vec<(String, Vec<Canned>)> =
            answers.iter().map(|(asked, given)| ((*asked).to_owned(), given.to_vec())).collect();
        let mut given = vec![0; answers.len()];
        Self::serving(move |stream, request| {
            let known = answers.iter().position(|(asked, _)| request.starts_with(asked));
            let (status, body) = known.map_or((404, r#"{"errors":[]}"#), |which| {
                let these = &answers[which].1;
                given[which] += 1;
                these[(given[which] - 1).min(these.len() - 1)]
            });
            respond(stream, status, "", body);
        })
    }

    fn serving(mut serve: impl FnMut(&mut TcpStream, &str) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let request = request(&stream);
                heard.lock().unwrap().push(request.clone());
                serve(&mut stream, &request);
            }
        });
        Self { address, asked }
    }

    /// The requests so far, each by its method and path.
    fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|asked| asked.split(" HTTP").next().unwrap().to_owned()).collect()
    }

    fn store(&self, variables: &[(&str, &str)], clock: &ManualClock) -> Vault {
        let address = format!("http://{}", self.address);
        let variables = [&[("VAULT_ADDR", address.as_str())], variables].concat();
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let process = Process::new(variables);
        Vault::new(&Environment::new(&process), &process, &Clock::Manual(clock.clone()))
    }
}

/// The head of a request and its body.
fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") && reader.read_line(&mut text).unwrap() > 0 {}
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

fn respond(stream: &mut TcpStream, status: u16, headers: &str, body: &str) {
    let mut answer = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{headers}");
    write!(answer, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    // Whoever asked may have left.
    stream.write_all(answer.as_bytes()).ok();
}

type Asked = Result<String, String>;

async fn fetch(store: &Vault) -> Asked {
    let version = store.fetch(NAME).await;
    version.map(|found| found.secret.expose().to_owned()).map_err(|why| why.to_string())
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what a fetch gives")]
fn found() -> Asked {
    Ok("fake-secret-flash-01".to_owned())
}

const REFUSED: &str = "is denied: the token has expired, or no policy of it allows to read this";

#[tokio::test]
async fn a_secret_is_asked_for_with_token_and_namespace() {
    let vault = FakeVault::answering(&[("GET /v1/team/kv/data/keypool/flash%2001", &[FOUND])]);
    let more = [TOKEN[0], ("VAULT_NAMESPACE", "team/a"), ("VAULT_KV_MOUNT", "team/kv")];
    let store = vault.store(&more, &ManualClock::default());
    store.fetch("team/kv/keypool/flash 01").await.unwrap();
    let asked = vault.asked.lock().unwrap()[0].clone();
    for header in
        ["x-vault-token: fake-token", "x-vault-namespace: team/a", "x-vault-request: true"]
    {
        assert!(asked.contains(&format!("\r\n{header}\r\n")), "{asked}");
    }
    let told = store.fetch("kv/keypool/flash_01").await.unwrap_err();
    assert_eq!(told, Failure::unset("cannot be fetched: it is not below the path of an engine"));
}

#[tokio::test]
async fn a_name_that_is_no_plain_path_is_not_asked_for() {
    let vault = FakeVault::answering(&[]);
    let store = vault.store(&TOKEN, &ManualClock::default());
    for name in ["flash_01", "secret/../sys/seal", "secret//flash_01", "secret/a/.", "secret/"] {
        assert_eq!(store.fetch(name).await.unwrap_err().class, FailureClass::Unset, "{name}");
    }
    assert!(vault.asked().is_empty());
}

#[tokio::test]
async fn missing_settings_are_told_by_a_fetch() {
    let process = Process::new([]);
    let clock = Clock::Manual(ManualClock::default());
    let store = Vault::new(&Environment::new(&process), &process, &clock);
    let told = Failure::unset("cannot be fetched: VAULT_ADDR is not set");
    assert_eq!(store.fetch(NAME).await.unwrap_err(), told);
    store.tend().await;
    assert_eq!(store.due(), None);
}

#[tokio::test]
async fn a_token_of_ones_own_is_denied_after_one_request() {
    let vault = FakeVault::answering(&[(READ, &[DENIED])]);
    let told = fetch(&vault.store(&TOKEN, &ManualClock::default())).await.unwrap_err();
    assert_eq!((told.as_str(), vault.asked()), (REFUSED, vec![READ.to_owned()]));
}

#[tokio::test]
async fn a_role_logs_in_once_for_all_its_secrets() {
    let vault = FakeVault::answering(&[(LOGIN, &[LOGGED_IN]), (READ, &[FOUND])]);
    let store = vault.store(&ROLE, &ManualClock::default());
    let fetches = tokio::join!(fetch(&store), fetch(&store), fetch(&store), fetch(&store));
    assert_eq!(fetches, (found(), found(), found(), found()));
    let logins = vault.asked().iter().filter(|asked| *asked == LOGIN).count();
    assert_eq!((logins, vault.asked().len()), (1, 5));
    let login = vault.asked.lock().unwrap()[0].clone();
    assert!(login.ends_with(r#"{"role_id":"fake-role","secret_id":"fake-secret-id"}"#), "{login}");
}

#[tokio::test]
async fn a_denied_role_logs_in_anew_once() {
    let logins = [LOGGED_IN, LOGGED_IN_AGAIN];
    let vault = FakeVault::answering(&[(LOGIN, &logins), (READ, &[FOUND, DENIED, FOUND, DENIED])]);
    let clock = ManualClock::default();
    let store = vault.store(&ROLE, &clock);
    assert_eq!(fetch(&store).await, found());
    clock.advance(Duration::from_secs(2));
    assert_eq!(fetch(&store).await, found());
    assert_eq!(vault.asked(), [LOGIN, READ, READ, LOGIN, READ]);
    let last = vault.asked.lock().unwrap()[4].clone();
    assert!(last.contains("x-vault-token: fake-token-again\r\n"), "{last}");
    assert_eq!(fetch(&store).await.unwrap_err(), REFUSED);
    assert_eq!(vault.asked().len(), 6, "a token that is a moment old is not at fault");
    clock.advance(Duration::from_secs(2));
    assert_eq!(fetch(&store).await.unwrap_err(), REFUSED);
    assert_eq!(vault.asked()[6..], [READ, LOGIN], "the new token is the old one");
}

#[tokio::test]
async fn a_token_that_has_run_out_is_not_tried() {
    let vault = FakeVault::answering(&[(LOGIN, &[LOGGED_IN, LOGGED_IN_AGAIN]), (READ, &[FOUND])]);
    let clock = ManualClock::default();
    let store = vault.store(&ROLE, &clock);
    assert_eq!(fetch(&store).await, found());
    clock.advance(Duration::from_secs(90));
    assert_eq!(fetch(&store).await, found());
    assert_eq!(vault.asked(), [LOGIN, READ, LOGIN, READ]);
}

#[tokio::test]
async fn failing_logins_come_ever_more_slowly() {
    let vault =
        FakeVault::answering(&[(LOGIN, &[SEALED, SEALED, REJECTED, LOGGED_IN]), (READ, &[FOUND])]);
    let clock = ManualClock::default();
    let store = vault.store(&ROLE, &clock);
    let sealed = "cannot be fetched: the vault is sealed (503)";
    let logins = || vault.asked().iter().filter(|asked| *asked == LOGIN).count();
    for (passed, told, expected) in [
        (0, sealed, 1),
        (999, sealed, 1),
        (1, sealed, 2),
        (1_999, sealed, 2),
        (1, "is denied: the vault rejects the login (400)", 3),
        (3_999, "is denied: the vault rejects the login (400)", 3),
    ] {
        clock.advance(Duration::from_millis(passed));
        let fetches = tokio::join!(fetch(&store), fetch(&store));
        assert_eq!(fetches, (Err(told.to_owned()), Err(told.to_owned())));
        assert_eq!(logins(), expected);
    }
    clock.advance(Duration::from_millis(1));
    assert_eq!(fetch(&store).await, found());
}

#[tokio::test]
async fn a_token_is_renewed_at_two_thirds_of_its_life_without_a_fetch() {
    let renewed = (200, r#"{"auth":{"lease_duration":90,"renewable":true}}"#);
    let last = (200, r#"{"auth":{"lease_duration":27,"renewable":true}}"#);
    let vault = FakeVault::answering(&[
        (LOGIN, &[LOGGED_IN, LOGGED_IN_AGAIN]),
        (READ, &[FOUND]),
        (RENEW, &[renewed, SEALED, last]),
    ]);
    let clock = ManualClock::default();
    let store = vault.store(&ROLE, &clock);
    assert_eq!(store.due(), None);
    fetch(&store).await.unwrap();
    let due_in = || store.due().map(|due| due.since(clock.now().at).as_secs());
    assert_eq!(due_in(), Some(60));
    store.tend().await;
    assert_eq!(vault.asked().len(), 2, "nothing is due");
    for (passed, asked, due) in [(60, RENEW, 60), (60, RENEW, 3), (3, RENEW, 18), (18, LOGIN, 60)] {
        clock.advance(Duration::from_secs(passed));
        store.tend().await;
        assert_eq!(vault.asked().last().unwrap(), asked);
        assert_eq!(due_in(), Some(due));
    }
    assert_eq!(vault.asked().len(), 6);
}

#[tokio::test]
async fn a_fetch_renews_too() {
    let renewed = (200, r#"{"auth":{"lease_duration":90,"renewable":true}}"#);
    let vault =
        FakeVault::answering(&[(LOGIN, &[LOGGED_IN]), (READ, &[FOUND]), (RENEW, &[renewed])]);
    let clock = ManualClock::default();
    let store = vault.store(&ROLE, &clock);
    fetch(&store).await.unwrap();
    clock.advance(Duration::from_mins(1));
    assert_eq!(fetch(&store).await, found());
    assert_eq!(vault.asked(), [LOGIN, READ, READ, RENEW]);
}

#[tokio::test]
async fn the_life_of_a_given_token_is_found_out_once() {
    let lease = (200, r#"{"data":{"ttl":90,"renewable":false}}"#);
    let vault = FakeVault::answering(&[(READ, &[FOUND]), (LOOKUP, &[lease])]);
    let clock = ManualClock::default();
    let store = vault.store(&TOKEN, &clock);
    fetch(&store).await.unwrap();
    fetch(&store).await.unwrap();
    assert_eq!(vault.asked(), [READ, LOOKUP, READ]);
    clock.advance(Duration::from_mins(1));
    store.tend().await;
    assert_eq!(store.due(), None, "nothing can be done for it");
    assert_eq!(vault.asked().len(), 3);
}

#[tokio::test]
async fn a_token_file_is_read_anew() {
    let vault = FakeVault::answering(&[(READ, &[FOUND, FOUND, DENIED])]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let store =
        vault.store(&[("VAULT_TOKEN_FILE", path.to_str().unwrap())], &ManualClock::default());
    let missing = "cannot be fetched: the file of VAULT_TOKEN_FILE: there is no such file";
    assert_eq!(fetch(&store).await.unwrap_err(), missing);
    for token in ["fake-token-a", "fake-token-b"] {
        fs::write(&path, format!("{token}\n")).unwrap();
        assert_eq!(fetch(&store).await, found());
        let asked = vault.asked.lock().unwrap();
        let read = asked.iter().rfind(|asked| asked.starts_with(READ)).unwrap();
        assert!(read.contains(&format!("x-vault-token: {token}\r\n")), "{read}");
    }
    let before = vault.asked().len();
    assert_eq!(fetch(&store).await.unwrap_err(), REFUSED);
    assert_eq!(vault.asked().len(), before + 1, "the file still holds the denied token");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = FakeVault::answering(&[(READ, &[FOUND])]);
    let location =
        format!("location: http://{}/v1/secret/data/keypool/flash_01\r\n", elsewhere.address);
    let standby = FakeVault::serving(move |stream, _| respond(stream, 307, &location, ""));
    let told = fetch(&standby.store(&TOKEN, &ManualClock::default())).await.unwrap_err();
    let expected = "cannot be fetched: the vault sends us elsewhere (307), and no token goes there";
    assert_eq!((told.as_str(), elsewhere.asked().len()), (expected, 0));
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let piece = vec![b' '; 64 * 1024];
    let endless = FakeVault::serving(move |stream, _| {
        let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        let mut open = stream.write_all(head).is_ok();
        while open {
            open = stream.write_all(&piece).is_ok();
        }
    });
    let told = fetch(&endless.store(&TOKEN, &ManualClock::default())).await.unwrap_err();
    assert_eq!(told, "cannot be fetched: the answer is longer than 1 MiB");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let broken = FakeVault::serving(|stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"data\":").unwrap();
    });
    let told = fetch(&broken.store(&TOKEN, &ManualClock::default())).await.unwrap_err();
    assert_eq!(told, "cannot be fetched: the connection broke");
}

//! A daemon and its client in one thread, with a clock that stands still: what happens between
//! two answers is the same each time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keypool::app::Daemon;
use keypool::clock::{Clock, ManualClock};
use keypool::config::{Flags, bootstrap};
use keypool::secrets::Process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::counted::measured;

/// Eight keys that have enough for every request.
const KEYS: usize = 8;
const LIMITS: &str = r#""rpm": 1000000, "tpm": 1000000000, "rpd": 100000000"#;

/// Requests before those that are counted, so that every list has the room it needs.
const WARM_UP: usize = 50;

/// Has this many selects counted, each with its report if `reported`.
pub(crate) fn selects(count: usize, reported: bool) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let daemon = daemon(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let mut running = Box::pin(daemon.run());
    let mut talk = |client: Option<Client>, count: usize| {
        runtime.block_on(async {
            tokio::select! {
                ended = running.as_mut() => panic!("the daemon ended: {ended:?}"),
                client = talk(dir.path(), client, count, reported) => client,
            }
        })
    };
    let mut client = Some(talk(None, WARM_UP));
    measured(&mut || client = Some(talk(client.take(), count)));
}

/// A daemon with state file and metrics in `dir`.
fn daemon(dir: &Path) -> Daemon {
    let keys = (0..KEYS).map(|n| format!(r#"{{"key_id": "key_{n}", {LIMITS}}}"#));
    let keys = format!(r#"{{"keys": [{}]}}"#, keys.collect::<Vec<_>>().join(","));
    let path = |name: &str| dir.join(name).display().to_string();
    let settings = format!(
        "socket = {:?}\nkeys = {:?}\nstate_dir = {:?}\nmetrics_addr = \"\"\nlog = \"error\"\n\
         [probe]\nenabled = false\n",
        path("keypool.sock"),
        path("keys.json"),
        path("state"),
    );
    fs::write(dir.join("keys.json"), keys).expect("files can be written");
    fs::write(dir.join("keypool.toml"), settings).expect("files can be written");
    let owner_only = fs::Permissions::from_mode(0o600);
    fs::set_permissions(dir.join("keys.json"), owner_only).expect("it is ours");
    let secrets = (0..KEYS).map(|n| (format!("GEMINI_KEY_key_{n}"), format!("fake-secret-{n}")));
    let process = Process::new(secrets.map(|(name, value)| (name.into(), value.into())));
    let flags = Flags { config: Some(dir.join("keypool.toml")), ..Flags::default() };
    let built = bootstrap(&flags, &process).expect("the settings are sound");
    Daemon::start(built, flags, process, Clock::Manual(ManualClock::default()))
        .expect("the daemon can be started")
}

struct Client {
    stream: UnixStream,
    answer: Vec<u8>,
}

/// Makes `count` selects on the connection of `client`, or on a new one.
async fn talk(dir: &Path, client: Option<Client>, count: usize, reported: bool) -> Client {
    let mut client = match client {
        Some(client) => client,
        None => Client {
            stream: UnixStream::connect(dir.join("keypool.sock")).await.expect("it listens"),
            answer: Vec::with_capacity(4096),
        },
    };
    for _ in 0..count {
        client.ask("/v1/select", r#"{"model":"gemini-2.0-flash","tokens":1000}"#).await;
        if reported {
            let lease = client.lease();
            let report =
                format!(r#"{{"lease_id":"{lease}","outcome":"success","tokens_used":700}}"#);
            client.ask("/v1/report", &report).await;
        }
    }
    client
}

impl Client {
    /// Asks, and reads the whole answer.
    async fn ask(&mut self, path: &str, body: &str) {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.expect("it is read");
        self.answer.clear();
        while !self.is_whole() {
            let read = self.stream.read_buf(&mut self.answer).await;
            assert!(read.expect("it answers") > 0, "it has closed");
        }
        assert!(self.answer.starts_with(b"HTTP/1.1 200"), "{}", self.text());
    }

    /// Whether the answer, a JSON object that is never nested at its end, is all there.
    fn is_whole(&self) -> bool {
        self.answer.ends_with(b"}")
    }

    fn lease(&self) -> String {
        let text = self.text();
        let lease = text.split(r#""lease_id":""#).nth(1).and_then(|rest| rest.split('"').next());
        lease.expect("the answer names its lease").to_owned()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.answer).into_owned()
    }
}

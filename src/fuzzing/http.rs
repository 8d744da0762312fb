//! Bytes on a connection, through the guard of heads, hyper and the routes to the endpoints of a
//! service that is real but for its clock, its socket and the prober.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::response::responses;
use crate::clock::{Clock, ManualClock};
use crate::config::Keys;
use crate::control::{Asked, NotEdited, ReloadOutcome, controls};
use crate::health::{AskedProbes, probes};
use crate::pool::{Pool, SharedPool};
use crate::secrets::{Keyring, RemoteSecrets, Secret};
use crate::server::{
    CallerSettings, Callers, Configuration, Configured, MetricsAddress, Service, converse_on,
};
use crate::telemetry::{Journal, Metrics};
use crate::watch::Mode;

/// Keys of every kind, two of them with little to give.
const KEYS: &[u8] = br#"{"keys": [
  {"key_id": "flash_01", "model_name": "gemini-2.0-flash", "rpm": 3, "tpm": 1000, "rpd": 9,
   "tags": {"region": "us-east"}, "workload_type": "light", "priority": 1},
  {"key_id": "flash_02", "model_name": ["gemini-2.0-flash", "pro"], "rpm": 2, "burst_capacity": 1},
  {"key_id": "gpt_01", "provider": "openai", "max_concurrent": 1},
  {"key_id": "claude_01", "provider": "anthropic", "rpm": 1, "active": false}
], "fallback_order": ["gpt_01"]}"#;

/// More than the longest that anything waits for on the daemon's clock, in seconds.
const SECONDS: u64 = 40;

/// How often the tasks of a connection get a turn between two movements of the clock.
const TURNS: usize = 8;

/// A deadlock is found out after this long.
const DEADLOCK: Duration = Duration::from_secs(5);

/// Serves `bytes`, which come in pieces and are the last that comes: there is an answer to each
/// request or an end, every answer is sound, and none is the answer to a panic.
///
/// The first byte says how large the pieces are.
pub fn http(bytes: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
        static KEYS_READ: Keys =
            super::usual().keys_of(&super::path("keys.json"), KEYS, true).unwrap();
    }
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let piece = if first.is_ascii_alphabetic() { usize::from(first & 31) } else { 4096 };
    let answered = RUNTIME.with(|runtime| {
        KEYS_READ.with(|keys| {
            let daemon = async { Daemon::new(keys).converse(bytes, piece).await };
            runtime.block_on(daemon)
        })
    });
    let own_secret = bytes.windows(11).any(|window| window == b"fake-secret");
    for response in responses(&answered, bytes) {
        // 500 is the answer to a panic, and to callers that have gone: this one has not.
        assert_ne!(response.status, 500, "{}", String::from_utf8_lossy(&answered));
        let told = response.body.windows(11).any(|window| window == b"fake-secret");
        assert!(response.status == 200 || own_secret || !told, "a refusal with a secret");
    }
}

/// A daemon without files, sockets and tasks of its own.
struct Daemon {
    service: Arc<Service>,
    clock: ManualClock,
    asked: Asked,
    probes: AskedProbes,
    watched: watch::Sender<Mode>,
}

impl Daemon {
    fn new(keys: &Keys) -> Self {
        let clock = ManualClock::default();
        let now = clock.now();
        let (controls, asked) = controls();
        let (probes, asked_probes) = probes();
        let (mode, watched) = watch::channel(Mode::Poll);
        let configured = Configured {
            generation: 1,
            rotation: true,
            source: "keys.json".to_owned(),
            keys: keys.pool.keys.len(),
            result: "applied",
            wait_max: Duration::from_secs(30),
            ..Configured::default()
        };
        let callers = Callers::new(CallerSettings::default(), &super::path("/"), own_uid());
        let service = Arc::new(Service {
            pool: SharedPool::new(super::pool()),
            keeper: None,
            keyring: Arc::new(Keyring::default()),
            remote_secrets: Arc::new(RemoteSecrets::new(Clock::Manual(clock.clone()))),
            sharer: None,
            journal: Arc::new(Journal::default()),
            metrics: Arc::new(Metrics::new(now.wall)),
            metrics_address: MetricsAddress::new(None),
            clock: Clock::Manual(clock.clone()),
            configuration: Configuration::new(configured),
            probing: watch::Sender::default(),
            probes,
            watched,
            controls,
            callers: callers.unwrap(),
            required_header: None,
            started: now,
            stopping: CancellationToken::new(),
            sharing_ends: CancellationToken::new(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        for id in keys.secrets.keys() {
            service.keyring.insert(id.clone(), Secret::new(&format!("fake-secret-{id}")));
        }
        let with_secrets = keys.secrets.keys().map(|id| (id.clone(), None)).collect();
        service
            .call(|pool, now| pool.reconfigure_with_secrets(keys.pool.clone(), &with_secrets, now));
        Self { service, clock, asked, probes: asked_probes, watched: mode }
    }

    /// Sends `bytes` and an end; what is answered until the daemon ends as well.
    async fn converse(self, bytes: &[u8], piece: usize) -> Vec<u8> {
        let Self { service, clock, mut asked, probes, watched: _watched } = self;
        let (ours, theirs) = duplex(1 << 16);
        let (socket, _other_end) = UnixStream::pair().unwrap();
        let serving = converse_on(theirs, &socket, &service);
        let calling = call(ours, bytes, piece.max(1));
        let edits = asked.take_edits();
        let doing = async {
            let mut edits = edits.unwrap();
            let reload = async {
                while let Some(askers) = asked.reload().await {
                    askers.tell(ReloadOutcome::Unchanged);
                }
            };
            let edit = async {
                while let Some(edit) = edits.next().await {
                    edit.tell(Err(NotEdited::Conflict));
                }
            };
            tokio::join!(reload, edit);
        };
        // A prober that has ended: whoever asks for a probe is told so.
        drop(probes);
        let conversation = async { tokio::join!(serving, calling) };
        tokio::pin!(conversation);
        let ((served, answered), ()) = tokio::select! {
            ended = conversation.as_mut() => (ended, ()),
            () = doing => unreachable!("the service can always ask"),
            () = time(&service, &clock) => {
                let ended = tokio::time::timeout(DEADLOCK, conversation).await;
                (ended.expect("an answer or an end"), ())
            }
        };
        served.unwrap();
        answered
    }
}

/// Moves the clock until all that waits for it has had its time, and then stops the daemon, for
/// those who would wait on.
async fn time(service: &Service, clock: &ManualClock) {
    for _ in 0..SECONDS {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(1));
        service.call(Pool::advance);
    }
    service.stopping.cancel();
    service.closing.cancel();
}

/// Sends `bytes` in pieces and an end, and reads to the end.
async fn call(stream: DuplexStream, bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async {
        for piece in bytes.chunks(piece) {
            // A daemon that has heard enough closes: what it has answered is read all the same.
            if write.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        write.shutdown().await.ok();
    };
    let mut answered = Vec::new();
    let reading = async { read.read_to_end(&mut answered).await };
    let ((), read) = tokio::join!(sending, reading);
    read.unwrap();
    answered
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

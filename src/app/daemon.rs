//! The daemon from its start to its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::loading::Loader;
use crate::clock::{Clock, JiffCalendar};
use crate::config::{Bootstrap, Flags};
use crate::control::Control;
use crate::health::Prober;
use crate::pool::{Instant, Pool, SharedPool};
use crate::secrets::{Keyring, Process};
use crate::server::{
    Configuration, Configured, ListenError, Listener, Server, Service, SocketSettings,
};
use crate::telemetry::Journal;

/// How often secrets that are missing are looked for again.
const SECRET_RETRY: Duration = Duration::from_secs(5);

/// A daemon that listens but does not serve yet.
#[derive(Debug)]
pub struct Daemon {
    service: Arc<Service>,
    loader: Arc<Loader>,
    listener: Listener,
    max_connections: usize,
    grace: Duration,
    controls: (UnboundedSender<Control>, UnboundedReceiver<Control>),
}

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl Daemon {
    /// Listens and loads the keys. Keys that cannot be loaded don't keep the daemon from serving:
    /// it says why there are none.
    pub fn start(
        bootstrap: Bootstrap,
        flags: Flags,
        process: Process,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let settings = bootstrap.settings.clone();
        let listener = Listener::new(&SocketSettings {
            path: settings.socket.clone(),
            mode: settings.server.mode,
            group: settings.server.group.clone(),
        })?;
        let started = clock.now();
        let seed = started.wall.as_millis() ^ u64::from(std::process::id()) << 32;
        let pool = Pool::new(Arc::new(JiffCalendar), epoch(seed), seed);
        let service = Arc::new(Service {
            pool: SharedPool::new(pool),
            keyring: Arc::new(Keyring::default()),
            journal: Arc::new(Journal::default()),
            configuration: Configuration::new(Configured::default()),
            probing: watch::Sender::default(),
            wait_max: settings.wait_max,
            required_header: settings.server.require_header.clone(),
            clock,
            started,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        let loader = Arc::new(Loader::new(flags, process, bootstrap));
        loader.begin(&service);
        Ok(Self {
            service,
            loader,
            listener,
            max_connections: settings.server.max_connections,
            grace: settings.server.grace,
            controls: unbounded_channel(),
        })
    }

    /// The socket it listens at.
    pub fn socket(&self) -> &Path {
        self.listener.path()
    }

    /// What every endpoint works with.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Where to send what the daemon is asked to do.
    pub fn controls(&self) -> UnboundedSender<Control> {
        self.controls.0.clone()
    }

    /// Serves until it is told to stop, or until a part of it ends that must not.
    pub async fn run(self) -> io::Result<()> {
        let Self { service, loader, listener, max_connections, grace, controls } = self;
        let (_sender, mut controls) = controls;
        let path: PathBuf = listener.path().to_owned();
        let server = Server::new(listener, service.clone(), max_connections);
        let mut parts = JoinSet::new();
        parts.spawn(server.run());
        parts.spawn(mind_the_pool(service.clone()));
        parts.spawn(retry_secrets(loader.clone(), service.clone()));
        parts.spawn(prober(&service).run(service.stopping.clone()));
        let ended = loop {
            tokio::select! {
                control = controls.recv() => match control {
                    Some(Control::Reload) => loader.reload(&service),
                    Some(Control::Stop) | None => break Ok(()),
                },
                Some(ended) = parts.join_next() => break Err(died(ended)),
            }
        };
        drain(&service, grace).await;
        while let Some(part) = parts.join_next().await {
            if let Err(error) = part {
                tracing::error!(%error, "a part of the daemon ended badly");
            }
        }
        tracing::info!("stopped; {} is closed", path.display());
        ended
    }
}

/// Tells the lives of the pool apart.
fn epoch(seed: u64) -> u32 {
    let folded = seed ^ (seed >> 32);
    u32::try_from(folded & u64::from(u32::MAX)).unwrap_or_default()
}

fn died(ended: Result<io::Result<()>, JoinError>) -> io::Error {
    match ended {
        Ok(Ok(())) => io::Error::other("a part of the daemon ended that must not"),
        Ok(Err(error)) => error,
        Err(error) => io::Error::other(error),
    }
}

/// Does what is due in the pool at its time: serves waiting requests, ends leases and cooldowns.
async fn mind_the_pool(service: Arc<Service>) -> io::Result<()> {
    let mut due = Instant::NEVER;
    loop {
        tokio::select! {
            () = service.stopping.cancelled() => return Ok(()),
            () = service.clock.sleep_until(due) => {
                service.call(Pool::advance);
                due = service.pool.due();
            }
            earlier = service.pool.due_before(due) => due = earlier,
        }
    }
}

fn prober(service: &Service) -> Prober {
    Prober::new(
        service.pool.clone(),
        service.keyring.clone(),
        service.journal.clone(),
        service.clock.clone(),
        service.probing.subscribe(),
    )
}

/// Looks for missing secrets again and again.
async fn retry_secrets(loader: Arc<Loader>, service: Arc<Service>) -> io::Result<()> {
    loop {
        tokio::select! {
            () = service.stopping.cancelled() => return Ok(()),
            () = service.clock.sleep(SECRET_RETRY) => loader.retry_missing(&service),
        }
    }
}

/// Lets the present requests end. Waiting ones are told after the grace period.
async fn drain(service: &Service, grace: Duration) {
    tracing::info!("stopping; requests have {} s to end", grace.as_secs());
    service.stopping.cancel();
    service.tasks.close();
    tokio::select! {
        () = service.tasks.wait() => return,
        () = service.clock.sleep(grace) => {}
    }
    service.closing.cancel();
    // Those who were told need a moment to hear it; then it is over for everybody.
    let moment = Duration::from_secs(1);
    tokio::time::timeout(moment, service.tasks.wait()).await.ok();
}

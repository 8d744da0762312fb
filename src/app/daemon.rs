//! The daemon from its start to its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::loading::Loader;
use super::minding::mind_the_secrets;
use super::systemd::{ActivationError, Notifier, State, Watchdog, forget_start, passed_socket};
use crate::clock::{Clock, JiffCalendar};
use crate::config::{Bootstrap, Flags, Settings};
use crate::control::{Asked, AskedEdits, Controls, controls};
use crate::health::{AskedProbes, Prober, probes};
use crate::pool::{Calendar, Instant, KeyState, Pool, SharedPool};
use crate::secrets::{Keyring, Process, RemoteSecrets};
use crate::server::{
    CallerSettings, Callers, CallersError, Configuration, Configured, ConnectionLimits, Exporter,
    ListenError, Listener, MetricsAddress, Pulse, Server, Service, SocketSettings,
};
use crate::shared_quota::{Identity, LAYOUT, Sharer, Sharing};
use crate::state;
use crate::telemetry::{Journal, Metrics};
use crate::watch::{Mode, Watch};

/// How often the state is brought to the disk: the most that a power failure takes.
const STATE_SYNC: Duration = Duration::from_secs(1);

/// How long requests have to end after the grace period.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// A daemon that listens but does not serve yet.
#[derive(Debug)]
pub struct Daemon {
    service: Arc<Service>,
    loader: Arc<Loader>,
    listener: Listener,
    connections: ConnectionLimits,
    grace: Duration,
    watch: Watch,
    asked: Asked,
    probes: AskedProbes,
    notifier: Arc<Notifier>,
    watchdog: Option<Watchdog>,
    state_dir: Option<PathBuf>,
}

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Callers cannot be told apart.
    #[error(transparent)]
    Callers(#[from] CallersError),
    /// A socket was passed in, and is no use.
    #[error(transparent)]
    Activation(#[from] ActivationError),
}

impl Daemon {
    /// Listens, on the socket that systemd passed in if it did, and loads the keys. Keys that cannot be loaded don't keep the daemon from serving:
    /// it says why there are none.
    pub fn start(
        bootstrap: Bootstrap,
        flags: Flags,
        process: Process,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let settings = bootstrap.settings.clone();
        let listener = listener(&settings, &process)?;
        let callers = CallerSettings {
            uids: settings.server.allow_uids.clone(),
            gids: settings.server.allow_gids.clone(),
            admin_group: settings.server.admin_group.clone(),
        };
        let callers = Callers::new(callers, listener.path(), process.uid)?;
        let notifier = Arc::new(Notifier::new(&process));
        let watchdog = Watchdog::new(&process);
        let seed = clock.now().wall.as_millis() ^ u64::from(std::process::id()) << 32;
        let opened = open(settings.state_dir.as_deref(), seed, clock);
        let doubtful_at = opened.doubtful_at();
        let continues = opened.continues;
        let (controls, asked) = controls();
        let (probes, asked_probes) = probes();
        let (mode, watched) = watch::channel(Mode::Poll);
        let configured = Configured { wait_max: settings.wait_max, ..Configured::default() };
        let metrics = Arc::new(Metrics::new(opened.clock.now().wall));
        let remote_secrets = RemoteSecrets::new(opened.clock.clone());
        let journal = Arc::new(Journal::default());
        let sharer = sharer(&settings, &opened, &journal, &metrics);
        let service = Arc::new(Service {
            pool: opened.pool,
            keeper: opened.keeper,
            keyring: Arc::new(Keyring::default()),
            remote_secrets: Arc::new(remote_secrets.counted_in(metrics.clone())),
            journal,
            sharer,
            metrics,
            metrics_address: MetricsAddress::new(settings.metrics_addr),
            configuration: Configuration::new(configured),
            probing: watch::Sender::default(),
            probes,
            watched,
            controls: controls.clone(),
            callers,
            required_header: settings.server.require_header.clone(),
            started: opened.clock.now(),
            clock: opened.clock,
            stopping: CancellationToken::new(),
            sharing_ends: CancellationToken::new(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        let loader = Loader::new(flags, process, bootstrap, service.remote_secrets.clone());
        let loader = Arc::new(loader);
        if let Some(keeper) = service.keeper.as_ref().filter(|_| continues) {
            keeper.go_on(&service.pool);
        }
        service.call(|pool, now| pool.share_limits(service.sharer.is_some(), now));
        loader.reload(&service);
        if let Some(at) = doubtful_at {
            service.call(|pool, now| pool.assume_used(at, now));
        }
        if let Some(keeper) = service.keeper.as_ref().filter(|_| !continues) {
            keeper.snapshot(&service.pool);
        }
        let watch = Watch::new(service.clock.clone(), controls, loader.looks(), mode);
        Ok(Self {
            service,
            loader,
            listener,
            connections: settings
                .server
                .connections
                .within_descriptors(Exporter::MOST_CONNECTIONS + settings.probe.concurrency),
            grace: settings.server.grace,
            watch,
            asked,
            probes: asked_probes,
            notifier,
            watchdog,
            state_dir: settings.state_dir,
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
    pub fn controls(&self) -> Controls {
        self.service.controls.clone()
    }

    /// Serves until it is told to stop, or until a part of it ends that must not.
    pub async fn run(self) -> io::Result<()> {
        let Self { service, loader, listener, connections, grace, watch, mut asked, .. } = self;
        let Self { probes, notifier, watchdog, state_dir, .. } = self;
        let path: PathBuf = listener.path().to_owned();
        let server = Server::new(listener, service.clone(), connections);
        let stop = asked.stop();
        let mut parts = JoinSet::new();
        if let Some(watchdog) = watchdog {
            parts.spawn(feed(watchdog, server.pulse(), service.clone(), notifier.clone()));
        }
        parts.spawn(server.run());
        parts.spawn(Exporter::new(service.clone()).run());
        parts.spawn(mind_the_pool(service.clone()));
        parts.spawn(service.remote_secrets.clone().run(service.stopping.clone()));
        parts.spawn(mind_the_secrets(loader.clone(), service.clone()));
        parts.spawn(keep_the_state(service.clone()));
        parts.spawn(prober(&service, probes).run(service.stopping.clone()));
        parts.spawn(watch.run(service.stopping.clone()));
        if let Some(sharer) = &service.sharer {
            parts.spawn(sharer.clone().run(service.sharing_ends.clone()));
        }
        if let Some(edits) = asked.take_edits() {
            parts.spawn(edit_when_asked(edits, loader.clone(), service.clone()));
        }
        parts.spawn(reload_when_asked(asked, loader, service.clone(), notifier.clone()));
        notifier.tell(&State::Ready, &status(&service));
        let ended = until_the_end(&mut parts, &stop).await;
        notifier.tell(&State::Stopping, "requests that have begun may end");
        drain(&service, grace).await;
        service.sharing_ends.cancel();
        while let Some(part) = parts.join_next().await {
            if let Err(error) = part {
                tracing::error!(%error, "a part of the daemon ended badly");
            }
        }
        // Those who were told, or came last, need a moment; then it is over for everybody.
        tokio::time::timeout(LAST_MOMENT, service.tasks.wait()).await.ok();
        if let Some(keeper) = &service.keeper {
            keeper.snapshot(&service.pool);
        }
        if let (Ok(()), Some(dir)) = (&ended, &state_dir) {
            forget_start(dir);
        }
        tracing::info!("stopped; {} is closed", path.display());
        ended
    }
}

/// The socket that was passed in, or one of our own.
fn listener(settings: &Settings, process: &Process) -> Result<Listener, StartError> {
    let Some(socket) = passed_socket(process)? else {
        return Ok(Listener::new(&SocketSettings {
            path: settings.socket.clone(),
            mode: settings.server.mode,
            group: settings.server.group.clone(),
        })?);
    };
    let listener = Listener::passed(socket);
    if listener.path() != settings.socket {
        tracing::warn!(
            "systemd listens on {}, but the setting socket, where commands look for the daemon, \
             is {}; give both the same path",
            listener.path().display(),
            settings.socket.display()
        );
    }
    Ok(listener)
}

/// Says as often as systemd wants to hear it that the serving loop goes round.
async fn feed(
    watchdog: Watchdog,
    pulse: Pulse,
    service: Arc<Service>,
    notifier: Arc<Notifier>,
) -> io::Result<()> {
    // With many keys it takes a while to put together.
    let status = || {
        let status = spawn_blocking({
            let service = service.clone();
            move || status(&service)
        });
        async { status.await.unwrap_or_default() }
    };
    tokio::select! {
        () = service.stopping.cancelled() => {}
        // It ends with the serving loop, which says itself why.
        () = watchdog.run(pulse, &service.clock, &notifier, status) => {
            service.stopping.cancelled().await;
        }
    }
    Ok(())
}

/// How the daemon is, for `systemctl status`.
fn status(service: &Service) -> String {
    let ready = service.read_keys(|key| key.state == KeyState::Ready);
    let rejected = service.configuration.current().errors.len();
    let rejected = match rejected {
        0 => String::new(),
        1 => "; the configuration on disk is rejected: 1 error".to_owned(),
        errors => format!("; the configuration on disk is rejected: {errors} errors"),
    };
    let keys = ready.len();
    let ready = ready.into_iter().filter(|ready| *ready).count();
    format!("{ready} of {keys} keys are ready{rejected}")
}

/// The pool as it was left in `dir`, or a new one.
fn open(dir: Option<&Path>, seed: u64, clock: Clock) -> state::Opened {
    let calendar: Arc<dyn Calendar> = Arc::new(JiffCalendar);
    let Some(dir) = dir else {
        let pool = SharedPool::new(Pool::new(calendar, epoch(seed), seed));
        let report = Ok("no state is kept: state_dir is empty".to_owned());
        return state::Opened {
            pool,
            clock,
            keeper: None,
            continues: false,
            report,
            doubtful_since: None,
        };
    };
    let opened = state::open(dir, &calendar, seed, epoch(seed), clock);
    match &opened.report {
        Ok(news) => tracing::info!("{news}"),
        Err(news) => tracing::error!("{news}"),
    }
    opened
}

/// What shares the quota with other daemons, if `REDIS_URL` is set.
fn sharer(
    settings: &Settings,
    opened: &state::Opened,
    journal: &Arc<Journal>,
    metrics: &Arc<Metrics>,
) -> Option<Arc<Sharer>> {
    let shared = &settings.shared;
    let sharing = Sharing {
        redis_url: shared.redis_url.clone()?,
        pool: shared.pool.clone(),
        on_failure: shared.on_failure,
        timeout: shared.timeout,
        redis_timeout: shared.redis_timeout,
        layout: LAYOUT,
    };
    let identity = Identity::of(settings.state_dir.as_deref());
    let (journal, metrics) = (journal.clone(), metrics.clone());
    Some(Sharer::new(
        sharing,
        identity,
        opened.pool.clone(),
        journal,
        metrics,
        opened.clock.clone(),
    ))
}

/// Keeps the state on the disk up to the last second.
async fn keep_the_state(service: Arc<Service>) -> io::Result<()> {
    let Some(keeper) = service.keeper.clone() else {
        service.stopping.cancelled().await;
        return Ok(());
    };
    loop {
        tokio::select! {
            () = service.stopping.cancelled() => return Ok(()),
            () = service.clock.sleep(STATE_SYNC) => {}
        }
        let (keeper, pool) = (keeper.clone(), service.pool.clone());
        spawn_blocking(move || keeper.tend(&pool)).await?;
    }
}

/// Tells the lives of the pool apart.
fn epoch(seed: u64) -> u32 {
    let folded = seed ^ (seed >> 32);
    u32::try_from(folded & u64::from(u32::MAX)).unwrap_or_default()
}

/// Waits for the word to stop, or for the end of a part that must not end.
async fn until_the_end(
    parts: &mut JoinSet<io::Result<()>>,
    stop: &CancellationToken,
) -> io::Result<()> {
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        Some(ended) = parts.join_next() => Err(died(ended)),
    }
}

fn died(ended: Result<io::Result<()>, JoinError>) -> io::Error {
    match ended {
        Ok(Ok(())) => io::Error::other("a part of the daemon ended that must not"),
        Ok(Err(error)) => error,
        Err(error) => io::Error::other(error),
    }
}

/// Does what is due in the pool at its time: serves waiting requests, ends leases and cooldowns.
/// Who waits when the daemon is to stop is still served while there is time.
async fn mind_the_pool(service: Arc<Service>) -> io::Result<()> {
    let mut due = Instant::NEVER;
    loop {
        tokio::select! {
            () = service.closing.cancelled() => return Ok(()),
            () = service.clock.sleep_until(due) => {
                service.call(Pool::advance);
                due = service.pool.due();
            }
            earlier = service.pool.due_before(due) => due = earlier,
        }
    }
}

fn prober(service: &Service, asked: AskedProbes) -> Prober {
    Prober::new(
        service.pool.clone(),
        service.keyring.clone(),
        service.journal.clone(),
        service.metrics.clone(),
        service.clock.clone(),
        service.probing.subscribe(),
        asked,
    )
}

/// Reloads whenever somebody asks. All who ask before a reload begins share it.
async fn reload_when_asked(
    mut asked: Asked,
    loader: Arc<Loader>,
    service: Arc<Service>,
    notifier: Arc<Notifier>,
) -> io::Result<()> {
    let stopping = service.stopping.clone();
    let reload = async {
        while let Some(askers) = asked.reload().await {
            notifier.tell(&State::Reloading, "reading the configuration");
            let (loader, serving) = (loader.clone(), service.clone());
            let work = move || (loader.reload(&serving), status(&serving));
            let (outcome, status) = spawn_blocking(work).await?;
            notifier.tell(&State::Ready, &status);
            askers.tell(outcome);
        }
        Ok(())
    };
    tokio::select! {
        // A reload that hangs in a file system is left to itself.
        () = stopping.cancelled() => Ok(()),
        ended = reload => ended,
    }
}

/// Changes the keys file whenever an administrator asks, one change after another.
async fn edit_when_asked(
    mut edits: AskedEdits,
    loader: Arc<Loader>,
    service: Arc<Service>,
) -> io::Result<()> {
    let stopping = service.stopping.clone();
    let edit = async {
        while let Some(asked) = edits.next().await {
            let (loader, service) = (loader.clone(), service.clone());
            let edit = move || {
                let outcome = loader.edit(&service, &asked.edit);
                asked.tell(outcome);
            };
            spawn_blocking(edit).await?;
        }
        Ok(())
    };
    tokio::select! {
        // A change that hangs in a file system is left to itself.
        () = stopping.cancelled() => Ok(()),
        ended = edit => ended,
    }
}

/// Lets the present requests end. Waiting ones are told after the grace period.
async fn drain(service: &Service, grace: Duration) {
    tracing::info!("stopping; requests have {} s to end", grace.as_secs());
    service.stopping.cancel();
    service.tasks.close();
    tokio::select! {
        () = service.tasks.wait() => {}
        () = service.clock.sleep(grace) => {}
    }
    service.closing.cancel();
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn end_of(part: impl Future<Output = io::Result<()>> + Send + 'static) -> String {
        let mut parts = JoinSet::new();
        parts.spawn(std::future::pending());
        parts.spawn(part);
        until_the_end(&mut parts, &CancellationToken::new()).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_part_that_ends_fails_or_panics_ends_the_daemon() {
        assert!(end_of(async { Ok(()) }).await.contains("ended that must not"));
        assert_eq!(end_of(async { Err(io::Error::other("broken")) }).await, "broken");
        assert!(end_of(async { panic!("on purpose") }).await.contains("panicked"));
    }

    #[tokio::test]
    async fn the_word_to_stop_is_no_failure() {
        let mut parts = JoinSet::new();
        parts.spawn(std::future::pending());
        let stop = CancellationToken::new();
        stop.cancel();
        until_the_end(&mut parts, &stop).await.unwrap();
    }
}

//! The part of the daemon that shares quota with others.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::identity::Identity;
use super::ledger::{Inbox, Ledger, Scripts};
use super::link::Trouble;
use super::membership::Membership;
use super::session::Session;
use super::standing::{Board, Holds, Standing};
use super::wire::{Daemon, LedgerGroup, Request};
use crate::clock::Clock;
use crate::pool::{GroupName, Now, Part, Pool, SharedPool};
use crate::secrets::Secret;
use crate::telemetry::{Journal, Metrics};

/// What holds while Redis is away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnFailure {
    /// Each daemon goes on with the groups it held.
    #[default]
    Owned,
    /// Each goes on with its part of every group.
    Share,
    /// Each goes on with full limits.
    Open,
    /// All refuse, once their leases have ended.
    Closed,
}

/// What sharing needs to know.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Where Redis is, with a password in it perhaps.
    pub redis_url: Secret,
    /// The name of the pool in Redis.
    pub pool: String,
    /// What holds while Redis is away.
    pub on_failure: OnFailure,
    /// The longest that a select waits.
    pub timeout: Duration,
    /// How long what no select waits for may take.
    pub redis_timeout: Duration,
    /// The layout of what is kept in Redis: [`LAYOUT`](super::LAYOUT).
    pub layout: u32,
}

/// Shares the quota of a pool with other daemons.
#[derive(Debug)]
pub struct Sharer {
    sharing: Sharing,
    pub(super) pool: Arc<SharedPool>,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) board: Board,
    /// The ledger, while it is in use.
    ledger: Mutex<Option<Ledger>>,
    identity: Identity,
}

/// The fleet as the ledger has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fleet {
    /// The daemons that are alive, and those whose leases have ended and whose groups nobody has
    /// taken.
    pub daemons: Vec<Daemon>,
    /// Every group that was ever held.
    pub groups: Vec<LedgerGroup>,
    /// For how long nobody may take a group.
    pub learning: Duration,
}

impl OnFailure {
    /// All ways.
    pub const ALL: [Self; 4] = [Self::Owned, Self::Share, Self::Open, Self::Closed];

    /// The name in keypool.toml.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owned => "owned",
            Self::Share => "share",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }

    /// What it means for a daemon that has `part` of every limit.
    fn says(self, part: Part) -> String {
        match self {
            Self::Owned => "This daemon goes on with the quota groups that it holds".to_owned(),
            Self::Open => "This daemon goes on with the full limits of every key".to_owned(),
            Self::Share if part > Part::NONE => format!(
                "This daemon goes on with {:.1} % of the limits of every key: of those that it \
                 holds as soon as its leases have ended, of the others a minute and a half after \
                 it last heard from Redis",
                part.share() * 100.0
            ),
            Self::Share | Self::Closed => {
                "This daemon refuses as soon as its leases have ended".to_owned()
            }
        }
    }
}

impl Sharer {
    /// A sharer for the daemon called `identity`.
    pub fn new(
        sharing: Sharing,
        identity: Identity,
        pool: Arc<SharedPool>,
        journal: Arc<Journal>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Arc<Self> {
        let board = Board::default();
        board.write(|standing| {
            standing.id.clone_from(&identity.id);
            standing.away = Some((Trouble::NotYet, clock.now().wall));
            standing.part = Part::NONE;
            standing.withheld = Part::NONE;
        });
        Arc::new(Self {
            sharing,
            pool,
            journal,
            metrics,
            clock,
            board,
            ledger: Mutex::default(),
            identity,
        })
    }

    /// How it goes.
    pub fn standing(&self) -> Standing {
        let mut standing = self.board.read();
        let (in_part, holds_any);
        (standing.held, standing.groups, in_part, holds_any) = self.call(|pool, now| {
            (pool.held(now).len(), pool.groups(), pool.groups_in_part(), pool.holds_any(now))
        });
        standing.holds = match (standing.away, self.sharing.on_failure) {
            (None, _) => Holds::Shared,
            (Some(_), _) if in_part > 0 => Holds::Part,
            (Some(_), _) if !holds_any => Holds::Nothing,
            (Some(_), OnFailure::Owned) => Holds::Owned,
            (Some(_), OnFailure::Open) => Holds::Open,
            (Some(_), OnFailure::Share | OnFailure::Closed) => Holds::Leases,
        };
        standing
    }

    /// What holds while Redis is away.
    pub fn on_failure(&self) -> OnFailure {
        self.sharing.on_failure
    }

    /// The name of the pool in Redis.
    pub fn pool_name(&self) -> &str {
        &self.sharing.pool
    }

    /// The fleet as the ledger has it; why not, if it is not in use or does not answer within the
    /// time that a select waits.
    pub async fn fleet(&self) -> Result<Fleet, Trouble> {
        let away = || self.board.read().away.map_or(Trouble::NoConnection, |(trouble, _)| trouble);
        let ledger = self.present().clone();
        let mut ledger = ledger.ok_or_else(away)?;
        let request = Request { id: &self.identity.id, ..Request::default() };
        let reply = ledger.call(&Scripts::new().fleet, request, self.sharing.timeout).await;
        self.count(&reply);
        let reply = reply?;
        let learning = Duration::from_micros(reply.learning);
        Ok(Fleet { daemons: reply.daemons, groups: reply.groups, learning })
    }

    /// Shares until `stopping` is cancelled, and hands over then what it holds.
    pub async fn run(self: Arc<Self>, stopping: CancellationToken) -> io::Result<()> {
        let shares = self.sharing.on_failure == OnFailure::Share;
        let mut membership = Membership::new(self.identity.clone(), shares);
        let mut failures = 0_u32;
        loop {
            let ended = tokio::select! {
                ended = self.share(&mut membership, &mut failures, &stopping) => ended,
                () = stopping.cancelled(), if failures > 0 => return Ok(()),
            };
            let Err(trouble) = ended else { return Ok(()) };
            failures += 1;
            match trouble.other_layout() {
                Some(_) => self.make_way(),
                None => self.go_on_alone(failures),
            }
            // A connection that breaks once is made anew before anything is concluded.
            if failures > 1 {
                self.is_away(trouble, membership.part());
                tokio::select! {
                    () = self.clock.sleep(pause(failures)) => {}
                    () = stopping.cancelled() => return Ok(()),
                }
            }
        }
    }

    /// Shares as long as the connection lasts.
    async fn share(
        &self,
        membership: &mut Membership,
        failures: &mut u32,
        stopping: &CancellationToken,
    ) -> Result<(), Trouble> {
        let ledger = Ledger::connect(&self.sharing).await?;
        let inbox = Inbox::connect(&self.sharing, &membership.identity.id).await?;
        let mut session = Session::new(self, ledger.clone(), membership);
        session.join().await?;
        *failures = 0;
        self.is_back();
        *self.present() = Some(ledger);
        let ended = session.run(inbox, stopping).await;
        *self.present() = None;
        ended
    }

    fn present(&self) -> MutexGuard<'_, Option<Ledger>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_away(&self, trouble: Trouble, part: Part) {
        let now = self.clock.now();
        let mut news = false;
        self.board.write(|standing| {
            let (was, since) = standing.away.map_or((None, now.wall), |(was, at)| (Some(was), at));
            news = was != Some(trouble);
            standing.away = Some((trouble, since));
        });
        self.call(|pool, _| pool.set_patience(None));
        if !news {
            return;
        }
        if trouble.other_layout().is_some() {
            tracing::error!(
                "Limits are not shared: {trouble}. This daemon grants nothing until the last of \
                 them has gone"
            );
            return;
        }
        tracing::error!("Redis is away: {trouble}. {}", self.sharing.on_failure.says(part));
    }

    /// Does what is to be done when Redis may be away. Parts and leases need nothing: what follows
    /// on them is agreed while it is there.
    fn go_on_alone(&self, failures: u32) {
        self.call(|pool, now| match self.sharing.on_failure {
            OnFailure::Owned => pool.hold_on(now),
            OnFailure::Open if failures > 1 => pool.hold_all(now),
            OnFailure::Open | OnFailure::Share | OnFailure::Closed => {}
        });
    }

    /// Daemons of another version have the pool. Redis is there, and whatever holds while it is away
    /// would be granted twice.
    fn make_way(&self) {
        self.call(|pool, now| {
            let held: Vec<GroupName> = pool.held(now).into_iter().map(|group| group.name).collect();
            pool.give_up_part(now);
            pool.handed_over(&held, now);
        });
    }

    fn is_back(&self) {
        let mut was = None;
        self.board.write(|standing| was = standing.away.take());
        match was {
            None => {}
            Some((Trouble::NotYet, _)) => tracing::info!("quota groups are shared through Redis"),
            Some(_) => tracing::info!("Redis is back: quota groups are shared again"),
        }
        self.call(|pool, _| pool.set_patience(Some(self.sharing.timeout)));
    }

    pub(super) fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// Counts a question to the ledger by what came of it.
    pub(super) fn count<T>(&self, answer: &Result<T, Trouble>) {
        let result = match answer {
            Ok(_) => "ok",
            Err(Trouble::Timeout) => "timeout",
            Err(_) => "error",
        };
        self.board.write(|standing| *standing.calls.entry(result).or_default() += 1);
    }

    pub(super) fn call<T>(&self, call: impl FnOnce(&mut Pool, Now) -> T) -> T {
        let (result, transitions) = self.pool.call(self.clock.now(), call);
        self.metrics.changed(&transitions);
        self.journal.record(transitions);
        result
    }
}

/// How long to wait before the next attempt: about a second, so that not all daemons of a fleet
/// come back at the same moment.
fn pause(failures: u32) -> Duration {
    let jitter = u64::from(std::process::id().wrapping_mul(failures).wrapping_mul(2_654_435_761));
    Duration::from_millis(500 + jitter % 700)
}

//! One connection with the ledger, from joining to its end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::demand::Demand;
use super::effect;
use super::giving::{Mode, to_give};
use super::identity::{self, Identity};
use super::ledger::{Inbox, Ledger, Scripts};
use super::link::Trouble;
use super::sharer::Sharer;
use super::wire::{Message, Released, Reply, Request, Row};
use crate::pool::{GroupName, HeldGroup, Instant, KeyId, Letter, News, Parcel, Pool, WallTime};

/// How long a daemon that says nothing keeps its groups: a little less than the ledger's 15 s.
const HELD: Duration = Duration::from_millis(14_900);

/// How often a daemon says that it is alive.
pub const BEAT: Duration = Duration::from_secs(5);

/// How often it looks for groups that it does not need.
const TIDY: Duration = Duration::from_millis(500);

/// Most groups that are asked for at once.
const MOST_WANTED: usize = 64;

/// How soon a group that nobody gave is asked for again; it doubles up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(4);

/// How many holders are asked at once where groups are few.
const ASKED_AT_ONCE: usize = 2;

/// How long a group that is not used is kept where groups are few.
const LINGER: Duration = Duration::from_secs(1);

/// One connection with the ledger.
pub(super) struct Session<'a> {
    sharer: &'a Sharer,
    ledger: Ledger,
    scripts: Scripts,
    identity: &'a mut Identity,
    generation: &'a mut String,
    /// Tells what was said since it joined last from what was said before.
    visit: String,
    others: Vec<String>,
    mode: Mode,
    demand: Demand,
    /// Until when what it holds is held.
    until: Instant,
    retry: Duration,
    turn: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        sharer: &'a Sharer,
        ledger: Ledger,
        identity: &'a mut Identity,
        generation: &'a mut String,
    ) -> Self {
        Self {
            sharer,
            ledger,
            scripts: Scripts::new(),
            identity,
            generation,
            visit: String::new(),
            others: Vec::new(),
            mode: Mode::default(),
            demand: Demand::default(),
            until: Instant::ZERO,
            retry: FIRST_RETRY,
            turn: 0,
        }
    }

    /// Does what comes up until `stopping` is cancelled; hands over then what it holds.
    pub(super) async fn run(
        mut self,
        mut inbox: Inbox,
        stopping: &CancellationToken,
    ) -> Result<(), Trouble> {
        let (posted, mut post) = tokio::sync::mpsc::channel(64);
        // A question for messages must not be given up halfway: the server would send one into
        // the void.
        let reading = async move {
            loop {
                match inbox.next().await {
                    Ok(None) => {}
                    Ok(Some(message)) => drop(posted.send(message).await),
                    Err(trouble) => return trouble,
                }
            }
        };
        tokio::pin!(reading);
        let clock = self.sharer.clock.clone();
        let mut beat = clock.now().at.plus(BEAT);
        let mut tidy = clock.now().at.plus(TIDY);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return self.leave().await,
                trouble = &mut reading => return Err(trouble),
                Some(message) = post.recv() => self.read(message).await?,
                () = self.sharer.pool.errands() => self.run_errands().await?,
                () = clock.sleep_until(beat) => {
                    self.beat().await?;
                    beat = clock.now().at.plus(BEAT);
                }
                () = clock.sleep_until(tidy) => {
                    self.tidy().await?;
                    tidy = clock.now().at.plus(TIDY);
                }
            }
        }
    }

    /// Says who it is and what it holds.
    pub(super) async fn join(&mut self) -> Result<(), Trouble> {
        self.visit = identity::random();
        let held = self.sharer.call(Pool::held);
        let request = Request {
            held: held.iter().map(|group| (group.name.to_string(), group.epoch)).collect(),
            row: Some(self.row(&held)),
            ..Request::default()
        };
        let sent = self.sharer.clock.now().at;
        let reply = self.ask(|scripts| &scripts.join, request, None).await?;
        if let Some(theirs) = reply.layout {
            // Whatever it finds later on, it has not been the first.
            "another".clone_into(self.generation);
            return Err(Trouble::OtherLayout { theirs, ours: self.sharer.sharing().layout });
        }
        self.generation.clone_from(&reply.generation);
        let lost: Vec<GroupName> =
            reply.lost.iter().map(|name| GroupName::from(name.as_str())).collect();
        if !lost.is_empty() {
            tracing::warn!(
                "{} quota groups that this daemon held have gone to others meanwhile",
                lost.len()
            );
            self.sharer.call(|pool, now| pool.handed_over(&lost, now));
        }
        self.until = sent.plus(HELD);
        self.sharer.call(|pool, now| pool.hold_until(self.until, now));
        self.sharer.call(|pool, now| effect::hear(pool, &reply.news, now));
        self.heed(&reply);
        Ok(())
    }

    /// Says that it is alive.
    async fn beat(&mut self) -> Result<(), Trouble> {
        let held = self.sharer.call(Pool::held);
        let day = |group: &HeldGroup| {
            let (number, used) = group.day?;
            Some((group.name.to_string(), number, used))
        };
        let request = Request {
            row: Some(self.row(&held)),
            days: held.iter().filter_map(day).collect(),
            ..Request::default()
        };
        let sent = self.sharer.clock.now().at;
        let reply = self.ask(|scripts| &scripts.sync, request, None).await?;
        if reply.twin {
            return Err(self.part_from_the_twin());
        }
        if reply.join {
            return self.join().await;
        }
        self.until = sent.plus(HELD);
        self.sharer.call(|pool, now| pool.hold_until(self.until, now));
        self.heed(&reply);
        Ok(())
    }

    /// Another process goes by the same id, as when a state directory was copied: what this one
    /// holds the other one holds as well.
    fn part_from_the_twin(&mut self) -> Trouble {
        tracing::error!(
            "another process uses the fleet id {} of this daemon's state directory; was it copied? \
             This daemon goes on under another id, without the quota groups that it held",
            self.identity.id
        );
        *self.identity = self.identity.renewed();
        self.sharer.board.write(|standing| standing.id.clone_from(&self.identity.id));
        let names: Vec<GroupName> = self
            .sharer
            .call(|pool, now| pool.held(now).into_iter().map(|group| group.name).collect());
        self.sharer.call(|pool, now| pool.handed_over(&names, now));
        // With a new id comes a new inbox.
        Trouble::NoConnection
    }

    /// Takes groups that requests wait for, and tells others what they should know.
    async fn run_errands(&mut self) -> Result<(), Trouble> {
        let (news, letters, (names, waiting)) = self.sharer.call(|pool, now| {
            (pool.take_news(), pool.take_letters(), pool.wanted(MOST_WANTED, now))
        });
        if !news.is_empty() || !letters.is_empty() {
            self.tell(news, letters).await?;
        }
        if names.is_empty() { Ok(()) } else { self.take(&names, waiting).await }
    }

    async fn take(&mut self, names: &[GroupName], waiting: usize) -> Result<(), Trouble> {
        self.turn += 1;
        let request = Request {
            names: names.iter().map(ToString::to_string).collect(),
            most: 1 + waiting / 8,
            ask: match self.mode {
                Mode::Ownership => 1,
                Mode::PerSelect => ASKED_AT_ONCE,
            },
            turn: self.turn,
            ..Request::default()
        };
        let hurry = self.sharer.sharing().timeout;
        let reply = self.ask(|scripts| &scripts.take, request, Some(hurry)).await?;
        if reply.join {
            return self.join().await;
        }
        if reply.taken.is_empty() {
            let wait = match (reply.learning, reply.free_in) {
                (0, None) => self.retry,
                (0, Some(free_in)) => self.retry.min(Duration::from_micros(free_in)),
                (left, _) => Duration::from_micros(left).min(Duration::from_secs(1)),
            };
            self.retry = (2 * self.retry).min(LAST_RETRY);
            self.sharer.call(|pool, now| pool.expect(names, now.at.plus(wait), now));
        } else {
            self.retry = FIRST_RETRY;
            self.sharer.call(|pool, now| effect::take_over(pool, &reply.taken, self.until, now));
        }
        Ok(())
    }

    /// Hands `names` over; `waiting` are told.
    async fn release(&mut self, names: &[GroupName], waiting: Vec<String>) -> Result<(), Trouble> {
        let parcels = self.sharer.call(|pool, now| {
            let pack = |(held, parcel): (HeldGroup, Parcel)| Released {
                name: held.name.to_string(),
                epoch: held.epoch,
                parcel: serde_json::to_string(&parcel).unwrap_or_default(),
                free_in: u64::try_from(held.free_at.since(now.at).as_micros()).unwrap_or(u64::MAX),
            };
            pool.hand_over(names, now).into_iter().map(pack).collect::<Vec<_>>()
        });
        if parcels.is_empty() {
            return Ok(());
        }
        let request = Request { groups: parcels, waiting, ..Request::default() };
        let reply = self.ask(|scripts| &scripts.release, request, None).await?;
        if reply.join {
            return self.join().await;
        }
        self.sharer.call(|pool, now| pool.handed_over(names, now));
        Ok(())
    }

    async fn tell(
        &mut self,
        news: Vec<(KeyId, News)>,
        letters: Vec<(GroupName, Letter)>,
    ) -> Result<(), Trouble> {
        let request = Request {
            news: news.into_iter().map(|(key, news)| (key.to_string(), news)).collect(),
            letters: letters.into_iter().map(|(name, letter)| (name.to_string(), letter)).collect(),
            ..Request::default()
        };
        self.ask(|scripts| &scripts.tell, request, None).await.map(drop)
    }

    async fn read(&mut self, message: Message) -> Result<(), Trouble> {
        let Message { want, from, free, news, letters } = message;
        self.sharer.call(|pool, now| effect::hear(pool, &news, now));
        if !free.is_empty() {
            let free: Vec<GroupName> = free.iter().map(|name| name.as_str().into()).collect();
            self.retry = FIRST_RETRY;
            self.sharer.call(|pool, now| pool.may_be_free(&free, now));
        }
        let astray = self.sharer.call(|pool, now| effect::read_letters(pool, letters, now));
        if !astray.is_empty() {
            self.tell(Vec::new(), astray).await?;
        }
        if want.is_empty() {
            return Ok(());
        }
        let wanted: Vec<GroupName> = want.iter().map(|name| name.as_str().into()).collect();
        let mode = self.mode;
        let given = self.sharer.call(|pool, now| to_give(&wanted, &pool.held(now), mode, now.at));
        match given {
            Some(name) => self.release(&[name], vec![from]).await,
            None => Ok(()),
        }
    }

    /// Hands over what is not needed here.
    async fn tidy(&mut self) -> Result<(), Trouble> {
        let mode = self.mode;
        let unneeded: Vec<GroupName> = self.sharer.call(|pool, now| {
            let idle = |group: &HeldGroup| {
                let lingers = group.last_use.is_some_and(|at| at.plus(LINGER) > now.at);
                !group.has_keys || (mode == Mode::PerSelect && !lingers)
            };
            pool.held(now).into_iter().filter(idle).map(|group| group.name).collect()
        });
        if unneeded.is_empty() {
            return Ok(());
        }
        let everybody = self.others.clone();
        self.release(&unneeded, everybody).await
    }

    /// Hands everything over and goes.
    async fn leave(mut self) -> Result<(), Trouble> {
        let names: Vec<GroupName> = self
            .sharer
            .call(|pool, now| pool.held(now).into_iter().map(|group| group.name).collect());
        let everybody = self.others.clone();
        self.release(&names, everybody).await?;
        let request = Request { leaves: true, ..Request::default() };
        self.ask(|scripts| &scripts.release, request, None).await.map(drop)
    }

    /// Takes note of what the ledger says of the fleet.
    fn heed(&mut self, reply: &Reply) {
        let daemons = &reply.daemons;
        self.others = daemons
            .iter()
            .map(|other| other.id.clone())
            .filter(|id| *id != self.identity.id)
            .collect();
        let groups = self.sharer.call(|pool, _| pool.groups());
        self.mode = Mode::of(groups, daemons.len().max(1));
        if let Ok(micros) = reply.now.parse::<u64>() {
            let ledger = WallTime::from_millis(micros / 1000);
            self.sharer.pool.set_wall_clock(self.sharer.clock.now().wall, ledger);
        }
        self.sharer.board.write(|standing| {
            standing.mode = self.mode;
            standing.daemons.clone_from(daemons);
            standing.learning = reply.learning > 0;
        });
    }

    /// What it says of itself.
    fn row(&mut self, held: &[HeldGroup]) -> Row {
        let now = self.sharer.clock.now().at;
        let room = |group: &HeldGroup| match group.per_minute {
            Some(limit) if group.free_at <= now => limit.saturating_sub(group.used),
            Some(_) => 0,
            None => 1,
        };
        let (waiting, granted) = self.sharer.call(|pool, _| (pool.waiting().0, pool.granted()));
        Row {
            name: self.identity.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            held: held.len() as u64,
            capacity: held.iter().map(|group| group.per_minute).sum(),
            used: held.iter().map(|group| group.used).sum(),
            room: held.iter().map(room).sum(),
            waiting: waiting as u64,
            demand: self.demand.per_minute(granted, now).saturating_add(waiting as u64),
        }
    }

    async fn ask(
        &mut self,
        script: impl Fn(&Scripts) -> &redis::Script,
        request: Request<'_>,
        hurry: Option<Duration>,
    ) -> Result<Reply, Trouble> {
        let most = hurry.unwrap_or(self.sharer.sharing().redis_timeout);
        let others =
            if request.names.is_empty() && request.waiting.is_empty() && request.row.is_some() {
                &[]
            } else {
                self.others.as_slice()
            };
        let request = Request {
            id: &self.identity.id,
            life: &self.identity.life,
            generation: self.generation,
            visit: &self.visit,
            others,
            ..request
        };
        let reply = self.ledger.call(script(&self.scripts), request, most).await;
        self.sharer.count(&reply);
        reply
    }
}

//! One connection with the ledger, from joining to its end.

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::demand::Demand;
use super::effect;
use super::giving::{Mode, to_give, to_grant_a_wish};
use super::identity;
use super::ledger::{Inbox, Ledger, Scripts};
use super::link::Trouble;
use super::membership::Membership;
use super::sharer::Sharer;
use super::wire::{Message, Released, Reply, Request, Row};
use crate::pool::{
    GroupName, HeldGroup, Instant, KeyId, Letter, News, Parcel, Part, Pool, WallTime,
};

/// How often a daemon says that it is alive.
pub const BEAT: Duration = Duration::from_secs(5);

/// How often it does so while parts of limits are not as they are to stay, and how many times.
const QUICK_BEAT: Duration = Duration::from_secs(1);
const QUICK_BEATS: u32 = 5;

/// How often it looks for groups that it does not need.
const TIDY: Duration = Duration::from_millis(500);

/// Most groups that are asked for at once.
const MOST_WANTED: usize = 64;

/// How soon a group that nobody gave is asked for again; it doubles up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(4);

/// How soon a group that would be better is asked for again.
const WISH_AGAIN: Duration = Duration::from_secs(1);

/// How many holders are asked at once where groups are few.
const ASKED_AT_ONCE: usize = 2;

/// How long a group that is not used is kept where groups are few.
const LINGER: Duration = Duration::from_secs(1);

/// One connection with the ledger.
pub(super) struct Session<'a> {
    sharer: &'a Sharer,
    ledger: Ledger,
    scripts: Scripts,
    membership: &'a mut Membership,
    /// Tells what was said since it joined last from what was said before.
    visit: String,
    others: Vec<String>,
    mode: Mode,
    demand: Demand,
    /// How many more times it says soon that it is alive.
    quick_beats: u32,
    retry: Duration,
    turn: u64,
    /// When groups came here.
    taken_at: HashMap<GroupName, Instant>,
}

impl<'a> Session<'a> {
    pub(super) fn new(sharer: &'a Sharer, ledger: Ledger, membership: &'a mut Membership) -> Self {
        Self {
            sharer,
            ledger,
            scripts: Scripts::new(),
            membership,
            visit: String::new(),
            others: Vec::new(),
            mode: Mode::default(),
            demand: Demand::default(),
            quick_beats: 0,
            retry: FIRST_RETRY,
            turn: 0,
            taken_at: HashMap::new(),
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
        let mut beat = clock.now().at.plus(self.pause());
        let mut tidy = clock.now().at.plus(TIDY);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return self.leave().await,
                trouble = &mut reading => return Err(trouble),
                Some(message) = post.recv() => self.read(message).await?,
                () = self.sharer.pool.errands() => self.run_errands().await?,
                () = clock.sleep_until(beat) => {
                    self.beat().await?;
                    beat = clock.now().at.plus(self.pause());
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
            "another".clone_into(&mut self.membership.generation);
            return Err(Trouble::OtherLayout { theirs, ours: self.sharer.sharing().layout });
        }
        self.membership.generation.clone_from(&reply.generation);
        let lost: Vec<GroupName> =
            reply.lost.iter().map(|name| GroupName::from(name.as_str())).collect();
        if !lost.is_empty() {
            tracing::warn!(
                "{} quota groups that this daemon held have gone to others meanwhile",
                lost.len()
            );
            self.sharer.call(|pool, now| pool.handed_over(&lost, now));
        }
        self.sharer.call(|pool, now| effect::hear(pool, &reply.news, now));
        self.quick_beats = QUICK_BEATS;
        self.agree(&reply, sent);
        Ok(())
    }

    /// How long until it says again that it is alive. Others may count on the part of one that has
    /// come as soon as it says that it has been told.
    fn pause(&mut self) -> Duration {
        if self.quick_beats == 0 {
            return BEAT;
        }
        let has_just_come = self.quick_beats == QUICK_BEATS && self.membership.shares;
        self.quick_beats -= 1;
        if has_just_come { Duration::ZERO } else { QUICK_BEAT }
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
        self.agree(&reply, sent);
        Ok(())
    }

    /// Agrees with what the ledger answers to what was `sent` at that time.
    fn agree(&mut self, reply: &Reply, sent: Instant) {
        let received = self.sharer.clock.now().at;
        let terms = self.membership.agree(reply, sent, received);
        self.sharer.call(|pool, now| pool.agree(terms, now));
        if reply.settled {
            self.quick_beats = 0;
        }
        self.heed(reply);
        self.sharer.board.write(|standing| {
            standing.part = self.membership.part();
            standing.withheld = terms.withheld;
        });
    }

    /// Another process goes by the same id, as when a state directory was copied: what this one
    /// holds the other one holds as well.
    fn part_from_the_twin(&mut self) -> Trouble {
        tracing::error!(
            "another process uses the fleet id {} of this daemon's state directory; was it copied? \
             This daemon goes on under another id, without the quota groups that it held",
            self.membership.identity.id
        );
        self.membership.renew();
        let id = &self.membership.identity.id;
        self.sharer.board.write(|standing| standing.id.clone_from(id));
        let names: Vec<GroupName> = self
            .sharer
            .call(|pool, now| pool.held(now).into_iter().map(|group| group.name).collect());
        self.sharer.call(|pool, now| {
            pool.handed_over(&names, now);
            pool.give_up_part(now);
        });
        // With a new id comes a new inbox.
        Trouble::NoConnection
    }

    /// Takes groups that requests wait for, and tells others what they should know.
    async fn run_errands(&mut self) -> Result<(), Trouble> {
        let (news, letters, (names, waiting), wishes) = self.sharer.call(|pool, now| {
            let wanted = pool.wanted(MOST_WANTED, now);
            (pool.take_news(), pool.take_letters(), wanted, pool.take_wishes())
        });
        if !news.is_empty() || !letters.is_empty() {
            self.tell(news, letters).await?;
        }
        if !names.is_empty() {
            self.take(&names, waiting).await
        } else if !wishes.is_empty() {
            self.wish(&wishes).await
        } else {
            Ok(())
        }
    }

    /// Takes one of `names`, which requests would rather have used, if nobody needs it.
    async fn wish(&mut self, names: &[GroupName]) -> Result<(), Trouble> {
        self.turn += 1;
        let request = Request {
            names: names.iter().map(ToString::to_string).collect(),
            most: 1,
            ask: 1,
            turn: self.turn,
            wish: true,
            ..Request::default()
        };
        let reply = self.ask(|scripts| &scripts.take, request, None).await?;
        if reply.join {
            return self.join().await;
        }
        if reply.taken.is_empty() {
            self.sharer.call(|pool, now| pool.expect(names, now.at.plus(WISH_AGAIN), now));
        } else {
            self.take_over(&reply);
        }
        Ok(())
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
            self.take_over(&reply);
        }
        Ok(())
    }

    /// Becomes the holder of what the ledger has given.
    fn take_over(&mut self, reply: &Reply) {
        let (until, withheld) = (self.membership.until, reply.withheld.map(Part::of));
        let now = self.sharer.clock.now().at;
        self.taken_at.extend(reply.taken.iter().map(|one| (one.name.as_str().into(), now)));
        self.sharer.call(|pool, now| {
            if let Some(withheld) = withheld {
                pool.withhold(withheld, now);
            }
            effect::take_over(pool, &reply.taken, until, now);
        });
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
        for name in names {
            self.taken_at.remove(name);
        }
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
        let Message { want, wish, from, free, news, letters } = message;
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
        let since = |name: &GroupName| self.taken_at.get(name).copied();
        let given = self.sharer.call(|pool, now| {
            let held = pool.held(now);
            if wish {
                to_grant_a_wish(&wanted, &held, since, now.at)
            } else {
                to_give(&wanted, &held, mode, now.at)
            }
        });
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
            .filter(|id| *id != self.membership.identity.id)
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
        let (waiting, granted) = self.sharer.call(|pool, _| (pool.waiting().0, pool.granted()));
        let demand = self.demand.per_minute(granted, now).saturating_add(waiting as u64);
        Row::of(&self.membership.identity.name, held, waiting, demand, now)
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
        let (counts, window) =
            self.sharer.call(|pool, now| (pool.part_counts_for(now), pool.window_span()));
        let request = Request { visit: &self.visit, others, ..request };
        let request = self.membership.sign(request, counts, window);
        let reply = self.ledger.call(script(&self.scripts), request, most).await;
        self.sharer.count(&reply);
        reply
    }
}

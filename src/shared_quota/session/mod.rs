//! One connection with the ledger, from joining to its end.

mod groups;

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::demand::Demand;
use super::effect;
use super::giving::Mode;
use super::identity;
use super::ledger::{Inbox, Ledger, Scripts};
use super::link::Trouble;
use super::membership::Membership;
use super::sharer::Sharer;
use super::wire::{Reply, Request, Row};
use crate::pool::{GroupName, HeldGroup, Instant, Pool, WallTime};

/// How often a daemon says that it is alive.
pub const BEAT: Duration = Duration::from_secs(6);

/// How soon after that it says so again with whatever else it has to say.
const EARLY_BEAT: Duration = Duration::from_secs(1);

/// How often it does so while parts of limits are not as they are to stay, and how many times.
const QUICK_BEAT: Duration = Duration::from_secs(1);
const QUICK_BEATS: u32 = 5;

/// How often it looks for groups that it does not need.
const TIDY: Duration = Duration::from_millis(500);

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
    /// When it has said last that it is alive, and when it says so next.
    last_beat: Instant,
    next_beat: Instant,
    /// How many more times it does so soon.
    quick_beats: u32,
    /// How often in a row it has asked for groups that nobody gave.
    in_vain: u32,
    /// How often it has asked for groups that requests wait for, and for those that they would
    /// rather have used.
    asked: u32,
    wished: u32,
    /// When some group that it wants and nobody holds comes free, as far as it waits for that.
    comes_free: Instant,
    /// When groups came here.
    taken_at: HashMap<GroupName, Instant>,
}

/// When something was sent that said that the daemon is alive, if it did.
#[derive(Clone, Copy)]
struct Sent(Option<Instant>);

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
            last_beat: Instant::ZERO,
            next_beat: Instant::ZERO,
            quick_beats: 0,
            in_vain: 0,
            asked: 0,
            wished: 0,
            comes_free: Instant::ZERO,
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
        let mut tidy = clock.now().at.plus(TIDY);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return self.leave().await,
                trouble = &mut reading => return Err(trouble),
                Some(message) = post.recv() => self.read(message).await?,
                () = self.sharer.pool.errands() => self.run_errands().await?,
                () = clock.sleep_until(self.next_beat) => self.beat().await?,
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
        let request = self.alive(Request::default());
        let sent = self.sharer.clock.now().at;
        let reply = self.ask(|scripts| &scripts.sync, request, None).await?;
        if reply.join {
            return self.join_anew(&reply).await;
        }
        self.agree(&reply, sent);
        Ok(())
    }

    /// Joins, after an answer that says that it must, unless another process has taken its place.
    async fn join_anew(&mut self, reply: &Reply) -> Result<(), Trouble> {
        if reply.twin { Err(self.part_from_the_twin()) } else { self.join().await }
    }

    /// `request`, with what it says of itself.
    fn alive<'r>(&mut self, request: Request<'r>) -> Request<'r> {
        let held = self.sharer.call(Pool::held);
        let day = |group: &HeldGroup| {
            let (number, used) = group.day?;
            Some((group.name.to_string(), number, used))
        };
        let days = held.iter().filter_map(day).collect();
        Request { row: Some(self.row(&held)), days, ..request }
    }

    /// Asks about groups, and says with that that it is alive, unless it has said so just before.
    /// None if it had to join anew; the answer is for [`Session::agree_if_asked`].
    async fn ask_alive(
        &mut self,
        script: impl Fn(&Scripts) -> &redis::Script,
        request: Request<'_>,
        hurry: Option<Duration>,
    ) -> Result<Option<(Reply, Sent)>, Trouble> {
        let at = self.sharer.clock.now().at;
        let is_early = at < self.last_beat.plus(EARLY_BEAT);
        let request = if is_early { request } else { self.alive(request) };
        let reply = self.ask(script, request, hurry).await?;
        if reply.join {
            self.join_anew(&reply).await?;
            return Ok(None);
        }
        Ok(Some((reply, Sent((!is_early).then_some(at)))))
    }

    /// Agrees with an answer, if what was sent has said that it is alive.
    fn agree_if_asked(&mut self, reply: &Reply, sent: Sent) {
        if let Some(at) = sent.0 {
            self.agree(reply, at);
        }
    }

    /// Agrees with what the ledger answers to what was `sent` at that time.
    fn agree(&mut self, reply: &Reply, sent: Instant) {
        let received = self.sharer.clock.now().at;
        let terms = self.membership.agree(reply, sent, received);
        self.sharer.call(|pool, now| pool.agree(terms, now));
        if reply.settled {
            self.quick_beats = 0;
        }
        self.last_beat = received;
        self.next_beat = received.plus(self.pause());
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

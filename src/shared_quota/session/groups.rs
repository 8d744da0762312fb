//! Groups that come and go: asking for them, taking them over, and giving them to others.

use std::time::Duration;

use super::Session;
use crate::pool::{GroupName, HeldGroup, Instant, KeyId, Letter, News, Parcel, Part, Wanted};
use crate::shared_quota::effect;
use crate::shared_quota::giving::{Gift, Mode};
use crate::shared_quota::link::Trouble;
use crate::shared_quota::wire::{Message, Need, Released, Reply, Request};

/// Most groups that are asked for at once.
const MOST_WANTED: usize = 64;

/// How soon a group that nobody gave is asked for again, where groups are few and where they are
/// many; it doubles up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const FIRST_RETRY_OF_MANY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(4);

/// Every so many questions go to the next daemon, whoever can best do without.
const EVERYBODY_IN_TURN: u32 = 8;

/// How long who has given what comes free next leaves it to the other one after that.
const HEAD_START: Duration = Duration::from_secs(1);

/// How soon a group that would be better is asked for again.
const WISH_AGAIN: Duration = Duration::from_secs(1);

/// How many holders are asked at once where groups are few.
const ASKED_AT_ONCE: usize = 2;

/// How long a group that is not used is kept where groups are few.
const LINGER: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Takes groups that requests wait for, and tells others what they should know.
    pub(super) async fn run_errands(&mut self) -> Result<(), Trouble> {
        let (news, letters, wanted, wishes) = self.sharer.call(|pool, now| {
            let wanted = pool.wanted(MOST_WANTED, now);
            (pool.take_news(), pool.take_letters(), wanted, pool.take_wishes())
        });
        if !news.is_empty() || !letters.is_empty() {
            self.tell(news, letters).await?;
        }
        if !wanted.groups.is_empty() {
            self.take(&wanted).await
        } else if !wishes.is_empty() {
            self.wish(&wishes).await
        } else {
            Ok(())
        }
    }

    /// Takes one of `names`, which requests would rather have used, if nobody needs it.
    async fn wish(&mut self, names: &[GroupName]) -> Result<(), Trouble> {
        self.wished = self.wished.wrapping_add(1);
        let request = Request {
            names: names.iter().map(ToString::to_string).collect(),
            most: 1,
            ask: 1,
            turn: self.wished,
            need: Need::Better,
            ..Request::default()
        };
        let asked = self.ask_alive(|scripts| &scripts.take, request, None).await?;
        let Some((reply, sent)) = asked else { return Ok(()) };
        self.agree_if_asked(&reply, sent);
        if reply.taken.is_empty() {
            self.sharer.call(|pool, now| pool.put_off_wishes(names, now.at.plus(WISH_AGAIN)));
        } else {
            self.take_over(&reply);
        }
        Ok(())
    }

    async fn take(&mut self, wanted: &Wanted) -> Result<(), Trouble> {
        let names = &wanted.groups;
        let request = Request {
            names: names.iter().map(ToString::to_string).collect(),
            need: self.need(wanted),
            most: 1 + wanted.waiting / 8,
            ask: match self.mode {
                Mode::Ownership => 1,
                Mode::PerSelect => ASKED_AT_ONCE,
            },
            turn: self.passed_over(),
            ..Request::default()
        };
        let hurry = self.sharer.sharing().timeout;
        let asked = self.ask_alive(|scripts| &scripts.take, request, Some(hurry)).await?;
        let Some((reply, sent)) = asked else { return Ok(()) };
        self.agree_if_asked(&reply, sent);
        if reply.taken.is_empty() {
            let free_in = reply.free_in.map_or(LAST_RETRY, Duration::from_micros).min(LAST_RETRY);
            let wait = if reply.learning > 0 {
                Duration::from_micros(reply.learning).min(Duration::from_secs(1))
            } else if reply.held > 0 {
                let retry = self.retry();
                self.in_vain += 1;
                retry.min(free_in)
            } else {
                free_in
            };
            if reply.free_in.is_some() {
                self.comes_free = self.sharer.clock.now().at.plus(free_in);
            }
            self.sharer.call(|pool, now| pool.expect(names, now.at.plus(wait), now));
        } else {
            self.in_vain = 0;
            self.comes_free = Instant::ZERO;
            self.take_over(&reply);
        }
        Ok(())
    }

    /// What it needs a group for. Who waits for what comes free soon, and that nobody holds, has no
    /// need of what others use up.
    fn need(&self, wanted: &Wanted) -> Need {
        let waits = self.sharer.clock.now().at < self.comes_free;
        if wanted.has_none && !waits { Need::First } else { Need::More }
    }

    /// How many of those who can best do without are not asked now: as many as were asked in vain.
    /// Now and then it is somebody's turn: who has what only some requests want may have little.
    fn passed_over(&mut self) -> u32 {
        self.asked = self.asked.wrapping_add(1);
        if self.asked.is_multiple_of(EVERYBODY_IN_TURN) {
            self.asked / EVERYBODY_IN_TURN
        } else {
            self.in_vain
        }
    }

    /// How long to wait after one more question in vain.
    fn retry(&self) -> Duration {
        let first = match self.mode {
            Mode::Ownership => FIRST_RETRY_OF_MANY,
            Mode::PerSelect => FIRST_RETRY,
        };
        first.saturating_mul(2_u32.saturating_pow(self.in_vain)).min(LAST_RETRY)
    }

    /// Becomes the holder of what it has taken.
    fn take_over(&mut self, reply: &Reply) {
        let until = self.membership.until;
        let now = self.sharer.clock.now().at;
        self.taken_at.extend(reply.taken.iter().map(|one| (one.name.as_str().into(), now)));
        self.sharer.call(|pool, now| {
            if let Some(withheld) = reply.withheld {
                pool.withhold(Part::of(withheld), now);
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
                // A request that ends is told to whoever holds the group then.
                free_in: micros(held.may_be_free_at.since(now.at)),
            };
            pool.hand_over(names, now).into_iter().map(pack).collect::<Vec<_>>()
        });
        if parcels.is_empty() {
            return Ok(());
        }
        let request = Request { groups: parcels, waiting, ..Request::default() };
        let asked = self.ask_alive(|scripts| &scripts.release, request, None).await?;
        let Some((reply, sent)) = asked else { return Ok(()) };
        // Before anything is agreed, which would put off the end of all that is held.
        self.sharer.call(|pool, now| pool.handed_over(names, now));
        self.agree_if_asked(&reply, sent);
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

    pub(super) async fn read(&mut self, message: Message) -> Result<(), Trouble> {
        let Message { want, need, from, free, news, letters } = message;
        self.sharer.call(|pool, now| effect::hear(pool, &news, now));
        if !free.is_empty() {
            let free: Vec<GroupName> = free.iter().map(|name| name.as_str().into()).collect();
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
        let (given, comes_free) = self.sharer.call(|pool, now| {
            let held = pool.held(now);
            let gift = Gift::of(&wanted, &held, now.at);
            let given = match need {
                Need::More => gift.for_more(mode, since),
                Need::First => gift.for_first(mode, since),
                Need::Better => gift.for_wish(since),
            };
            let comes_free = held.iter().find(|group| given.as_ref() == Some(&group.name));
            (given, comes_free.map(|group| group.free_at).filter(|&at| at > now.at))
        });
        let Some(name) = given else { return Ok(()) };
        let names = [name];
        self.release(&names, vec![from]).await?;
        if let Some(at) = comes_free {
            self.sharer.call(|pool, now| pool.expect(&names, at.plus(HEAD_START), now));
        }
        Ok(())
    }

    /// Hands over what is not needed here.
    pub(super) async fn tidy(&mut self) -> Result<(), Trouble> {
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
    pub(super) async fn leave(mut self) -> Result<(), Trouble> {
        let names: Vec<GroupName> = self
            .sharer
            .call(|pool, now| pool.held(now).into_iter().map(|group| group.name).collect());
        let everybody = self.others.clone();
        self.release(&names, everybody).await?;
        let request = Request { leaves: true, ..Request::default() };
        self.ask(|scripts| &scripts.release, request, None).await.map(drop)
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

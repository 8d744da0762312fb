//! Who may be connected: so many places, and a line of those who wait for one.
//!
//! Nobody can see who waits in the kernel's queue. So every connection is accepted, and one that
//! finds no place waits here, unread: a person who asks how the daemon is gets past an application
//! that has taken all it may. What is beyond the line is refused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How many connections are served at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionLimits {
    /// In all.
    pub in_all: usize,
    /// Of one user.
    pub per_uid: usize,
}

/// One place in so many is kept for those who may administer.
const KEPT: usize = 64;

impl ConnectionLimits {
    /// The usual part of one user: all but what is kept.
    pub const fn usual_per_uid(in_all: usize) -> usize {
        in_all - Self::kept(in_all)
    }

    const fn kept(in_all: usize) -> usize {
        match in_all {
            0 | 1 => 0,
            2..KEPT => 1,
            more => more / KEPT,
        }
    }

    /// How many may wait in all.
    pub(super) fn line(self) -> usize {
        self.in_all
    }

    /// How many of one user may wait.
    fn line_per_uid(self) -> usize {
        self.line().div_ceil(2)
    }
}

/// The places of one socket.
#[derive(Debug)]
pub(super) struct Places {
    limits: ConnectionLimits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// How many have a place that is for everybody, and one of those that are kept.
    open: usize,
    kept: usize,
    waiting: usize,
    /// Those who are served or wait, by their user.
    users: BTreeMap<Option<u32>, User>,
}

#[derive(Debug, Default)]
struct User {
    served: usize,
    line: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    administers: bool,
    turn: oneshot::Sender<Place>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    uid: Option<u32>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// For everybody.
    Open,
    /// For those who may administer.
    Kept,
}

/// What somebody is told who asks for a place.
#[derive(Debug)]
pub(super) enum Asked {
    /// There is one.
    Now(Place),
    /// There will be one.
    Later(oneshot::Receiver<Place>),
    /// Too many wait already.
    Refused,
}

impl Places {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    /// Asks for a place for the user `uid`, of whom it is asked whether it `administers` only where
    /// that matters.
    pub(super) fn ask(
        self: &Arc<Self>,
        uid: Option<u32>,
        administers: impl FnOnce() -> bool,
    ) -> Asked {
        let mut taken = self.lock();
        if let Some(kind) = taken.free(uid, false, self.limits) {
            return Asked::Now(taken.enter(uid, kind, self));
        }
        let administers = administers();
        if let Some(kind) = taken.free(uid, administers, self.limits) {
            return Asked::Now(taken.enter(uid, kind, self));
        }
        let full = taken.waiting >= self.limits.line();
        let user = taken.users.entry(uid).or_default();
        if full || user.line.len() >= self.limits.line_per_uid() {
            taken.forget(uid);
            return Asked::Refused;
        }
        let (turn, told) = oneshot::channel();
        user.line.push_back(Waiting { administers, turn });
        taken.waiting += 1;
        Asked::Later(told)
    }

    /// Takes a place back, and gives what is free to those who wait.
    fn leave(self: &Arc<Self>, uid: Option<u32>, kind: Kind) {
        let mut taken = self.lock();
        *taken.of(kind) -= 1;
        if let Some(user) = taken.users.get_mut(&uid) {
            user.served -= 1;
        }
        taken.forget(uid);
        let mut turns = Vec::new();
        while let Some((uid, kind, turn)) = taken.next(self.limits) {
            turns.push((turn, taken.enter(uid, kind, self)));
        }
        drop(taken);
        for (turn, place) in turns {
            // Who has gone gives the place back.
            drop(turn.send(place));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// The place that the user `uid` may have now.
    fn free(&self, uid: Option<u32>, administers: bool, limits: ConnectionLimits) -> Option<Kind> {
        if self.users.get(&uid).is_some_and(|user| user.served >= limits.per_uid) {
            return None;
        }
        let kept = ConnectionLimits::kept(limits.in_all);
        if self.open < limits.in_all - kept {
            return Some(Kind::Open);
        }
        (administers && self.kept < kept).then_some(Kind::Kept)
    }

    fn enter(&mut self, uid: Option<u32>, kind: Kind, places: &Arc<Places>) -> Place {
        *self.of(kind) += 1;
        self.users.entry(uid).or_default().served += 1;
        Place { places: places.clone(), uid, kind }
    }

    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Open => &mut self.open,
            Kind::Kept => &mut self.kept,
        }
    }

    /// Takes who is next out of the line: of the users for whom there is a place, one with the
    /// fewest.
    fn next(
        &mut self,
        limits: ConnectionLimits,
    ) -> Option<(Option<u32>, Kind, oneshot::Sender<Place>)> {
        let free = |(&uid, user): (&Option<u32>, &User)| {
            let kind = self.free(uid, user.line.front()?.administers, limits)?;
            Some((user.served, uid, kind))
        };
        let free = self.users.iter().filter_map(free);
        let (_, uid, kind) = free.min_by_key(|(served, ..)| *served)?;
        let first = self.users.get_mut(&uid)?.line.pop_front()?;
        self.waiting -= 1;
        Some((uid, kind, first.turn))
    }

    /// Remembers nobody who is not there.
    fn forget(&mut self, uid: Option<u32>) {
        if self.users.get(&uid).is_some_and(|user| user.served == 0 && user.line.is_empty()) {
            self.users.remove(&uid);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.leave(self.uid, self.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(in_all: usize, per_uid: usize) -> Arc<Places> {
        Places::new(ConnectionLimits { in_all, per_uid })
    }

    fn ask(places: &Arc<Places>, uid: u32) -> Asked {
        places.ask(Some(uid), || uid == 0)
    }

    #[track_caller]
    fn enter(places: &Arc<Places>, uid: u32) -> Place {
        match ask(places, uid) {
            Asked::Now(place) => place,
            asked @ (Asked::Later(_) | Asked::Refused) => panic!("{uid}: {asked:?}"),
        }
    }

    #[track_caller]
    fn wait(places: &Arc<Places>, uid: u32) -> oneshot::Receiver<Place> {
        match ask(places, uid) {
            Asked::Later(turn) => turn,
            asked @ (Asked::Now(_) | Asked::Refused) => panic!("{uid}: {asked:?}"),
        }
    }

    #[test]
    fn the_usual_part_of_a_user_is_all_but_a_little() {
        let usual = [1, 2, 3, 63, 64, 256, 1024].map(ConnectionLimits::usual_per_uid);
        assert_eq!(usual, [1, 1, 2, 62, 63, 252, 1008]);
    }

    #[test]
    fn an_administrator_gets_past_an_application_that_has_all_it_may() {
        let places = places(3, 3);
        let _application = [enter(&places, 7), enter(&places, 7)];
        let _line = [wait(&places, 7), wait(&places, 7)];
        let _operator = enter(&places, 0);
        wait(&places, 0);
    }

    #[test]
    fn a_user_has_no_more_than_its_part() {
        let places = places(8, 2);
        let _first = [enter(&places, 7), enter(&places, 7)];
        let _line = wait(&places, 7);
        let _others = [enter(&places, 8), enter(&places, 0), enter(&places, 0)];
        wait(&places, 0);
    }

    #[test]
    fn who_waits_is_served_in_turn_and_the_user_with_the_fewest_places_first() {
        let places = places(4, 3);
        let mut served = vec![enter(&places, 7), enter(&places, 7), enter(&places, 7)];
        let (mut first, mut second) = (wait(&places, 7), wait(&places, 7));
        let mut other = wait(&places, 8);
        served.pop();
        let _other = other.try_recv().unwrap();
        assert!(first.try_recv().is_err());
        served.pop();
        let _first = first.try_recv().unwrap();
        assert!(second.try_recv().is_err());
        served.pop();
        second.try_recv().unwrap();
    }

    #[test]
    fn who_has_left_the_line_leaves_the_place_to_the_next() {
        let places = places(2, 1);
        let place = enter(&places, 7);
        drop(wait(&places, 7));
        drop(place);
        let place = enter(&places, 7);
        let gone = wait(&places, 7);
        drop(gone);
        drop(place);
        let left = places.lock();
        assert_eq!((left.open, left.kept, left.waiting), (0, 0, 0));
        assert!(left.users.is_empty());
    }

    #[test]
    fn nobody_fills_the_line_alone_and_more_are_refused() {
        let places = places(4, 2);
        let _served = [enter(&places, 7), enter(&places, 7), enter(&places, 8)];
        let _line = [wait(&places, 7), wait(&places, 7)];
        assert!(matches!(ask(&places, 7), Asked::Refused));
        let _more = [wait(&places, 8), wait(&places, 9)];
        assert!(matches!(ask(&places, 10), Asked::Refused));
        assert!(!places.lock().users.contains_key(&Some(10)));
    }

    #[test]
    fn one_place_is_a_place_for_everybody() {
        let places = places(1, 1);
        drop(enter(&places, 7));
        enter(&places, 0);
    }
}

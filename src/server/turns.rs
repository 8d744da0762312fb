//! Clients take turns: a program with many connections, or with many requests on one, has a few of
//! them answered in a round, and in each round everybody is heard.
//!
//! A round ends when the runtime has looked for news of all sockets, which is what yielding waits
//! for. A client that is alone has nobody to leave a turn to, and takes them all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Semaphore;

use super::peer::Peer;

/// How many requests of one client are answered in a round: enough for all workers, and for the
/// look at the sockets to cost little.
const IN_A_ROUND: usize = 4;

/// A client: the user and the process that connected.
type Client = (Option<u32>, Option<i32>);

/// The clients of one socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Clients>);

#[derive(Debug, Default)]
struct Clients {
    rounds: Mutex<BTreeMap<Client, Weak<Semaphore>>>,
    /// How many there are.
    count: AtomicUsize,
    /// How many connections there have been, and which of them has asked last.
    connections: AtomicUsize,
    last: AtomicUsize,
}

/// The turns of one client; of each of its connections one.
#[derive(Debug)]
pub(super) struct ClientTurns {
    client: Client,
    connection: usize,
    round: Arc<Semaphore>,
    all: Turns,
}

impl Turns {
    /// The turns of `peer`, which it shares with its other connections.
    pub(super) fn of(&self, peer: Peer) -> ClientTurns {
        let client = (peer.uid, peer.pid);
        let connection = self.0.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let mut rounds = self.0.rounds();
        let known = rounds.get(&client).and_then(Weak::upgrade);
        let round = known.unwrap_or_else(|| {
            let round = Arc::new(Semaphore::new(IN_A_ROUND));
            rounds.insert(client, Arc::downgrade(&round));
            round
        });
        self.0.count.store(rounds.len(), Ordering::Relaxed);
        ClientTurns { client, connection, round, all: self.clone() }
    }
}

impl ClientTurns {
    /// Waits for the client's next turn.
    pub(super) async fn next(&self) {
        if self.all.0.count.load(Ordering::Relaxed) <= 1 {
            return;
        }
        // It is never closed.
        let turn = self.round.acquire().await;
        tokio::task::yield_now().await;
        drop(turn);
    }

    /// Waits for what others ask in the same round, if there are others: if another connection has
    /// asked since this one last did.
    pub(super) async fn join_others(&self) {
        let last = &self.all.0.last;
        if last.load(Ordering::Relaxed) != self.connection {
            last.store(self.connection, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    }
}

impl Clients {
    fn rounds(&self) -> MutexGuard<'_, BTreeMap<Client, Weak<Semaphore>>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientTurns {
    fn drop(&mut self) {
        let mut rounds = self.all.0.rounds();
        // This is the last of its connections.
        if Arc::strong_count(&self.round) == 1 {
            rounds.remove(&self.client);
            self.all.0.count.store(rounds.len(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn peer(pid: i32) -> Peer {
        Peer { uid: Some(7), gid: None, pid: Some(pid) }
    }

    #[tokio::test]
    async fn a_client_has_a_few_turns_in_a_round_and_another_has_its_own() {
        let turns = Turns::default();
        let (many, one) = (turns.of(peer(1)), turns.of(peer(2)));
        let order = RefCell::new(Vec::new());
        let take = async |turns: &ClientTurns, name: char| {
            turns.next().await;
            order.borrow_mut().push(name);
        };
        let greedy = async {
            let three = async || {
                tokio::join!(take(&many, 'm'), take(&many, 'm'), take(&many, 'm'));
            };
            tokio::join!(three(), three());
        };
        tokio::join!(greedy, take(&one, '1'));
        let order = order.into_inner();
        assert_eq!(order.len(), 7);
        assert!(order[..=IN_A_ROUND].contains(&'1'), "{order:?}");
    }

    /// Whether it is over when it is looked at for the first time.
    fn at_once(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_client_that_is_alone_waits_for_nobody() {
        let turns = Turns::default();
        let alone = turns.of(peer(1));
        let _more = [(); IN_A_ROUND].map(|()| turns.of(peer(1)));
        assert!(at_once(alone.next()));
        let other = turns.of(peer(2));
        assert!(!at_once(alone.next()));
        drop(other);
        assert!(at_once(alone.next()));
    }

    #[test]
    fn a_connection_joins_others_only_if_another_has_asked_in_between() {
        let turns = Turns::default();
        let (one, other) = (turns.of(peer(1)), turns.of(peer(1)));
        assert!(!at_once(one.join_others()));
        assert!(at_once(one.join_others()));
        assert!(!at_once(other.join_others()));
        assert!(!at_once(one.join_others()));
    }

    #[test]
    fn nobody_is_remembered_who_is_not_there() {
        let turns = Turns::default();
        let (first, second) = (turns.of(peer(1)), turns.of(peer(1)));
        assert!(Arc::ptr_eq(&first.round, &second.round));
        drop(first);
        assert_eq!(turns.0.rounds().len(), 1);
        drop(second);
        assert!(turns.0.rounds().is_empty());
    }
}

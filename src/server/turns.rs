//! Clients take turns: a program with many connections, or with many requests on one, has a few of
//! them answered in a round, and in each round everybody is heard.
//!
//! A round ends when the runtime has looked for news of all sockets, which is what yielding waits
//! for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;

use super::peer::Peer;

/// How many requests of one client are answered in a round: enough for all workers, and for the
/// look at the sockets to cost little.
const IN_A_ROUND: usize = 4;

/// A client: the user and the process that connected.
type Client = (Option<u32>, Option<i32>);

/// The clients of one socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<BTreeMap<Client, Weak<Semaphore>>>>);

/// The turns of one client; of each of its connections one.
#[derive(Debug)]
pub(super) struct ClientTurns {
    client: Client,
    round: Arc<Semaphore>,
    all: Turns,
}

impl Turns {
    /// The turns of `peer`, which it shares with its other connections.
    pub(super) fn of(&self, peer: Peer) -> ClientTurns {
        let client = (peer.uid, peer.pid);
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients.get(&client).and_then(Weak::upgrade);
        let round = known.unwrap_or_else(|| {
            let round = Arc::new(Semaphore::new(IN_A_ROUND));
            clients.insert(client, Arc::downgrade(&round));
            round
        });
        ClientTurns { client, round, all: self.clone() }
    }
}

impl ClientTurns {
    /// Waits for the client's next turn.
    pub(super) async fn next(&self) {
        // It is never closed.
        let turn = self.round.acquire().await;
        tokio::task::yield_now().await;
        drop(turn);
    }
}

impl Drop for ClientTurns {
    fn drop(&mut self) {
        let mut clients = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        // This is the last of its connections.
        if Arc::strong_count(&self.round) == 1 {
            clients.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

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

    #[test]
    fn nobody_is_remembered_who_is_not_there() {
        let turns = Turns::default();
        let (first, second) = (turns.of(peer(1)), turns.of(peer(1)));
        assert!(Arc::ptr_eq(&first.round, &second.round));
        drop(first);
        assert_eq!(turns.0.lock().unwrap().len(), 1);
        drop(second);
        assert!(turns.0.lock().unwrap().is_empty());
    }
}

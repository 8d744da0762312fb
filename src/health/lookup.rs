//! Looking up names, with the answers that may be used.
//!
//! The system's resolver can hang for half a minute. It does so on a thread of its own, one for a
//! name however many probes ask for it, so that a name server that does not answer holds up
//! nothing else and piles up nothing.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

use super::address;

/// Finds the addresses of a name that may be connected to. Clones share what is under way.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    allow_private: bool,
    system: fn(&str) -> Option<Vec<SocketAddr>>,
    under_way: Arc<Mutex<HashMap<String, Pending>>>,
}

type Pending = watch::Receiver<Option<Found>>;

/// The addresses that the system found.
type Found = Arc<[SocketAddr]>;

/// Why there is no address to connect to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NoAddress {
    /// The system knows none.
    #[error("the name has no address")]
    Unknown,
    /// None of those it knows is public.
    #[error("the name has no public address")]
    Private,
}

impl Lookup {
    pub(super) fn new(allow_private: bool) -> Self {
        Self { allow_private, system: ask_system, under_way: Arc::default() }
    }

    /// The same with another system to ask.
    #[cfg(test)]
    pub(super) fn answering(
        allow_private: bool,
        system: fn(&str) -> Option<Vec<SocketAddr>>,
    ) -> Self {
        Self { system, ..Self::new(allow_private) }
    }

    /// The addresses of `name`: exactly those that are connected to.
    async fn find(&self, name: &str) -> Result<Vec<SocketAddr>, NoAddress> {
        let mut pending = self.pending(name)?;
        let found = pending.wait_for(Option::is_some).await.map_err(|_| NoAddress::Unknown)?;
        let found = found.as_deref().unwrap_or_default();
        let usable = |found: &&SocketAddr| self.allow_private || address::is_public(found.ip());
        let addresses: Vec<SocketAddr> = found.iter().filter(usable).copied().collect();
        match (addresses.is_empty(), found.is_empty()) {
            (false, _) => Ok(addresses),
            (true, true) => Err(NoAddress::Unknown),
            (true, false) => Err(NoAddress::Private),
        }
    }

    /// What is under way for `name`, begun if need be.
    fn pending(&self, name: &str) -> Result<Pending, NoAddress> {
        let mut under_way = self.lock();
        if let Some(pending) = under_way.get(name) {
            return Ok(pending.clone());
        }
        let (done, pending) = watch::channel(None);
        let (this, name_there) = (self.clone(), name.to_owned());
        let started = thread::Builder::new().name("lookup".to_owned()).spawn(move || {
            let found = (this.system)(&name_there).unwrap_or_default();
            this.lock().remove(&name_there);
            done.send_replace(Some(found.into()));
        });
        started.map_err(|_| NoAddress::Unknown)?;
        under_way.insert(name.to_owned(), pending.clone());
        Ok(pending)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The port is the URL's; zero means that.
fn ask_system(name: &str) -> Option<Vec<SocketAddr>> {
    Some((name, 0).to_socket_addrs().ok()?.collect())
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = this.find(name.as_str()).await?;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn addresses(name: &str) -> Option<Vec<SocketAddr>> {
        let list = match name {
            "mixed" => ["169.254.169.254:0", "8.8.8.8:0", "[::1]:0"].to_vec(),
            "private" => ["10.0.0.1:0", "[fd00::1]:0"].to_vec(),
            _ => return None,
        };
        Some(list.into_iter().map(|address| address.parse().unwrap()).collect())
    }

    #[tokio::test]
    async fn only_public_addresses_are_used() {
        let public = Lookup::answering(false, addresses);
        assert_eq!(public.find("mixed").await.unwrap(), ["8.8.8.8:0".parse().unwrap()]);
        assert_eq!(public.find("private").await, Err(NoAddress::Private));
        assert_eq!(public.find("nobody").await, Err(NoAddress::Unknown));
        assert_eq!(Lookup::answering(true, addresses).find("private").await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn this_machine_by_its_own_name_is_not_public() {
        assert_eq!(Lookup::new(false).find("localhost").await, Err(NoAddress::Private));
        assert!(Lookup::new(true).find("localhost").await.is_ok());
    }

    static ASKED: AtomicUsize = AtomicUsize::new(0);

    #[tokio::test]
    async fn a_name_server_that_does_not_answer_holds_up_one_thread_for_a_name() {
        let black_hole = Lookup::answering(true, |name| {
            if name == "hole" {
                ASKED.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_secs(20));
            }
            addresses(name)
        });
        for _ in 0..50 {
            let patience = Duration::from_millis(2);
            let answer = tokio::time::timeout(patience, black_hole.find("hole")).await;
            assert!(answer.is_err());
        }
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        assert!(black_hole.find("mixed").await.is_ok(), "other names are found meanwhile");
    }
}

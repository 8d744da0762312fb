//! Asking for a probe now, and waiting for what the provider says.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::pool::{KeyId, ProbeVerdict};

/// Where to ask for a probe now. Clones lead to the same prober.
#[derive(Clone, Debug)]
pub struct Probes(mpsc::Sender<AskedProbe>);

/// The prober's end: what it was asked.
#[derive(Debug)]
pub struct AskedProbes(mpsc::Receiver<AskedProbe>);

/// A probe that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probed {
    /// What the provider said.
    pub verdict: ProbeVerdict,
    /// How long it took.
    pub took: Duration,
}

/// Why a key was not probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotProbed {
    /// There is no such key.
    NoSuchKey,
    /// It has no secret.
    NoSecret,
    /// Its provider has no request that costs nothing.
    NoProbe,
}

/// Who waits for a probe.
pub(super) type Waiter = oneshot::Sender<Result<Probed, NotProbed>>;

/// A key that is to be probed now, and who waits for it.
#[derive(Debug)]
pub(super) struct AskedProbe {
    pub(super) key_id: KeyId,
    pub(super) waiter: Waiter,
}

/// How many may ask before the others wait for their turn.
const ROOM: usize = 16;

/// The two ends of asking for probes.
pub fn probes() -> (Probes, AskedProbes) {
    let (sender, receiver) = mpsc::channel(ROOM);
    (Probes(sender), AskedProbes(receiver))
}

impl Probes {
    /// Has `key_id` probed once, now; none if the daemon stops first.
    pub async fn probe(&self, key_id: KeyId) -> Option<Result<Probed, NotProbed>> {
        let (waiter, probed) = oneshot::channel();
        self.0.send(AskedProbe { key_id, waiter }).await.ok()?;
        probed.await.ok()
    }
}

impl AskedProbes {
    pub(super) async fn next(&mut self) -> Option<AskedProbe> {
        self.0.recv().await
    }
}

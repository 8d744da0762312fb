//! The ledger in Redis: one script an operation.
//!
//! Every name is under one hash tag, so that a cluster keeps them in one place, and has the
//! version of the layout in it. Nothing of it is a secret.

use std::time::Duration;

use redis::Script;

use super::link::{Link, Place, Trouble};
use super::sharer::Sharing;
use super::wire::{Message, Reply, Request};

/// How often the server says that there is no message.
const POLL: Duration = Duration::from_secs(20);

/// The scripts of the operations.
pub(super) struct Scripts {
    pub(super) join: Script,
    pub(super) sync: Script,
    pub(super) take: Script,
    pub(super) release: Script,
    pub(super) tell: Script,
    pub(super) fleet: Script,
}

macro_rules! operation {
    ($name:literal) => {
        Script::new(concat!(include_str!("lua/ledger.lua"), include_str!(concat!("lua/", $name))))
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            join: operation!("join.lua"),
            sync: operation!("sync.lua"),
            take: operation!("take.lua"),
            release: operation!("release.lua"),
            tell: operation!("tell.lua"),
            fleet: operation!("fleet.lua"),
        }
    }
}

/// What every name of a pool begins with: the hash tag, and the version of the layout.
fn prefix(pool: &str) -> String {
    format!("keypool:{{{pool}}}:1:")
}

/// The ledger of one pool.
pub(super) struct Ledger {
    link: Link,
    keys: Vec<String>,
    prefix: String,
}

impl Ledger {
    pub(super) async fn connect(sharing: &Sharing) -> Result<Self, Trouble> {
        let place = Place::new(&sharing.redis_url);
        let link = place.connect(sharing.redis_timeout, sharing.redis_timeout).await?;
        let prefix = prefix(&sharing.pool);
        let names = ["ledger", "daemons", "groups", "parcels", "days", "marks", "mail"];
        let keys = names.iter().map(|name| format!("{prefix}{name}")).collect();
        Ok(Self { link, keys, prefix })
    }

    /// Does one operation, which may take `most`. One that takes longer may have been done or not.
    pub(super) async fn call(
        &mut self,
        script: &Script,
        request: &Request<'_>,
        most: Duration,
    ) -> Result<Reply, Trouble> {
        let mut invocation = script.prepare_invoke();
        for key in &self.keys {
            invocation.key(key);
        }
        for other in request.others {
            invocation.key(self.inbox(other));
        }
        let request = serde_json::to_string(request).map_err(|_| Trouble::Garbage)?;
        invocation.arg(request);
        let run = tokio::time::timeout(most, self.link.run(&invocation));
        let reply = run.await.map_err(|_| Trouble::Timeout)??;
        serde_json::from_str(&reply).map_err(|_| Trouble::Garbage)
    }

    fn inbox(&self, id: &str) -> String {
        format!("{}inbox:{id}", self.prefix)
    }
}

/// The messages for one daemon.
pub(super) struct Inbox {
    link: Link,
    key: String,
}

impl Inbox {
    pub(super) async fn connect(sharing: &Sharing, id: &str) -> Result<Self, Trouble> {
        // The server answers when there is a message, or after so long.
        let most = POLL + sharing.redis_timeout;
        let link = Place::new(&sharing.redis_url).connect(sharing.redis_timeout, most).await?;
        Ok(Self { link, key: format!("{}inbox:{id}", prefix(&sharing.pool)) })
    }

    /// The next message; none when there was none for a while.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Trouble> {
        let mut wait = redis::cmd("BLPOP");
        wait.arg(&self.key).arg(POLL.as_secs());
        let answer: Option<(String, String)> = self.link.ask(&wait).await?;
        let Some((_, message)) = answer else { return Ok(None) };
        // What makes no sense is of another version, and is passed over.
        Ok(Some(serde_json::from_str(&message).unwrap_or_default()))
    }
}

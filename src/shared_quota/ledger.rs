//! The ledger in Redis: one script an operation.
//!
//! Every name is under one hash tag, so that a cluster keeps them in one place, and has the
//! version of the layout in it. Nothing of it is a secret.

use std::fmt;
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

/// The layout of the ledger that this version of keypool speaks. It grows with every change that a
/// daemon of another version would misread.
pub const LAYOUT: u32 = 1;

/// The name of `what` in a pool, which is under one hash tag; with the layout, unless it is the
/// same in all of them.
fn name(sharing: &Sharing, what: &str) -> String {
    let Sharing { pool, layout, .. } = sharing;
    match what {
        "days" | "layouts" => format!("keypool:{{{pool}}}:{what}"),
        what => format!("keypool:{{{pool}}}:{layout}:{what}"),
    }
}

/// The ledger of one pool.
#[derive(Clone)]
pub(super) struct Ledger {
    link: Link,
    keys: Vec<String>,
    inbox: String,
    layout: String,
}

/// A connection with the server that has the pool, whose answers take at most `answer`.
async fn connect(sharing: &Sharing, answer: Duration) -> Result<Link, Trouble> {
    let layouts = name(sharing, "layouts");
    Place::new(&sharing.redis_url, &layouts).connect(sharing.redis_timeout, answer).await
}

impl Ledger {
    pub(super) async fn connect(sharing: &Sharing) -> Result<Self, Trouble> {
        let link = connect(sharing, sharing.redis_timeout).await?;
        let names = ["ledger", "daemons", "groups", "parcels", "days", "marks", "mail", "layouts"];
        let keys = names.iter().map(|what| name(sharing, what)).collect();
        let (inbox, layout) = (name(sharing, "inbox"), sharing.layout.to_string());
        Ok(Self { link, keys, inbox, layout })
    }

    /// Does one operation, which may take `most`. One that takes longer may have been done or not.
    pub(super) async fn call(
        &mut self,
        script: &Script,
        request: Request<'_>,
        most: Duration,
    ) -> Result<Reply, Trouble> {
        let mut invocation = script.prepare_invoke();
        for key in &self.keys {
            invocation.key(key);
        }
        for other in request.others {
            invocation.key(format!("{}:{other}", self.inbox));
        }
        let request = Request { layout: &self.layout, ..request };
        let request = serde_json::to_string(&request).map_err(|_| Trouble::Garbage)?;
        invocation.arg(request);
        let run = tokio::time::timeout(most, self.link.run(&invocation));
        let reply = run.await.map_err(|_| Trouble::Timeout)??;
        serde_json::from_str(&reply).map_err(|_| Trouble::Garbage)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("keys", &self.keys).finish_non_exhaustive()
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
        let link = connect(sharing, most).await?;
        Ok(Self { link, key: format!("{}:{id}", name(sharing, "inbox")) })
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

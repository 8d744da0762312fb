//! Watching the files of the configuration: a change of what they say becomes a
//! [`Control::Reload`].
//!
//! The truth is a look at every file ([`Looks`]): at least every second, and at once when inotify
//! says that something has happened in one of the directories on the way to a file. Looks are
//! compared with what the last reload found, which it tells here; so a file that is touched or
//! read is no change, and nothing that happens between a reload and the next look is missed.
//!
//! A change is taken once two looks in a row agree, and a file that was emptied or taken away has
//! a second to come back: that is how editors save.

mod directories;
mod look;
mod sentry;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use self::sentry::Sentry;
use crate::clock::Clock;
use crate::control::{Control, Controls};
use crate::pool::Instant;

pub use look::{Look, Looks};

/// How often the files are looked at when inotify says nothing. Short enough for a change to
/// serve within the two seconds that are promised where inotify sees nothing, as on NFS.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a change must rest before it is taken.
const REST: Duration = Duration::from_millis(100);

/// How long a change that does not rest, and a file that is gone or empty, are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// How files are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The kernel tells of changes, and the files are looked at.
    InotifyAndPoll,
    /// The files are looked at.
    Poll,
}

impl Mode {
    /// The name used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InotifyAndPoll => "inotify and poll",
            Self::Poll => "poll",
        }
    }
}

/// Watches files until the daemon stops.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    controls: Controls,
    /// The files, and how they looked to the last reload.
    known: watch::Receiver<Arc<Looks>>,
    mode: watch::Sender<Mode>,
}

/// A change that has been seen and not been taken.
struct Unsettled {
    since: Instant,
    looks: Looks,
}

impl Watch {
    /// Will send [`Control::Reload`] when the files look otherwise than `known` says, and say in
    /// `mode` how it sees that.
    pub fn new(
        clock: Clock,
        controls: Controls,
        known: watch::Receiver<Arc<Looks>>,
        mode: watch::Sender<Mode>,
    ) -> Self {
        Self { clock, controls, known, mode }
    }

    /// Watches until `stop`.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.watch() => ended,
        }
    }

    async fn watch(mut self) -> io::Result<()> {
        let bell = Arc::new(Notify::new());
        let mut sentry = Sentry::new(bell.clone());
        let mut unsettled = None;
        loop {
            let known = self.known.borrow_and_update().clone();
            let now = self.clock.now().at;
            let looks;
            (sentry, looks) = look_around(sentry, known.clone(), now).await?;
            self.mode.send_if_modified(|mode| std::mem::replace(mode, sentry.mode()) != *mode);

            if looks.read_as(&known) {
                unsettled = None;
                tokio::select! {
                    known = self.known.changed() => known.map_err(io::Error::other)?,
                    () = bell.notified() => self.clock.sleep(REST).await,
                    () = self.clock.sleep(INTERVAL) => {}
                }
                continue;
            }
            if takes(unsettled.as_ref(), &looks, &known, now) {
                unsettled = None;
                self.controls.send(Control::Reload);
                self.known.changed().await.map_err(io::Error::other)?;
            } else {
                let since = unsettled.map_or(now, |before: Unsettled| before.since);
                unsettled = Some(Unsettled { since, looks });
                self.clock.sleep(REST).await;
            }
        }
    }
}

/// Whether the change from `known` to `looks` can be taken as it is.
fn takes(before: Option<&Unsettled>, looks: &Looks, known: &Looks, now: Instant) -> bool {
    let rests = before.is_some_and(|before| before.looks == *looks);
    let waited = before.map_or(Duration::ZERO, |before| now.since(before.since));
    waited >= PATIENCE || (rests && !looks.have_lost(known))
}

/// Looks at the files of `known`, after making sure that what happens later is told.
async fn look_around(
    mut sentry: Sentry,
    known: Arc<Looks>,
    now: Instant,
) -> io::Result<(Sentry, Looks)> {
    let looked = spawn_blocking(move || {
        let paths: Vec<PathBuf> = known.paths().map(ToOwned::to_owned).collect();
        sentry.guard(&paths, now);
        (sentry, Looks::at(paths))
    });
    looked.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests;

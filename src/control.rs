//! What operators and the system ask of the running daemon, as messages, and what came of it.
//!
//! Who asks never waits for room: requests to reload that are not begun yet are one reload, and to
//! stop twice is to stop.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::pool::KeyChanges;

mod edit;

pub use edit::{EditOutcome, KeysEdit, NotEdited};

/// What the daemon is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// Read the configuration and the secrets anew.
    Reload,
    /// Finish what has begun, and stop.
    Stop,
}

/// What came of a reload, whoever asked for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReloadOutcome {
    /// Everything reads as before.
    Unchanged,
    /// What was read is in use.
    Applied {
        /// The keys that came, went, and changed; a key whose secret is another has changed.
        keys: KeyChanges,
        /// Settings that are read otherwise than they are in use, because they need a restart.
        needs_restart: Vec<&'static str>,
    },
    /// What was read is not valid; what was in use stays in use.
    Kept {
        /// Every error with its place.
        errors: Vec<String>,
    },
    /// Nothing has changed but settings that need a restart.
    NeedsRestart {
        /// Their names.
        settings: Vec<&'static str>,
    },
}

impl ReloadOutcome {
    /// Every name that [`ReloadOutcome::name`] gives.
    pub const NAMES: [&'static str; 4] = ["unchanged", "applied", "kept", "needs_restart"];

    /// The name used in JSON and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Applied { .. } => "applied",
            Self::Kept { .. } => "kept",
            Self::NeedsRestart { .. } => "needs_restart",
        }
    }
}

/// Where to send what the daemon is asked to do. Clones lead to the same daemon.
#[derive(Clone, Debug)]
pub struct Controls {
    reloads: mpsc::Sender<Asker>,
    edits: mpsc::Sender<AskedEdit>,
    stop: CancellationToken,
}

/// The daemon's end: what it was asked.
#[derive(Debug)]
pub struct Asked {
    reloads: mpsc::Receiver<Asker>,
    edits: Option<AskedEdits>,
    stop: CancellationToken,
}

/// Who asked for a reload; none if nobody waits for the outcome.
type Asker = Option<oneshot::Sender<Arc<ReloadOutcome>>>;

/// How many may ask for the next reload before the others wait for their turn.
const ROOM: usize = 16;

/// The two ends of what a daemon is asked.
pub fn controls() -> (Controls, Asked) {
    let (sender, receiver) = mpsc::channel(ROOM);
    let (edits, asked) = mpsc::channel(ROOM);
    let stop = CancellationToken::new();
    (
        Controls { reloads: sender, edits, stop: stop.clone() },
        Asked { reloads: receiver, edits: Some(AskedEdits(asked)), stop },
    )
}

impl Controls {
    /// Asks, and does not wait. A daemon that has ended does not hear it.
    pub fn send(&self, control: Control) {
        match control {
            // It fails if so many have asked that the next reload is certain.
            Control::Reload => drop(self.reloads.try_send(None)),
            Control::Stop => self.stop.cancel(),
        }
    }

    /// Asks for a reload and waits for what comes of it; none if the daemon stops first.
    pub async fn reload(&self) -> Option<Arc<ReloadOutcome>> {
        let (asker, outcome) = oneshot::channel();
        self.reloads.send(Some(asker)).await.ok()?;
        outcome.await.ok()
    }

    /// Asks for a change of the keys file, and waits until what came of it is in use; none if the
    /// daemon stops first.
    pub async fn edit(&self, edit: KeysEdit) -> Option<EditOutcome> {
        let (asker, outcome) = oneshot::channel();
        self.edits.send(AskedEdit { edit, asker }).await.ok()?;
        outcome.await.ok()
    }
}

impl Asked {
    /// Resolves once the daemon is asked to stop.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The changes of the keys file that are asked for; none if they were taken before.
    pub fn take_edits(&mut self) -> Option<AskedEdits> {
        self.edits.take()
    }

    /// The next reload, with everybody who has asked for it; none if nobody can ask any more.
    pub async fn reload(&mut self) -> Option<Askers> {
        let mut askers = Vec::from_iter(self.reloads.recv().await?);
        while let Ok(asker) = self.reloads.try_recv() {
            askers.extend(asker);
        }
        Some(Askers(askers))
    }
}

/// The changes of the keys file that are asked for.
#[derive(Debug)]
pub struct AskedEdits(mpsc::Receiver<AskedEdit>);

impl AskedEdits {
    /// The next one; none if nobody can ask any more.
    pub async fn next(&mut self) -> Option<AskedEdit> {
        self.0.recv().await
    }
}

/// A change of the keys file, and who waits for what comes of it.
#[derive(Debug)]
pub struct AskedEdit {
    /// The change.
    pub edit: KeysEdit,
    asker: oneshot::Sender<EditOutcome>,
}

impl AskedEdit {
    /// Tells what came of it.
    pub fn tell(self, outcome: EditOutcome) {
        // Who has gone does not want to know.
        self.asker.send(outcome).ok();
    }
}

/// Those who wait for the outcome of one reload.
#[derive(Debug)]
pub struct Askers(Vec<oneshot::Sender<Arc<ReloadOutcome>>>);

impl Askers {
    /// Tells everybody what came of it.
    pub fn tell(self, outcome: ReloadOutcome) {
        let outcome = Arc::new(outcome);
        for asker in self.0 {
            // Who has gone does not want to know.
            asker.send(outcome.clone()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_storm_of_requests_is_one_reload() {
        let (controls, mut asked) = controls();
        for _ in 0..1000 {
            controls.send(Control::Reload);
        }
        asked.reload().await.unwrap();
        assert!(asked.reloads.try_recv().is_err());
    }

    #[tokio::test]
    async fn everybody_who_waits_is_told_what_came_of_the_reload() {
        let (controls, mut asked) = controls();
        let daemon = async { asked.reload().await.unwrap().tell(ReloadOutcome::Unchanged) };
        let (one, other, ()) = tokio::join!(controls.reload(), controls.reload(), daemon);
        assert_eq!([one.as_deref(), other.as_deref()], [Some(&ReloadOutcome::Unchanged); 2]);
    }

    #[tokio::test]
    async fn who_waits_for_a_daemon_that_ends_is_told() {
        let (controls, asked) = controls();
        drop(asked);
        controls.send(Control::Reload);
        assert_eq!(controls.reload().await, None);
    }

    #[test]
    fn to_stop_twice_is_to_stop() {
        let (controls, asked) = controls();
        controls.send(Control::Stop);
        controls.send(Control::Stop);
        assert!(asked.stop().is_cancelled());
    }
}

//! Whether the client of a waiting request is still there.
//!
//! A client that closes its side for writing still wants its answer, and to the reader that looks
//! like one that has gone. The kernel knows the difference: a socket whose peer has gone hangs up.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};

/// How often somebody looks.
const INTERVAL: Duration = Duration::from_millis(200);

/// The client of one connection.
#[derive(Clone, Debug)]
pub(super) struct Presence(Arc<OwnedFd>);

impl Presence {
    /// Watches over `stream`, however long it lives.
    pub(super) fn of(stream: &impl AsFd) -> io::Result<Self> {
        Ok(Self(Arc::new(stream.as_fd().try_clone_to_owned()?)))
    }

    /// Resolves once the client has gone.
    pub(super) async fn ends(&self) {
        while !self.has_ended() {
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Takes nothing more from the client. What it has sent is still read; on a Unix socket it
    /// cannot send more, and so knows that nobody has heard it.
    pub(super) fn hears_no_more(&self) {
        // A client that has gone says nothing more either.
        shutdown(&*self.0, Shutdown::Read).ok();
    }

    fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&*self.0, PollFlags::empty())];
        let at_once = Timespec::default();
        let polled = poll(&mut fds, Some(&at_once));
        polled.is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

//! Who is at the other end of a connection, as the kernel says.

use tokio::net::UnixStream;

use super::problem::Problem;
use super::service::Service;
use crate::telemetry::metrics::Denial;

/// The superuser.
const ROOT: u32 = 0;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Peer {
    /// The user that connected; none if the kernel does not say.
    uid: Option<u32>,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        Self { uid: stream.peer_cred().ok().map(|peer| peer.uid()) }
    }

    /// Refuses all but the daemon's own user and root.
    pub(super) fn administers(self, service: &Service) -> Result<(), Problem> {
        if self.is_one_of(&[service.uid, ROOT]) {
            Ok(())
        } else {
            service.metrics.denied(Denial::Administration);
            Err(Problem::not_administrator())
        }
    }

    fn is_one_of(self, uids: &[u32]) -> bool {
        self.uid.is_some_and(|uid| uids.contains(&uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_known_by_its_user() {
        assert!(Peer { uid: Some(1000) }.is_one_of(&[1000, ROOT]));
        assert!(Peer { uid: Some(0) }.is_one_of(&[1000, ROOT]));
        assert!(!Peer { uid: Some(1001) }.is_one_of(&[1000, ROOT]));
        assert!(!Peer { uid: None }.is_one_of(&[1000, ROOT]));
    }

    #[tokio::test]
    async fn the_kernel_says_who_connected() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(Peer::of(&ours).uid, Some(rustix::process::geteuid().as_raw()));
    }
}

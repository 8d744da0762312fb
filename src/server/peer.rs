//! Who is at the other end of a connection, as the kernel says.

use tokio::net::UnixStream;

use super::membership;
use super::problem::Problem;
use super::service::Service;
use crate::telemetry::metrics::Denial;

/// Who is at the other end of a connection, as of its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Peer {
    /// The user that connected; none if the kernel does not say.
    pub(super) uid: Option<u32>,
    /// Its primary group.
    pub(super) gid: Option<u32>,
    /// The process; 0 in another PID namespace.
    pub(super) pid: Option<i32>,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        let peer = stream.peer_cred().ok();
        Self {
            uid: peer.map(|peer| peer.uid()),
            gid: peer.map(|peer| peer.gid()),
            pid: peer.and_then(|peer| peer.pid()),
        }
    }

    /// Refuses who may not call, and counts it.
    pub(super) fn calls(self, service: &Service) -> bool {
        let admitted = service.callers.admit(self);
        if !admitted {
            service.metrics.denied(Denial::Uid);
            tracing::debug!(uid = self.uid, pid = self.pid, "a caller is denied");
        }
        admitted
    }

    /// Refuses all but administrators.
    pub(super) fn administers(self, service: &Service) -> Result<(), Problem> {
        if service.callers.administer(self) {
            Ok(())
        } else {
            service.metrics.denied(Denial::Administration);
            Err(Problem::not_administrator())
        }
    }

    pub(super) fn is_one_of(self, uids: &[u32]) -> bool {
        self.uid.is_some_and(|uid| uids.contains(&uid))
    }

    /// Whether it is in one of `groups`.
    pub(super) fn is_in(self, groups: &[u32]) -> bool {
        if groups.is_empty() {
            return false;
        }
        self.gid.is_some_and(|gid| groups.contains(&gid))
            || self.uid.is_some_and(|uid| membership::is_in(groups, uid, self.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_known_by_its_user() {
        let peer = |uid| Peer { uid, gid: None, pid: None };
        assert!(peer(Some(1000)).is_one_of(&[1000, 0]));
        assert!(!peer(Some(1001)).is_one_of(&[1000, 0]));
        assert!(!peer(None).is_one_of(&[1000, 0]));
    }

    #[test]
    fn a_peer_of_another_pid_namespace_is_known_by_its_primary_group() {
        let peer = Peer { uid: Some(4_000_000_000), gid: Some(70), pid: Some(0) };
        assert!(peer.is_in(&[70]));
        assert!(!peer.is_in(&[71]) && !peer.is_in(&[]));
    }

    #[tokio::test]
    async fn the_kernel_says_who_connected() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours);
        assert_eq!(peer.uid, Some(rustix::process::geteuid().as_raw()));
        assert_eq!(peer.gid, Some(rustix::process::getegid().as_raw()));
        assert_eq!(peer.pid, i32::try_from(std::process::id()).ok());
    }
}

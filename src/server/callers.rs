//! Who may call, and who may administer.
//!
//! The mode of the socket is the kernel's first word on it. Lists of users and groups narrow that;
//! without any, a mode that lets everybody connect is narrowed to the daemon's own user, root and
//! the socket's group. Who is refused gets no byte.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::sockopt::socket_peercred;

use super::membership;
use super::peer::Peer;

/// The superuser.
const ROOT: u32 = 0;

/// What the kernel says in the place of users and groups that a namespace hides.
const OVERFLOW: u32 = 65534;

/// A namespace of fewer users hides those of an ordinary system.
const ORDINARY: u64 = 65536;

/// Who may call, as it is configured.
#[derive(Clone, Debug, Default)]
pub struct CallerSettings {
    /// The only users, if any are named here or in `gids`.
    pub uids: Vec<u32>,
    /// The only groups, if any are named here or in `uids`.
    pub gids: Vec<u32>,
    /// The group whose members may administer, by name or number.
    pub admin_group: Option<String>,
}

/// Who may call the daemon at one socket.
#[derive(Debug)]
pub struct Callers {
    /// The user that the daemon runs as.
    uid: u32,
    socket: PathBuf,
    /// The socket's group at the start.
    group: Option<u32>,
    uids: Vec<u32>,
    gids: Vec<u32>,
    administrators: Option<u32>,
}

/// Why callers cannot be told apart.
#[derive(Debug, thiserror::Error)]
pub enum CallersError {
    /// No such group.
    #[error("there is no group {0}; name another under [server] admin_group")]
    NoSuchGroup(String),
    /// The kernel does not say who calls.
    #[error(
        "the daemon runs in a user namespace that hides the users of this machine, so it cannot \
         tell who calls; leave out PrivateUsers= (or set it to identity), or keep the socket for \
         the daemon's own user with [server] mode = \"0600\""
    )]
    HiddenUsers,
    /// The kernel said no.
    #[error("cannot find out who the daemon itself is to others: {0}")]
    Io(io::Error),
}

impl Callers {
    /// Who may call at `socket`, which is there, a daemon of the user `uid`.
    pub fn new(settings: CallerSettings, socket: &Path, uid: u32) -> Result<Self, CallersError> {
        let CallerSettings { uids, gids, admin_group } = settings;
        let number = |name: String| membership::gid(&name).ok_or(CallersError::NoSuchGroup(name));
        let administrators = admin_group.map(number).transpose()?;
        let found = fs::metadata(socket).ok();
        let own_alone = found.as_ref().is_some_and(|found| !lets_in(found.mode(), 0o077));
        if !own_alone || !uids.is_empty() || !gids.is_empty() || administrators.is_some() {
            let map = |name| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
            if hides(&map("uid_map")) || hides(&map("gid_map")) || own_peer()? != uid {
                return Err(CallersError::HiddenUsers);
            }
        }
        let group = found.map(|found| found.gid());
        Ok(Self { uid, socket: socket.to_owned(), group, uids, gids, administrators })
    }

    /// Whether `peer` is served at all. The kernel has let it connect.
    pub(super) fn admit(&self, peer: Peer) -> bool {
        if self.administer(peer) {
            return true;
        }
        if self.uids.is_empty() && self.gids.is_empty() {
            let group: Vec<u32> = self.group.into_iter().collect();
            return self.is_kept() || peer.is_in(&group);
        }
        peer.is_one_of(&self.uids) || peer.is_in(&self.gids)
    }

    /// Whether `peer` may administer.
    pub(super) fn administer(&self, peer: Peer) -> bool {
        let group: Vec<u32> = self.administrators.into_iter().collect();
        peer.is_one_of(&[self.uid, ROOT]) || peer.is_in(&group)
    }

    /// Whether the socket is closed to everybody else. Then the kernel has looked at the groups of
    /// who connected, and has seen more of them than we could.
    fn is_kept(&self) -> bool {
        fs::metadata(&self.socket).is_ok_and(|socket| !lets_in(socket.mode(), 0o002))
    }
}

/// Whether `mode` has any of the bits of `others`.
fn lets_in(mode: u32, others: u32) -> bool {
    mode & others != 0
}

/// Whether a namespace with this map hides users of an ordinary system. A kernel without
/// namespaces has no map.
fn hides(map: &str) -> bool {
    let count = |line: &str| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok();
    let mapped: u64 = map.lines().filter_map(count).fold(0, u64::saturating_add);
    !map.is_empty() && mapped < ORDINARY
}

/// Who the daemon itself is to a peer.
fn own_peer() -> Result<u32, CallersError> {
    let (ours, _theirs) = UnixStream::pair().map_err(CallersError::Io)?;
    let peer = socket_peercred(&ours).map_err(|error| CallersError::Io(error.into()))?;
    match peer.uid.as_raw() {
        OVERFLOW if rustix::process::geteuid().as_raw() != OVERFLOW => {
            Err(CallersError::HiddenUsers)
        }
        uid => Ok(uid),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// The group of nobody.
    const GROUP: u32 = 4_000_000_001;

    struct Socket(tempfile::TempDir);

    impl Socket {
        fn new(mode: u32) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("keypool.sock");
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Self(dir)
        }

        /// Callers of a daemon of the user 999 whose socket has the group [`GROUP`].
        fn callers(&self, uids: &[u32], gids: &[u32]) -> Callers {
            Callers {
                uid: 999,
                socket: self.0.path().join("keypool.sock"),
                group: Some(GROUP),
                uids: uids.to_vec(),
                gids: gids.to_vec(),
                administrators: Some(GROUP + 1),
            }
        }
    }

    fn peer(uid: u32, gid: u32) -> Peer {
        Peer { uid: Some(uid), gid: Some(gid), pid: None }
    }

    #[test]
    fn an_open_socket_is_narrowed_to_its_own_user_root_and_its_group() {
        let callers = Socket::new(0o666);
        let callers = callers.callers(&[], &[]);
        for (uid, gid) in [(999, 5), (0, 5), (4_000_000_000, GROUP), (4_000_000_000, GROUP + 1)] {
            assert!(callers.admit(peer(uid, gid)), "{uid}:{gid}");
        }
        assert!(!callers.admit(peer(4_000_000_000, 5)));
        assert!(!callers.admit(Peer { uid: None, gid: None, pid: None }));
    }

    #[test]
    fn the_kernel_has_looked_at_who_connects_to_a_closed_socket() {
        let socket = Socket::new(0o660);
        assert!(socket.callers(&[], &[]).admit(peer(4_000_000_000, 5)));
        assert!(!socket.callers(&[7], &[]).admit(peer(4_000_000_000, 5)));
    }

    #[test]
    fn lists_are_all_who_may_call_beside_administrators() {
        let socket = Socket::new(0o666);
        let callers = socket.callers(&[4_000_000_007], &[GROUP + 2]);
        assert!(callers.admit(peer(4_000_000_007, 5)));
        assert!(callers.admit(peer(4_000_000_008, GROUP + 2)));
        assert!(callers.admit(peer(999, 5)) && callers.admit(peer(0, 5)));
        assert!(callers.admit(peer(4_000_000_008, GROUP + 1)));
        assert!(!callers.admit(peer(4_000_000_008, GROUP)), "the socket's group is not listed");
    }

    #[test]
    fn own_user_root_and_the_group_of_administrators_administer() {
        let socket = Socket::new(0o666);
        let callers = socket.callers(&[1000], &[GROUP]);
        for (uid, gid) in [(999, 5), (0, 5), (4_000_000_000, GROUP + 1)] {
            assert!(callers.administer(peer(uid, gid)), "{uid}:{gid}");
        }
        assert!(!callers.administer(peer(1000, GROUP)));
    }

    #[test]
    fn a_map_of_few_users_hides_the_others() {
        assert!(!hides("         0          0 4294967295\n"));
        assert!(!hides("0 1000 1\n1 100000 65536\n"));
        assert!(!hides(""));
        assert!(hides("0 0 1\n"));
        assert!(hides("0 0 1\n999 999 1\n"));
    }

    #[test]
    fn a_group_that_does_not_exist_is_an_error() {
        let settings = CallerSettings {
            admin_group: Some("no-such-group".into()),
            ..CallerSettings::default()
        };
        let error = Callers::new(settings, Path::new("/"), 0).unwrap_err();
        assert!(error.to_string().contains("no-such-group"));
    }
}

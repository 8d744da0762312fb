//! Making the Unix socket: without a moment in which others may connect, and without taking the
//! place of a daemon that is alive. Or taking one that others have made and keep.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Gid, Mode, chmod, chown, fchmod, flock};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use super::membership;

/// Where the socket is and who may use it.
#[derive(Clone, Debug)]
pub struct SocketSettings {
    /// Its path.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Its group, by name or number.
    pub group: Option<String>,
}

/// A socket that no other daemon listens on.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    socket: StdListener,
    /// The file of the socket, if we have made it.
    own: Option<OwnFile>,
}

/// The file of a socket. Dropping it removes it.
#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    inode: u64,
    /// Held for as long as the socket is ours.
    _lock: File,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon has it.
    #[error("another keypool serves {0} already; stop it first, or choose another --socket")]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{0} is not a socket; remove it, or choose another --socket")]
    NotASocket(PathBuf),
    /// The kernel's addresses are short.
    #[error("the path {0} is too long for a socket: at most 107 bytes")]
    TooLong(PathBuf),
    /// Anybody could put another socket in its place.
    #[error("everybody can write to {0}, and so replace the socket; mend it with: chmod o-w {0}")]
    OpenDirectory(PathBuf),
    /// No such group.
    #[error("there is no group {0}; name another under [server] group")]
    NoSuchGroup(String),
    /// The kernel said no.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The most bytes in the path of a Unix socket, by `sockaddr_un`.
const MOST_PATH: usize = 107;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// The sticky bit: only owners may replace files in the directory.
const STICKY: u32 = 0o1000;

impl Listener {
    /// Listens at the path of `settings`. A socket file whose daemon is gone is replaced.
    pub fn new(settings: &SocketSettings) -> Result<Self, ListenError> {
        let path = &settings.path;
        if path.as_os_str().len() > MOST_PATH {
            return Err(ListenError::TooLong(path.clone()));
        }
        prepare_directory(path)?;
        let lock = lock(path)?;
        refuse_the_living(path)?;

        // The socket has its mode before it has a name, and its name before anybody knows it.
        let mode = Mode::from_raw_mode(settings.mode);
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        );
        let socket = socket.map_err(|error| failed("make", path, error))?;
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|error| failed("protect", path, error))?;
        let nameless = path.with_added_extension(format!("{}.tmp", std::process::id()));
        fs::remove_file(&nameless).ok();
        let address = SocketAddrUnix::new(&nameless);
        let address = address.map_err(|_| ListenError::TooLong(nameless.clone()))?;
        bind(&socket, &address).map_err(|error| failed("bind", &nameless, error))?;
        if let Some(group) = &settings.group {
            let gid = membership::gid(group).map(Gid::from_raw);
            let gid = Some(gid.ok_or_else(|| ListenError::NoSuchGroup(group.clone()))?);
            chown(&nameless, None, gid).map_err(|error| failed("chgrp", &nameless, error))?;
        }
        chmod(&nameless, mode).map_err(|error| failed("chmod", &nameless, error))?;
        listen(&socket, BACKLOG).map_err(|error| failed("listen at", &nameless, error))?;
        fs::rename(&nameless, path).map_err(|error| failed("name", path, error))?;

        let inode = fs::symlink_metadata(path).map_err(|error| failed("find", path, error))?.ino();
        let own = Some(OwnFile { path: path.clone(), inode, _lock: lock });
        Ok(Self { path: path.clone(), socket: socket.into(), own })
    }

    /// Listens on `socket`, which somebody else has made, non-blocking, and keeps when we end: who
    /// connects from then on is served by whom they pass it to next. Its file is left alone.
    pub fn passed(socket: StdListener) -> Self {
        let address = socket.local_addr().ok();
        let path = address.and_then(|address| address.as_pathname().map(Path::to_owned));
        Self { path: path.unwrap_or_default(), socket, own: None }
    }

    /// Whether somebody else keeps the socket when we end.
    pub fn is_passed(&self) -> bool {
        self.own.is_none()
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket itself, non-blocking.
    pub(super) fn socket(&self) -> io::Result<StdListener> {
        self.socket.try_clone()
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let ours = |found: fs::Metadata| found.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            fs::remove_file(&self.path).ok();
        }
    }
}

fn failed(doing: &'static str, path: &Path, error: impl Into<io::Error>) -> ListenError {
    ListenError::Io { doing, path: path.to_owned(), source: error.into() }
}

/// Makes the socket's directory if there is none, and refuses one that everybody can write.
fn prepare_directory(path: &Path) -> Result<(), ListenError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    if !directory.exists() {
        fs::create_dir_all(directory).map_err(|error| failed("make", directory, error))?;
        chmod(directory, Mode::from_raw_mode(0o755))
            .map_err(|error| failed("chmod", directory, error))?;
    }
    let mode = fs::metadata(directory).map_err(|error| failed("look at", directory, error))?.mode();
    if mode & 0o002 != 0 && mode & STICKY == 0 {
        return Err(ListenError::OpenDirectory(directory.to_owned()));
    }
    Ok(())
}

/// Takes the lock beside the socket, which one daemon can have at a time.
fn lock(path: &Path) -> Result<File, ListenError> {
    let name = path.with_added_extension("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&name);
    let file = file.map_err(|error| failed("open", &name, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ListenError::InUse(path.to_owned())),
        Err(error) => Err(failed("lock", &name, error)),
    }
}

/// Refuses to replace a socket that somebody answers on, and anything that is no socket.
fn refuse_the_living(path: &Path) -> Result<(), ListenError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path, error)),
    };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn settings(path: PathBuf) -> SocketSettings {
        SocketSettings { path, mode: 0o660, group: None }
    }

    #[test]
    fn makes_a_socket_with_its_mode_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/keypool.sock");
        let listener = Listener::new(&settings(path.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn leaves_a_living_socket_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keypool.sock");
        let first = Listener::new(&settings(path.clone())).unwrap();
        assert!(matches!(Listener::new(&settings(path.clone())), Err(ListenError::InUse(_))));
        UnixStream::connect(&path).unwrap();
        drop(first);
        let other = StdListener::bind(&path).unwrap();
        assert!(matches!(Listener::new(&settings(path)), Err(ListenError::InUse(_))));
        drop(other);
    }

    #[test]
    fn replaces_the_socket_of_a_daemon_that_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keypool.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = Listener::new(&settings(path.clone())).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn does_not_remove_what_is_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keypool.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::new(&settings(path.clone())), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn refuses_a_directory_that_everybody_can_write() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refused = Listener::new(&settings(dir.path().join("keypool.sock")));
        assert!(matches!(refused, Err(ListenError::OpenDirectory(_))));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        Listener::new(&settings(dir.path().join("keypool.sock"))).unwrap();
    }

    #[test]
    fn leaves_the_file_of_a_socket_that_was_passed_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keypool.sock");
        let kept = StdListener::bind(&path).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let listener = Listener::passed(kept.try_clone().unwrap());
        assert!(listener.is_passed());
        assert_eq!(listener.path(), path);
        drop(listener);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn refuses_a_path_that_the_kernel_would_cut() {
        let long = PathBuf::from("/tmp").join("x".repeat(108));
        assert!(matches!(Listener::new(&settings(long)), Err(ListenError::TooLong(_))));
    }

    #[test]
    fn refuses_a_group_that_does_not_exist() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keypool.sock");
        let settings = SocketSettings { group: Some("no-such-group".into()), ..settings(path) };
        assert!(matches!(Listener::new(&settings), Err(ListenError::NoSuchGroup(_))));
    }
}

//! Socket activation: the socket that systemd listens on and passes to the daemon it starts.
//!
//! The protocol of `sd_listen_fds(3)`: `LISTEN_FDS` descriptors from 3 on, for the process
//! `LISTEN_PID`, with the names `LISTEN_FDNAMES`.

use std::io;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use crate::secrets::Process;

/// The name of the API's socket, as `FileDescriptorName=` gives it.
const NAME: &str = "api";

/// Why a socket that was passed in cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// Which of them?
    #[error(
        "{count} sockets were passed in, and {named} of them are called {NAME}; set \
         FileDescriptorName={NAME} in the one socket unit of the API"
    )]
    Ambiguous {
        /// How many there are.
        count: usize,
        /// How many of them have the right name.
        named: usize,
    },
    /// Another kind of socket, or none.
    #[error("what was passed in is not a Unix stream socket that listens; use ListenStream=/…")]
    NotListening,
    /// The kernel said no.
    #[error("cannot take the socket that was passed in: {0}")]
    Io(io::ErrorKind),
}

/// The socket of the API, if one was passed to this process. It is made non-blocking, and it is
/// closed on exec, as are the descriptors beside it. The variables that announce them are gone
/// afterwards, so it finds them once; no other thread may run yet.
pub(crate) fn passed_socket(process: &Process) -> Result<Option<UnixListener>, ActivationError> {
    let number = |name| process.variable(name).and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) || number("LISTEN_FDS").unwrap_or(0) == 0 {
        return Ok(None);
    }
    let mut passed = ListenFd::from_env();
    let which = which(process.variable("LISTEN_FDNAMES"), passed.len())?;
    let socket = passed.take_unix_listener(which).map_err(|_| ActivationError::NotListening)?;
    // What nobody asks for is closed, if it can be: nobody would ever accept there.
    for other in (0..passed.len()).filter(|other| *other != which) {
        tracing::warn!("socket {other} of those passed in is not called {NAME}, and not used");
        drop((passed.take_unix_listener(other), passed.take_tcp_listener(other)));
    }
    let socket = socket.ok_or(ActivationError::NotListening)?;
    prepared(socket).map(Some)
}

/// The place of the API's socket among `count` with `names`: the one with the right name, or the
/// only one.
fn which(names: Option<&str>, count: usize) -> Result<usize, ActivationError> {
    if count == 1 {
        return Ok(0);
    }
    let names = names.unwrap_or_default().split(':').take(count).enumerate();
    let right: Vec<usize> = names.filter(|(_, name)| *name == NAME).map(|(at, _)| at).collect();
    match right[..] {
        [at] => Ok(at),
        _ => Err(ActivationError::Ambiguous { count, named: right.len() }),
    }
}

/// `socket`, if it listens, non-blocking.
fn prepared(socket: UnixListener) -> Result<UnixListener, ActivationError> {
    if !socket_acceptconn(&socket).unwrap_or(false) {
        return Err(ActivationError::NotListening);
    }
    socket.set_nonblocking(true).map_err(|error| ActivationError::Io(error.kind()))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use rustix::fs::{OFlags, fcntl_getfl};

    use super::*;

    #[test]
    fn the_only_socket_is_the_one_whatever_its_name() {
        assert_eq!(which(None, 1).unwrap(), 0);
        assert_eq!(which(Some("keypool.socket"), 1).unwrap(), 0);
    }

    #[test]
    fn of_several_the_one_called_api_is_taken() {
        assert_eq!(which(Some("admin:api:other"), 3).unwrap(), 1);
        for names in [None, Some("a:b"), Some("api:api"), Some(":")] {
            assert!(matches!(which(names, 2), Err(ActivationError::Ambiguous { .. })), "{names:?}");
        }
    }

    #[test]
    fn a_blocking_socket_is_made_non_blocking() {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixListener::bind(dir.path().join("api.sock")).unwrap();
        assert!(!fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK));
        let socket = prepared(socket).unwrap();
        assert!(fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK));
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let (stream, _other) = UnixStream::pair().unwrap();
        let refused = prepared(UnixListener::from(OwnedFd::from(stream)));
        assert!(matches!(refused, Err(ActivationError::NotListening)));
    }

    #[test]
    fn variables_for_another_process_mean_nothing() {
        let other = (std::process::id() + 1).to_string();
        let variables = [("LISTEN_PID".into(), other.into()), ("LISTEN_FDS".into(), "1".into())];
        assert!(passed_socket(&Process::new(variables)).unwrap().is_none());
        assert!(passed_socket(&Process::new([])).unwrap().is_none());
    }
}

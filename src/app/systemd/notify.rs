//! Telling systemd how the daemon is, by the protocol of `sd_notify(3)`.

use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

use crate::secrets::Process;

/// How the daemon is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// It serves, after its start or a reload.
    Ready,
    /// It reads its configuration anew.
    Reloading,
    /// It is about to end.
    Stopping,
    /// It is not stuck.
    Alive,
}

/// Tells systemd, if it wants to be told.
#[derive(Debug, Default)]
pub(crate) struct Notifier(Option<Connected>);

#[derive(Debug)]
struct Connected {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// Tells the socket that `process` was given, if it was given one.
    pub(crate) fn new(process: &Process) -> Self {
        let Some(name) = process.variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        let connected = address(name).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // A systemd that does not read must not stop the daemon.
            socket.set_nonblocking(true)?;
            Ok(Connected { socket, address })
        });
        match connected {
            Ok(connected) => Self(Some(connected)),
            Err(error) => {
                tracing::warn!(%error, "cannot tell systemd anything: NOTIFY_SOCKET is no use");
                Self(None)
            }
        }
    }

    /// Tells the state, and in `status` a sentence about it for people.
    pub(crate) fn tell(&self, state: &State, status: &str) {
        let Some(Connected { socket, address }) = &self.0 else { return };
        if let Err(error) = socket.send_to_addr(message(state, status).as_bytes(), address) {
            tracing::warn!(%error, "cannot tell systemd the state {state:?}");
        }
    }
}

/// A path, or after an `@` a name without a file.
fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

fn message(state: &State, status: &str) -> String {
    let mut message = match state {
        State::Ready => "READY=1\n".to_owned(),
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_micros()),
        State::Stopping => "STOPPING=1\n".to_owned(),
        State::Alive => "WATCHDOG=1\n".to_owned(),
    };
    // Nothing in it may look like a line of its own.
    let status = status.replace(char::is_control, " ");
    writeln!(message, "STATUS={status}").ok();
    message
}

/// The clock by which systemd tells a reload from an earlier one.
fn monotonic_micros() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier(name: &str) -> Notifier {
        Notifier::new(&Process::new([("NOTIFY_SOCKET".into(), name.into())]))
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let here = UnixDatagram::bind(&path).unwrap();
        notifier(path.to_str().unwrap()).tell(&State::Ready, "8 of 8 keys can serve");
        assert_eq!(heard(&here), "READY=1\nSTATUS=8 of 8 keys can serve\n");

        let name = format!("keypool-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let here = UnixDatagram::bind_addr(&address).unwrap();
        notifier(&format!("@{name}")).tell(&State::Stopping, "");
        assert_eq!(heard(&here), "STOPPING=1\nSTATUS=\n");
    }

    #[test]
    fn a_reload_has_its_time_on_the_monotonic_clock() {
        let before = monotonic_micros();
        let message = message(&State::Reloading, "reading");
        let time = message.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let time: i64 = time.unwrap().parse().unwrap();
        assert!(message.starts_with("RELOADING=1\n"), "{message}");
        assert!((before..=monotonic_micros()).contains(&time));
    }

    #[test]
    fn a_status_stays_in_its_line() {
        assert_eq!(message(&State::Alive, "a\nREADY=1"), "WATCHDOG=1\nSTATUS=a READY=1\n");
    }

    #[test]
    fn nobody_to_tell_is_no_failure() {
        Notifier::default().tell(&State::Ready, "");
        notifier("/nowhere/at/all").tell(&State::Ready, "");
        notifier("").tell(&State::Ready, "");
    }
}

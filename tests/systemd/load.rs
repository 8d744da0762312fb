//! Clients of a daemon in a machine.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// Sends a request on a connection of its own, and returns the status and the body.
pub(crate) fn send(
    socket: &Path,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(request(method, path, body).as_bytes())?;
    answer(stream)
}

/// A request that ends its connection.
pub(crate) fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The status and the body of the answer on `stream`.
pub(crate) fn answer(mut stream: UnixStream) -> io::Result<(u16, String)> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    Ok((status, body.unwrap_or_default()))
}

/// Clients that connect again and again, and ask one thing each time.
pub(crate) struct Load {
    counted: Arc<Counted>,
    clients: Vec<JoinHandle<()>>,
}

/// What became of the connections of a [`Load`].
#[derive(Debug, Default)]
pub(crate) struct Counted {
    ending: AtomicBool,
    /// Answered.
    pub(crate) served: AtomicU64,
    /// Connected, and closed without an answer.
    pub(crate) cut: AtomicU64,
    /// Not even connected.
    pub(crate) refused: AtomicU64,
}

impl Load {
    /// So many clients at `socket`.
    pub(crate) fn of(clients: usize, socket: &Path) -> Self {
        let counted = Arc::new(Counted::default());
        let client = |_| {
            let (counted, socket) = (counted.clone(), socket.to_owned());
            thread::spawn(move || {
                while !counted.ending.load(Ordering::Relaxed) {
                    counted.ask(&socket);
                }
            })
        };
        Self { clients: (0..clients).map(client).collect(), counted }
    }

    /// How many were served so far.
    pub(crate) fn served(&self) -> u64 {
        self.counted.served.load(Ordering::Relaxed)
    }

    /// Ends it, and tells how many were served, cut and refused.
    pub(crate) fn end(self) -> (u64, u64, u64) {
        self.counted.ending.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.counted.served), count(&self.counted.cut), count(&self.counted.refused))
    }
}

impl Counted {
    fn ask(&self, socket: &Path) {
        let counter = match UnixStream::connect(socket) {
            Err(_) => &self.refused,
            Ok(mut stream) => {
                let asked = stream.write_all(request("GET", "/livez", "").as_bytes());
                match asked.and_then(|()| answer(stream)) {
                    Ok((200, _)) => &self.served,
                    Ok(_) | Err(_) => &self.cut,
                }
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

//! A wire with a listener on it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes everything on to a server, and keeps it.
pub(crate) struct Tap {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<u8>>>,
    answered: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    pub(crate) fn on(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answered) = (Arc::default(), Arc::default());
        let tap = Self { address, asked: Arc::clone(&asked), answered: Arc::clone(&answered) };
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(server) else { continue };
                let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
                let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
                thread::spawn(move || pass(near, far, &asked));
                thread::spawn(move || pass(back.0, back.1, &answered));
            }
        });
        tap
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have begun with `beginning`.
    pub(crate) fn requests(&self, beginning: &str) -> usize {
        String::from_utf8_lossy(&self.asked.lock().unwrap()).matches(beginning).count()
    }

    /// The values of the member `name` in the answers.
    pub(crate) fn answered(&self, name: &str) -> Vec<String> {
        let answered = String::from_utf8_lossy(&self.answered.lock().unwrap()).into_owned();
        let member = format!("\"{name}\":\"");
        let values = answered.split(&member).skip(1);
        values.map(|value| value.split('"').next().unwrap().to_owned()).collect()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut piece = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        kept.lock().unwrap().extend_from_slice(&piece[..length]);
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    to.shutdown(std::net::Shutdown::Both).ok();
}

//! Servers that are none.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

/// Answers everything with `answer`, in pieces of `piece` bytes with a pause between them.
pub(crate) fn canned(answer: Vec<u8>, piece: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let mut asked = [0; 4096];
                if !matches!(stream.read(&mut asked), Ok(1..)) {
                    return;
                }
                for piece in answer.chunks(piece) {
                    // Whoever asked may have left.
                    if stream.write_all(piece).is_err() {
                        break;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
    });
    address
}

/// Accepts connections and says nothing, as long as the listener lives.
pub(crate) fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

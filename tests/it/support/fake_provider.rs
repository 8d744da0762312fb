//! A provider on loopback that records what it is asked.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How the provider answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// As Gemini does: 200, or 400 with `API_KEY_INVALID` for a key it rejects.
    Honest,
    /// With this status and header lines.
    Status(u16, String),
    /// Never.
    Hang,
    /// With one byte every 20 ms.
    Drip,
    /// With a body that does not end.
    EndlessBody,
    /// With a head that does not end.
    EndlessHead,
}

/// A provider on loopback. Dropping it stops it.
pub(crate) struct FakeProvider {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    heads: Mutex<Vec<String>>,
    rejected: Mutex<BTreeSet<String>>,
    manner: Mutex<Manner>,
    open: AtomicUsize,
    most_open: AtomicUsize,
    sent: AtomicU64,
    over: AtomicBool,
}

impl FakeProvider {
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            heads: Mutex::default(),
            rejected: Mutex::default(),
            manner: Mutex::new(manner),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let there = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if there.over.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, state) = (stream.unwrap(), there.clone());
                thread::spawn(move || state.serve(&stream));
            }
        });
        Self { address, state }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// Rejects the key `secret` from now on.
    pub(crate) fn reject(&self, secret: &str) {
        self.state.rejected.lock().unwrap().insert(secret.to_owned());
    }

    /// Accepts every key from now on.
    pub(crate) fn accept_all(&self) {
        self.state.rejected.lock().unwrap().clear();
    }

    /// The heads of all requests, in the order of their coming.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// Methods and paths of all requests.
    pub(crate) fn asked(&self) -> Vec<String> {
        let line = |head: &String| head.lines().next().unwrap_or_default().to_owned();
        self.heads().iter().map(line).collect()
    }

    /// The most connections that were open at once.
    pub(crate) fn most_open(&self) -> usize {
        self.state.most_open.load(Ordering::SeqCst)
    }

    /// How many bytes of endless answers it got rid of.
    pub(crate) fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_open.fetch_max(open, Ordering::SeqCst);
        // Whoever asks may hang up at any time.
        self.answer(stream).ok();
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut head = String::new();
        let mut reader = BufReader::new(stream);
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let known = |secret: &String| head.contains(secret.as_str());
        let rejected = self.rejected.lock().unwrap().iter().any(known);
        self.heads.lock().unwrap().push(head);
        let manner = self.manner.lock().unwrap().clone();
        match manner {
            Manner::Honest if rejected => {
                let body = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
                write!(stream, "HTTP/1.1 400 x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
            Manner::Honest => {
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{{\"models\":[]}}")
            }
            Manner::Status(status, lines) => {
                write!(stream, "HTTP/1.1 {status} x\r\n{lines}content-length: 0\r\n\r\n")
            }
            Manner::Hang => self.wait(stream),
            Manner::Drip => {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
                for byte in answer.bytes().chain(std::iter::repeat(b' ')) {
                    stream.write_all(&[byte])?;
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            }
            Manner::EndlessBody => {
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")?;
                self.send_for_ever(stream, &vec![b' '; 65536])
            }
            Manner::EndlessHead => {
                write!(stream, "HTTP/1.1 200 OK\r\n")?;
                self.send_for_ever(stream, "x-more: of this\r\n".repeat(4096).as_bytes())
            }
        }
    }

    fn wait(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        while !self.over.load(Ordering::SeqCst) {
            match std::io::Read::read(&mut stream, &mut [0; 1]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn send_for_ever(&self, mut stream: &TcpStream, piece: &[u8]) -> std::io::Result<()> {
        loop {
            stream.write_all(piece)?;
            self.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
    }
}

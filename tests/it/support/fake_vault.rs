//! A KV version 2 engine on loopback that does as it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A vault on loopback. Dropping it stops it.
pub(crate) struct FakeVault {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// By the last part of their paths.
    secrets: Mutex<BTreeMap<String, String>>,
    /// A status for everything, in place of secrets.
    trouble: Mutex<Option<u16>>,
    /// The last parts of the paths that were asked for.
    asked: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl FakeVault {
    pub(crate) fn start(secrets: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let there = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if there.over.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, state) = (stream.unwrap(), there.clone());
                // Whoever asks may hang up at any time.
                thread::spawn(move || state.answer(&stream).ok());
            }
        });
        let vault = Self { address, state };
        for (name, secret) in secrets {
            vault.put(name, secret);
        }
        vault
    }

    /// The variables that lead a daemon here.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("VAULT_ADDR", format!("http://{}", self.address)),
            ("VAULT_TOKEN", "fake-token".to_owned()),
        ]
    }

    pub(crate) fn put(&self, name: &str, secret: &str) {
        self.state.secrets.lock().unwrap().insert(name.to_owned(), secret.to_owned());
    }

    pub(crate) fn delete(&self, name: &str) {
        self.state.secrets.lock().unwrap().remove(name);
    }

    /// Answers everything with `status`, or as it should again. With the status 0, never.
    pub(crate) fn trouble(&self, status: Option<u16>) {
        *self.state.trouble.lock().unwrap() = status;
    }

    /// How often `name` was asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.state.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }
}

impl Drop for FakeVault {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
    }
}

impl State {
    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut head = String::new();
        let mut reader = BufReader::new(stream);
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match path.strip_prefix("/v1/secret/data/keypool/") {
            Some(name) => {
                self.asked.lock().unwrap().push(name.to_owned());
                self.secret(name)
            }
            // The token never ends.
            None => (200, r#"{"data":{"ttl":0,"renewable":false}}"#.to_owned()),
        };
        while status == 0 && !self.over.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        let length = body.len();
        write!(stream, "HTTP/1.1 {status} x\r\nconnection: close\r\n")?;
        write!(stream, "content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    fn secret(&self, name: &str) -> (u16, String) {
        let secrets = self.secrets.lock().unwrap();
        match (*self.trouble.lock().unwrap(), secrets.get(name)) {
            (Some(status), _) => (status, r#"{"errors":[]}"#.to_owned()),
            (None, None) => (404, r#"{"errors":[]}"#.to_owned()),
            (None, Some(secret)) => {
                let metadata = r#"{"created_time":"2024-01-01T00:00:00Z","version":1}"#;
                let data = format!(r#"{{"data":{{"value":"{secret}"}},"metadata":{metadata}}}"#);
                (200, format!(r#"{{"data":{data}}}"#))
            }
        }
    }
}

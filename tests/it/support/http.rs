//! HTTP by hand, so that a test sees every byte. What comes over the socket is judged by the
//! document of the API.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::document::{Asked, judge};

/// No answer takes this long; a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status: status.unwrap_or(0), head: head.to_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// One request on a connection of its own.
pub(crate) fn send(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Answer {
    let kind = body.map_or_else(String::new, |body| {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    });
    let text = body.unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}\r\n{text}"
    );
    let answer = Answer::parse(&unjudged(socket, request.as_bytes(), false));
    judge(Asked { method, target: path, body }, &answer);
    answer
}

/// Sends `bytes` as they are and reads to the end of the connection. The first
/// answer is judged if the bytes begin with a request.
pub(crate) fn exchange(socket: &Path, bytes: &[u8], half_close: bool) -> String {
    let told = unjudged(socket, bytes, half_close);
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    if let ([method, target, "HTTP/1.1"], true) = (&words[..], told.starts_with("HTTP/1.1 ")) {
        let mut answer = Answer::parse(&told);
        if let Some(length) = answer.header("content-length").filter(|_| *method != "HEAD") {
            // What comes after it answers another request.
            answer.body.truncate(length.parse().unwrap());
        }
        judge(Asked { method, target, body: None }, &answer);
    }
    told
}

fn unjudged(socket: &Path, bytes: &[u8], half_close: bool) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that refuses early may close before everything is written.
    stream.write_all(bytes).ok();
    if half_close {
        stream.shutdown(Shutdown::Write).ok();
    }
    read_all(stream)
}

/// Sends `bytes` over TCP and reads to the end of the connection.
pub(crate) fn exchange_over(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).ok();
    Answer::parse(&read_all(stream))
}

fn read_all(mut stream: impl Read) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("no answer: {error}"),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::Screen;
use super::client::{Client, ClientError};
use crate::clock::parse_rfc3339;

/// A daemon that gives one answer to every request and keeps the first.
pub(super) struct Daemon {
    pub client: Client,
    thread: JoinHandle<String>,
    _directory: TempDir,
}

impl Daemon {
    pub(super) fn answering(body: &str) -> Self {
        Self::http(200, "application/json", body)
    }

    pub(super) fn refusing(status: u16, body: &str) -> Self {
        Self::http(status, "application/problem+json", body)
    }

    pub(super) fn http(status: u16, content_type: &str, body: &str) -> Self {
        let length = body.len();
        Self::raw(&format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    pub(super) fn raw(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::acting(move |mut stream| stream.write_all(answer.as_bytes()).unwrap())
    }

    /// A daemon that does `act` with the connection once it has the request.
    pub(super) fn acting(act: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("keypool.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !is_whole(&request) {
                let mut bytes = [0; 4096];
                let count = stream.read(&mut bytes).unwrap();
                assert!(count > 0, "the request ends in its middle");
                request.extend_from_slice(&bytes[..count]);
            }
            act(stream);
            String::from_utf8(request).unwrap()
        });
        Self { client: Client::new(socket), thread, _directory: directory }
    }

    /// The request it was sent.
    pub(super) fn request(self) -> String {
        self.thread.join().unwrap()
    }

    /// The JSON of the request it was sent.
    pub(super) fn request_body(self) -> serde_json::Value {
        let request = self.request();
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

pub(super) fn problem(code: &str, title: &str, detail: &str) -> String {
    serde_json::json!({"code": code, "title": title, "detail": detail}).to_string()
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

/// What `command` shows at noon on 21 November 2026.
pub(super) fn shown(
    json: bool,
    command: impl AsyncFnOnce(&mut Screen<'_>) -> Result<(), ClientError>,
) -> String {
    let mut out = Vec::new();
    let now = parse_rfc3339("2026-11-21T12:00:00Z").unwrap();
    block_on(command(&mut Screen { out: &mut out, json, now })).unwrap();
    String::from_utf8(out).unwrap()
}

//! Many requests to a daemon, and the memory it takes for them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Keys of which two are soon exhausted and the others never are.
pub(crate) const KEYS: [&str; 4] = [
    r#"{"key_id": "a", "rpm": 60, "rpd": 1000, "priority": 1}"#,
    r#"{"key_id": "b", "rpm": 60, "tpm": 100000, "priority": 2}"#,
    r#"{"key_id": "c", "max_concurrent": 100000}"#,
    r#"{"key_id": "d"}"#,
];

/// How many requests are sent before the first of their answers is read.
const PIPELINED: usize = 50;

/// A connection that is kept.
pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self::of(UnixStream::connect(socket).unwrap())
    }

    pub(crate) fn of(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Self(BufReader::new(stream))
    }

    /// The body of the answer, which must be 200.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> String {
        self.send(&request(method, path, body));
        self.answer()
    }

    pub(crate) fn send(&mut self, requests: &str) {
        self.0.get_mut().write_all(requests.as_bytes()).unwrap();
    }

    /// The body of the next answer.
    pub(crate) fn answer(&mut self) -> String {
        let (mut line, mut length) = (String::new(), 0);
        self.0.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

pub(crate) fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Selects `count` leases and reports each, over so many connections.
pub(crate) fn select_and_report(socket: &Path, connections: usize, count: usize) {
    let select = request("POST", "/v1/select", "{\"tokens\": 10}").repeat(PIPELINED);
    let some = || {
        let mut client = Client::new(socket);
        for _ in 0..count / connections / PIPELINED {
            client.send(&select);
            let reports = (0..PIPELINED).map(|_| {
                let lease = client.answer();
                let id = lease.split("\"lease_id\":\"").nth(1).unwrap().split('"').next().unwrap();
                let body = format!(
                    "{{\"lease_id\": \"{id}\", \"outcome\": \"success\", \"tokens_used\": 7}}"
                );
                request("POST", "/v1/report", &body)
            });
            let reports: String = reports.collect();
            client.send(&reports);
            for _ in 0..PIPELINED {
                client.answer();
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(some);
        }
    });
}

/// Reloads `count` times. Each time the keys file has changed: one key comes, goes, and changes.
pub(crate) fn reload(socket: &Path, keys: &Path, count: usize) {
    let mut client = Client::new(socket);
    for turn in 0..count {
        let another = format!(r#"{{"key_id": "e", "rpm": {}}}"#, 1 + turn % 7);
        let more = (turn % 3 > 0).then_some(another.as_str());
        write_keys(keys, more);
        let told = client.ask("POST", "/v1/reload", "");
        assert!(!told.contains("\"kept\""), "{told}");
    }
    write_keys(keys, None);
}

/// Writes the keys file, as an editor that saves whole files does.
pub(crate) fn write_keys(path: &Path, more: Option<&str>) {
    let keys: Vec<&str> = KEYS.into_iter().chain(more).collect();
    let new = path.with_extension("new");
    fs::write(&new, format!("{{\"keys\": [{}]}}", keys.join(",\n"))).unwrap();
    fs::rename(new, path).unwrap();
}

/// The memory of the process `pid`, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

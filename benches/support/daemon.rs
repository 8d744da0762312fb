//! keypool as a process of its own, in a directory of its own, with its state and its metrics.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// The model of the keys.
pub(crate) const MODEL: &str = "gemini-2.0-flash";

/// A limit that no bench reaches.
const ENOUGH: u64 = 1_000_000_000;

/// The files of a daemon.
#[derive(Debug)]
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    /// A directory with `keys` keys of one model, whose secrets are in an env file, and `more`
    /// settings.
    pub(crate) fn with(keys: usize, more: &str) -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        home.write_keys(keys, ENOUGH);
        let secrets = (0..keys).fold(String::new(), |mut text, key| {
            writeln!(text, "GEMINI_KEY_{}=fake-secret-{}", id(key), id(key)).unwrap();
            text
        });
        home.write("keys.env", &secrets);
        let toml = "socket = \"keypool.sock\"\nkeys = \"keys.json\"\nenv_files = [\"keys.env\"]\n\
                    state_dir = \"state\"\nmetrics_addr = \"127.0.0.1:0\"\nlog = \"error\"\n";
        home.write("keypool.toml", &format!("{toml}{more}\n[probe]\nenabled = false\n"));
        home
    }

    /// Writes the keys anew, with a limit of `rpm` each.
    pub(crate) fn write_keys(&self, keys: usize, rpm: u64) {
        let entries = (0..keys).map(|key| {
            let id = id(key);
            format!("{{\"key_id\": \"{id}\", \"model_name\": \"{MODEL}\", \"rpm\": {rpm}}}")
        });
        let entries: Vec<String> = entries.collect();
        self.write("keys.new", &format!("{{\"keys\": [\n{}\n]}}", entries.join(",\n")));
        fs::rename(self.path("keys.new"), self.path("keys.json")).unwrap();
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("keypool.sock")
    }

    /// Starts the daemon by `program`, whose last arguments are those of keypool. Whether it serves
    /// is not known yet.
    pub(crate) fn start_by(&self, program: &[&str], variables: &[(&str, &str)]) -> Served {
        let keypool = [env!("CARGO_BIN_EXE_keypool"), "serve", "--config", "keypool.toml"];
        let words = [program, &keypool].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(self.dir.path()).env_clear();
        command.envs(variables.iter().copied()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        Served { child: command.spawn().unwrap() }
    }

    /// Starts the daemon and waits until it serves: it listens before it has read its files.
    pub(crate) fn start(&self) -> Served {
        let served = self.start_by(&[], &[]);
        Client::new(&self.socket()).ask(&select());
        served
    }
}

fn id(key: usize) -> String {
    format!("flash_{key:05}")
}

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
}

impl Served {
    pub(crate) fn of(mut command: Command) -> Self {
        Self { child: command.spawn().unwrap() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until somebody listens at `socket`, and connects.
pub(crate) fn connected(socket: &Path) -> UnixStream {
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(_) => thread::sleep(Duration::from_micros(200)),
        }
    }
}

/// A request as `curl --json` sends it.
pub(crate) fn request(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/7.88.1\r\n\
         Content-Type: application/json\r\nAccept: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    (head + body).into_bytes()
}

/// The request for a key of the model.
pub(crate) fn select() -> Vec<u8> {
    request("/v1/select", &format!("{{\"model\": \"{MODEL}\"}}"))
}

/// A report of the lease that `lease` names.
#[allow(dead_code, reason = "not every bench reports")]
pub(crate) fn report(lease: &str) -> Vec<u8> {
    let body =
        format!("{{\"lease_id\": \"{lease}\", \"outcome\": \"success\", \"tokens_used\": 1234}}");
    request("/v1/report", &body)
}

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self(BufReader::new(connected(socket)))
    }

    /// The body of the answer, which must be 200.
    pub(crate) fn ask(&mut self, request: &[u8]) -> String {
        self.send(request);
        self.answer()
    }

    pub(crate) fn send(&mut self, requests: &[u8]) {
        self.0.get_mut().write_all(requests).unwrap();
    }

    /// Asks, and throws the body of the answer away as it comes: who scrapes from another machine
    /// takes no processor of this one to keep and read it.
    #[allow(dead_code, reason = "not every bench scrapes")]
    pub(crate) fn skim(&mut self, request: &[u8]) {
        self.send(request);
        let length = self.head() as u64;
        io::copy(&mut self.0.by_ref().take(length), &mut io::sink()).unwrap();
    }

    /// The body of the next answer.
    pub(crate) fn answer(&mut self) -> String {
        let mut body = vec![0; self.head()];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// How long the body of the next answer is.
    fn head(&mut self) -> usize {
        let status = self.line();
        let mut length = 0;
        loop {
            let line = self.line();
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        if !status.starts_with("HTTP/1.1 200") {
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).unwrap();
            panic!("{status}{}", String::from_utf8_lossy(&body));
        }
        length
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the server has closed a connection");
        line
    }
}

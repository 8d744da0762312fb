//! A real Prometheus, and what it says.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::project;

const WHERE: &str = "it is in the Debian package prometheus, which tests/run installs";

/// A Prometheus that scrapes every second, with the rules of the project. Dropping it stops it.
pub(crate) struct Prometheus {
    process: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    /// One that scrapes `targets`.
    pub(crate) fn start(targets: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{:?}]\n\
             scrape_configs:\n- job_name: keypool\n  static_configs: [{{targets: {targets:?}}}]\n",
            project("grafana/prometheus/keypool.rules.yml"),
        );
        let path = dir.path().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; {WHERE}"));
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let address = listening(&mut log);
        // It must not stop because nobody reads its log.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { process, address, _dir: dir }
    }

    /// The numbers that `expr` has now.
    #[track_caller]
    pub(crate) fn ask(&self, expr: &str) -> Vec<f64> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in expr.bytes() {
            write!(path, "%{byte:02X}").unwrap();
        }
        let answer = self.get(&path);
        assert_eq!(answer["status"], "success", "{expr}: {answer}");
        let number = |sample: &Value| sample["value"][1].as_str().unwrap().parse().unwrap();
        answer["data"]["result"].as_array().unwrap().iter().map(number).collect()
    }

    /// The JSON at `path`.
    pub(crate) fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Where the Prometheus that writes `log` listens, once it is ready.
fn listening(log: &mut impl BufRead) -> SocketAddr {
    let (mut address, mut read) = (None, String::new());
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "prometheus ended:\n{read}");
        if line.contains("msg=\"Listening on\"") {
            let (_, rest) = line.split_once("address=").unwrap();
            address = rest.split_whitespace().next().unwrap().parse().ok();
        }
        if line.contains("Server is ready to receive web requests") {
            return address.unwrap_or_else(|| panic!("no address in:\n{read}"));
        }
        read += &line;
    }
}

/// What `promtool` says with `arguments`, which must be that all is well.
#[track_caller]
pub(crate) fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool").args(arguments).current_dir(project("")).output();
    let output = output.unwrap_or_else(|error| panic!("promtool: {error}; {WHERE}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

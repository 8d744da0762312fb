//! The kinds of Redis there are.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keypool::pool::SelectRequest;
use keypool::secrets::Secret;
use keypool::shared_quota::{Kind, LAYOUT, OnFailure, Trouble, examine};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::support::daemon::{Daemon, Plan, clock, key};
use crate::support::home::{Home, rights};

/// A server that listens at a port of its own.
struct Server {
    child: Child,
    port: u16,
    /// Where the servers of a cluster talk to each other.
    bus: u16,
    _dir: TempDir,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [port, bus] = [(); 2].map(|()| free_port());
        let bus_text = bus.to_string();
        let mut server = Command::new("redis-server");
        let port_text = port.to_string();
        let usual = ["--port", &port_text, "--bind", "127.0.0.1", "--save", ""];
        let arguments = arguments.iter().flat_map(|argument| argument.split(' '));
        let arguments: Vec<&str> =
            arguments.map(|word| if word == "BUS" { &*bus_text } else { word }).collect();
        // A sentinel has its settings in a file that it writes.
        let (config, arguments) = match arguments.split_first() {
            Some((&"sentinel", rest)) => {
                let file = dir.path().join("sentinel.conf");
                let monitor = format!(
                    "port {port}\nsentinel monitor main 127.0.0.1 {} 1\n\
                     sentinel down-after-milliseconds main 500\n\
                     sentinel failover-timeout main 2000\n",
                    rest[0]
                );
                std::fs::write(&file, monitor).unwrap();
                (Some(file), vec!["--sentinel"])
            }
            _ => (None, [usual.to_vec(), arguments].concat()),
        };
        if let Some(config) = config {
            server.arg(config);
        }
        server.args(arguments).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = server.spawn().expect("redis-server is installed");
        let server = Self { child, port, bus, _dir: dir };
        while !server.ask(&["PING"]).contains("PONG") {
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn ask(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let asked = Command::new("redis-cli").args(["-p", &port]).args(command).output();
        String::from_utf8(asked.expect("redis-cli is installed").stdout).unwrap()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Two daemons at the Redis of a URL.
struct Two {
    daemons: Vec<Daemon>,
    _dirs: [TempDir; 2],
}

impl Two {
    fn at(url: &str) -> Self {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let plan = |(n, dir): (u32, &Path)| Plan {
            keys: vec![key("a", 100), key("b", 100), key("c", 100), key("d", 100)],
            url: url.to_owned(),
            pool: "places".to_owned(),
            on_failure: OnFailure::Closed,
            dir: dir.to_owned(),
            epoch: n,
            layout: LAYOUT,
            guard: Home::Redis.guard(),
        };
        let start = |plan: Plan| Daemon::start(&plan, &clock(0), &Handle::current());
        let daemons = (0..).zip(dirs.iter().map(TempDir::path)).map(plan).map(start).collect();
        Self { daemons, _dirs: dirs }
    }

    /// Whether each of them gets a key, in time.
    async fn serve(&self) -> bool {
        for daemon in &self.daemons {
            let mut served = false;
            for _ in 0..500 {
                daemon.clock.advance(Duration::from_millis(100));
                daemon.advance();
                let caller = daemon.asking();
                let asked = caller.ask(SelectRequest::default(), Duration::from_secs(1));
                let asked = tokio::time::timeout(Duration::from_millis(50), asked).await;
                served = matches!(asked, Ok(Some(_)));
                if served {
                    break;
                }
            }
            if !served {
                return false;
            }
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_no_more_rights_than_the_documents_say() {
    let server = Server::start(&[]);
    let rights = rights();
    assert_eq!(server.ask(&rights.iter().map(String::as_str).collect::<Vec<_>>()).trim(), "OK");
    let url = |word: &str| format!("redis://keypool:{word}@127.0.0.1:{}/", server.port);
    assert!(Two::at(&url("fake-word")).serve().await);
    let wrong = Two::at(&url("fake-wrong"));
    let why = || wrong.daemons[0].standing().away.unwrap().0.to_string();
    for _ in 0..200 {
        if why().contains("refused") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", why());
}

/// What a check of it says.
async fn examined(url: &str) -> (Kind, Option<Trouble>) {
    let found = examine(&Secret::new(url), "places", Duration::from_secs(5)).await.unwrap();
    assert!(found.missing_commands.is_empty() && !found.names_refused, "{found:?}");
    (found.kind, found.trouble)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_masters() {
    let servers: Vec<Server> =
        (0..3).map(|_| Server::start(&["--cluster-enabled yes --cluster-port BUS"])).collect();
    let (slots, step) = (16384, 16384 / 3 + 1);
    for (n, server) in servers.iter().enumerate() {
        let (first, last) = (n * step, slots.min((n + 1) * step) - 1);
        server.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        let epoch = (n + 1).to_string();
        server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
        let [port, bus] = [servers[0].port, servers[0].bus].map(|port| port.to_string());
        server.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }
    for server in &servers {
        while !server.ask(&["CLUSTER", "INFO"]).contains("cluster_known_nodes:3")
            || !server.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let url = format!("redis://127.0.0.1:{}/", servers[0].port);
    assert_eq!(examined(&url).await, (Kind::Cluster, None));
    for server in &servers {
        assert!(Two::at(&format!("redis://127.0.0.1:{}/", server.port)).serve().await);
    }
    let sizes: Vec<String> = servers.iter().map(|server| server.ask(&["DBSIZE"])).collect();
    assert_eq!(sizes.iter().filter(|size| size.trim() != "0").count(), 1, "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_that_a_sentinel_names_and_the_next_one_when_it_fails() {
    let mut master = Server::start(&[]);
    let replica = Server::start(&[&format!("--replicaof 127.0.0.1 {}", master.port)]);
    while !replica.ask(&["INFO", "replication"]).contains("master_link_status:up") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sentinel = Server::start(&[&format!("sentinel {}", master.port)]);
    while !sentinel.ask(&["SENTINEL", "REPLICAS", "main"]).contains("slave") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    assert_eq!(examined(&url).await, (Kind::Single, None));
    let wrong = format!("redis://127.0.0.1:{}/", sentinel.port);
    assert_eq!(examined(&wrong).await, (Kind::Sentinel, None));
    let two = Two::at(&url);
    assert!(two.serve().await);
    master.child.kill().unwrap();
    while !replica.ask(&["INFO", "replication"]).contains("role:master") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(two.serve().await);
}

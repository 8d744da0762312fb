//! `keypool status --fleet`, over two daemons and a real Redis.

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Served, clone, code, err, keypool, out, run};
use crate::redis::Redis;
use crate::support::until;

/// Two daemons that share the eight keys.
struct Two {
    redis: Redis,
    dirs: [TempDir; 2],
    served: [Served; 2],
}

impl Two {
    fn start() -> Self {
        let redis = Redis::of("redis-server", &[], false);
        let dirs = [(); 2].map(|()| clone());
        let served = [0, 1].map(|n: usize| {
            let mut command = keypool(dirs[n].path(), &["serve"]);
            // Nobody measures here how quick Redis is.
            command.env("REDIS_URL", redis.url()).env("KEYPOOL_SHARED_TIMEOUT", "10s");
            Served::of(command)
        });
        let two = Self { redis, dirs, served };
        until("both share", || two.fleet()["daemons"].as_array().is_some_and(|all| all.len() == 2));
        until("both have a key", || (0..2).all(|n| code(&two.run(n, &["select"])) == 0));
        two
    }

    fn run(&self, n: usize, arguments: &[&str]) -> std::process::Output {
        run(self.dirs[n].path(), arguments)
    }

    fn fleet(&self) -> Value {
        let output = self.run(0, &["status", "--fleet", "--json"]);
        serde_json::from_str(&out(&output)).unwrap_or_default()
    }
}

#[test]
fn the_fleet_is_seen_from_any_of_its_daemons() {
    let two = Two::start();
    let fleet = two.fleet();
    let (daemons, groups) = (&fleet["daemons"], fleet["groups"].as_array().unwrap());
    assert_eq!((&fleet["pool"], groups.len()), (&Value::from("default"), 8), "{fleet}");
    let pids = two.served.each_ref().map(Served::pid);
    for daemon in daemons.as_array().unwrap() {
        let name = daemon["name"].as_str().unwrap();
        assert!(pids.iter().any(|pid| name.ends_with(&format!(":{pid}"))), "{fleet}");
        assert_eq!(daemon["state"], "alive", "{fleet}");
        let held = groups.iter().filter(|group| group["owner"] == daemon["daemon"]).count();
        assert_eq!(daemon["owned_groups"], held, "{fleet}");
        assert!(held > 0, "{fleet}");
    }
    let screen = out(&two.run(1, &["status", "--fleet"]));
    assert!(screen.starts_with("2 daemons of the pool default; 8 quota groups, "), "{screen}");
    let asked = screen.lines().find(|line| line.contains("(asked)")).unwrap();
    assert!(asked.contains(&format!(":{} (asked)", pids[1])), "{screen}");
    assert!(screen.contains("key:flash_01"), "{screen}");
    assert!(!screen.contains("fake-secret") && !fleet.to_string().contains("fake-secret"));
}

#[test]
fn without_redis_nothing_is_known_of_the_fleet() {
    let mut two = Two::start();
    two.redis.kill();
    until("it is noticed", || code(&two.run(0, &["status", "--fleet"])) == 1);
    let output = two.run(0, &["status", "--fleet"]);
    assert!(err(&output).contains("Redis does not tell of the fleet"), "{}", err(&output));
    assert_eq!(code(&two.run(0, &["select"])), 0, "what it holds serves on");
}

#[test]
fn a_daemon_that_shares_with_nobody_says_so() {
    let dir = clone();
    let _served = Served::start(dir.path(), &[]);
    let output = run(dir.path(), &["status", "--fleet"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("REDIS_URL is not set"), "{}", err(&output));
}

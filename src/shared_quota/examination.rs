//! Whether a Redis can do what sharing needs of it: asked once, for people.

use std::time::Duration;

use redis::{Cmd, ErrorKind, ServerErrorKind, Value};

use super::link::{Link, Place, Trouble};
use crate::secrets::Secret;

/// The oldest version that sharing is tested with.
pub const OLDEST: u32 = 7;

/// How the server, or those behind it, keep what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// One server.
    #[default]
    Single,
    /// A cluster.
    Cluster,
    /// It is a sentinel, which keeps nothing.
    Sentinel,
}

/// What was found out about a Redis that can be reached.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts that have nothing to do with each other"
)]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Examined {
    /// Its name and version: `Redis 7.0.15`; nothing if it does not tell.
    pub server: String,
    /// The first number of the version of Redis, or of the one it claims to be like.
    pub major: Option<u32>,
    /// How it keeps what is written.
    pub kind: Kind,
    /// Whether sentinels have named it.
    pub by_sentinel: bool,
    /// Whether it is a copy of another, which takes no writes.
    pub is_replica: bool,
    /// What it drops when it is full, if that is not nothing: its `maxmemory-policy`.
    pub evicts: Option<String>,
    /// Whether it has a limit of memory.
    pub may_be_full: bool,
    /// The commands that the user may not use.
    pub missing_commands: Vec<&'static str>,
    /// Whether the user may not use the names of the pool.
    pub names_refused: bool,
    /// Why it did not do what it was asked to.
    pub trouble: Option<Trouble>,
}

/// A hash of `pool` that nobody uses.
fn tried_hash(pool: &str) -> String {
    format!("keypool:{{{pool}}}:check")
}

/// Asks the Redis at `url` what it is, and tries everything that sharing the limits of `pool` needs
/// on names that nobody uses. Every step takes at most `most`.
pub async fn examine(url: &Secret, pool: &str, most: Duration) -> Result<Examined, Trouble> {
    let hash = tried_hash(pool);
    let place = Place::new(url, &hash);
    let mut link = place.connect_single(most, most).await?;
    let mut examined = Examined {
        by_sentinel: url.expose().starts_with("redis+sentinel://"),
        ..Examined::default()
    };
    for section in ["server", "memory", "replication"] {
        match attempt(&mut link, redis::cmd("INFO").arg(section), most).await {
            Attempt::Done(about) => examined.read(&about),
            Attempt::NotAllowed => {
                examined.missing_commands.push("info");
                return Ok(examined);
            }
            Attempt::NameNotAllowed => examined.names_refused = true,
            Attempt::Failed(trouble) => return Err(trouble),
        }
    }
    match examined.kind {
        Kind::Single => {}
        Kind::Sentinel => return Ok(examined),
        Kind::Cluster => match place.connect(most, most).await {
            Ok(has_the_pool) => link = has_the_pool,
            Err(trouble) => {
                examined.trouble = Some(trouble);
                return Ok(examined);
            }
        },
    }
    for (name, command) in commands(pool) {
        match attempt(&mut link, &command, most).await {
            Attempt::Done(_) => {}
            Attempt::NotAllowed if examined.missing_commands.contains(&name) => {}
            Attempt::NotAllowed => examined.missing_commands.push(name),
            Attempt::NameNotAllowed => examined.names_refused = true,
            Attempt::Failed(trouble) => {
                examined.trouble = Some(trouble);
                break;
            }
        }
    }
    Ok(examined)
}

/// Every command that the daemons and their scripts use, in an order in which nothing of it stays.
fn commands(pool: &str) -> Vec<(&'static str, Cmd)> {
    let (hash, list) = (tried_hash(pool), format!("keypool:{{{pool}}}:checks"));
    let of = |name: &'static str, arguments: &[&str]| {
        let mut command = redis::cmd(&name.to_uppercase());
        command.arg(arguments);
        (name, command)
    };
    let no_script = "0000000000000000000000000000000000000000";
    let mut load = redis::cmd("SCRIPT");
    load.arg("LOAD").arg("return 1");
    vec![
        of("time", &[]),
        ("script|load", load),
        of("evalsha", &[no_script, "1", &hash]),
        of("hset", &[&hash, "field", "1"]),
        of("pexpire", &[&hash, "1000"]),
        of("hget", &[&hash, "field"]),
        of("hgetall", &[&hash]),
        of("hdel", &[&hash, "field"]),
        of("rpush", &[&list, "1"]),
        of("ltrim", &[&list, "-1", "-1"]),
        of("pexpire", &[&list, "1000"]),
        of("blpop", &[&list, "0.01"]),
    ]
}

enum Attempt {
    Done(String),
    NotAllowed,
    NameNotAllowed,
    Failed(Trouble),
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds of a library, of which it adds more")]
async fn attempt(link: &mut Link, command: &Cmd, most: Duration) -> Attempt {
    let Ok(answer) = tokio::time::timeout(most, link.query(command)).await else {
        return Attempt::Failed(Trouble::Timeout);
    };
    let error = match answer {
        Ok(Value::BulkString(bytes)) => {
            return Attempt::Done(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(Value::VerbatimString { text, .. }) => return Attempt::Done(text),
        Ok(_) => return Attempt::Done(String::new()),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => Attempt::Done(String::new()),
        // Redis says which of the two it is in words alone.
        ErrorKind::Server(ServerErrorKind::NoPerm) if error.to_string().contains("access") => {
            Attempt::NameNotAllowed
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => Attempt::NotAllowed,
        _ => Attempt::Failed(Trouble::from(&error)),
    }
}

impl Examined {
    /// Takes note of what the server says of itself.
    fn read(&mut self, about: &str) {
        for line in about.lines() {
            let Some((name, value)) = line.trim().split_once(':') else { continue };
            match (name, value) {
                ("redis_version", version) => {
                    self.major = version.split('.').next().and_then(|major| major.parse().ok());
                    if self.server.is_empty() {
                        self.server = format!("Redis {}", tame(version));
                    }
                }
                ("valkey_version", version) => self.server = format!("Valkey {}", tame(version)),
                ("redis_mode" | "server_mode", "cluster") => self.kind = Kind::Cluster,
                ("redis_mode" | "server_mode", "sentinel") => self.kind = Kind::Sentinel,
                ("role", "slave") => self.is_replica = true,
                ("maxmemory", most) => self.may_be_full = most != "0",
                ("maxmemory_policy", "noeviction") => self.evicts = None,
                ("maxmemory_policy", policy) => self.evicts = Some(tame(policy)),
                _ => {}
            }
        }
    }
}

/// What a server says, as far as it is a word.
fn tame(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_alphanumeric() || ".-".contains(*c)).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_scripts_is_tried() {
        let scripts = [
            include_str!("lua/ledger.lua"),
            include_str!("lua/join.lua"),
            include_str!("lua/sync.lua"),
            include_str!("lua/take.lua"),
            include_str!("lua/release.lua"),
            include_str!("lua/tell.lua"),
            include_str!("lua/fleet.lua"),
        ];
        let called = scripts.iter().flat_map(|script| script.split("redis.call('").skip(1));
        let called: std::collections::BTreeSet<String> =
            called.map(|rest| rest.split('\'').next().unwrap().to_lowercase()).collect();
        let tried: Vec<&str> = commands("p").into_iter().map(|(name, _)| name).collect();
        for name in called {
            assert!(name == "info" || tried.contains(&&*name), "{name}");
        }
    }

    #[test]
    fn a_server_tells_what_it_is() {
        let mut redis = Examined::default();
        redis.read("# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\nmaxmemory:0\r\n");
        assert_eq!(
            (&*redis.server, redis.major, redis.kind),
            ("Redis 7.0.15", Some(7), Kind::Cluster)
        );
        let mut valkey = Examined::default();
        valkey.read(
            "redis_version:7.2.4\nserver_name:valkey\nvalkey_version:9.1.2\nrole:slave\n\
             maxmemory:1000\nmaxmemory_policy:allkeys-lru\n",
        );
        assert_eq!((&*valkey.server, valkey.is_replica), ("Valkey 9.1.2", true));
        assert_eq!((valkey.evicts.as_deref(), valkey.may_be_full), (Some("allkeys-lru"), true));
    }
}

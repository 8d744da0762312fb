//! The Redis that limits are shared through: what it is, and what it lacks.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::look::Seen;
use super::progress::Progress;
use super::report::{Advice, Urgency};
use crate::config::{Bootstrap, SharedSettings};
use crate::secrets::{Secret, Source};
use crate::shared_quota::{Examined, Kind, OLDEST, OnFailure, Trouble, examine};

/// The Redis that limits are shared through.
#[derive(Clone, Debug, Serialize)]
pub struct RedisRow {
    /// Where its address is set.
    pub set_in: String,
    /// The name of what is shared.
    pub pool: String,
    /// What holds while it is away.
    pub on_failure: &'static str,
    /// Whether it answers, if it was asked.
    pub reached: Option<bool>,
    /// Its name and version, if it tells.
    pub server: Option<String>,
    /// `single`, `cluster` or `sentinel`.
    pub kind: Option<&'static str>,
}

/// What a Redis said.
pub(super) type Asked = Result<Examined, Trouble>;

/// Asks the Redis that is configured, if one is. If it takes long, `screen` is told.
pub(super) fn ask(built: &Bootstrap, screen: Option<&mut dyn Write>) -> io::Result<Option<Asked>> {
    let shared = &built.settings.shared;
    let Some(url) = &shared.redis_url else { return Ok(None) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut progress = Progress::new(screen, "asking Redis");
        let mut asking = std::pin::pin!(examine(url, &shared.pool, shared.redis_timeout));
        loop {
            tokio::select! {
                asked = &mut asking => return progress.end().map(|()| Some(asked)),
                () = progress.beat() => progress.show(0, 1)?,
            }
        }
    })
}

impl RedisRow {
    /// What is configured and was seen, if one is configured.
    pub(super) fn of(built: &Bootstrap, seen: &Seen) -> Option<Self> {
        let shared = &built.settings.shared;
        let url = shared.redis_url.as_ref()?;
        let examined = seen.redis.as_ref().and_then(|asked| asked.as_ref().ok());
        Some(Self {
            set_in: set_in(built, url),
            pool: shared.pool.clone(),
            on_failure: shared.on_failure.name(),
            reached: seen.redis.as_ref().map(Result::is_ok),
            server: examined.map(|found| found.server.clone()).filter(|name| !name.is_empty()),
            kind: examined.map(|found| match (found.kind, found.by_sentinel) {
                (Kind::Single, false) => "single",
                (Kind::Cluster, _) => "cluster",
                (Kind::Sentinel, _) | (Kind::Single, true) => "sentinel",
            }),
        })
    }

    /// The same in a line.
    pub(super) fn words(&self) -> String {
        let what = match (self.reached, &self.server) {
            (None, _) => "not asked: --online asks it".to_owned(),
            (Some(false), _) => "NOT REACHED".to_owned(),
            (Some(true), server) => server.clone().unwrap_or_else(|| "reached".to_owned()),
        };
        let kind = match self.kind {
            Some("cluster") => ", a cluster",
            Some("sentinel") => ", by sentinels",
            Some(_) | None => "",
        };
        let Self { set_in, pool, on_failure, .. } = self;
        format!("{what}{kind} ({set_in}); pool {pool}; while it is away: {on_failure}")
    }
}

/// What to do about it.
pub(super) fn advise(built: &Bootstrap, seen: &Seen) -> Vec<Advice> {
    let shared = &built.settings.shared;
    let Some(url) = &shared.redis_url else {
        return is_set(shared).then(unshared).into_iter().collect();
    };
    let place = set_in(built, url);
    let mut advice = Vec::new();
    if built.settings.state_dir.is_none() {
        advice.push(Advice {
            urgency: Urgency::Hint,
            what:
                "state_dir is empty: a daemon that is started again is another one to its fleet, \
                   and the quota groups it held serve nobody for 15 s"
                    .to_owned(),
            mend: Some("set state_dir".to_owned()),
        });
    }
    match &seen.redis {
        None => {}
        Some(Err(trouble)) => advice.push(warning(
            format!("Redis ({place}) cannot be used: {trouble}"),
            mend_trouble(*trouble, &place),
        )),
        Some(Ok(found)) => advice.extend(lacks(found, &place)),
    }
    advice
}

/// Whether anything is said about sharing.
fn is_set(shared: &SharedSettings) -> bool {
    *shared.pool != *"default"
        || shared.on_failure != OnFailure::default()
        || shared.timeout != Duration::from_millis(50)
        || shared.redis_timeout != Duration::from_secs(5)
}

fn unshared() -> Advice {
    Advice {
        urgency: Urgency::Hint,
        what: "[shared] has no effect: limits are shared with nobody".to_owned(),
        mend: Some("set REDIS_URL, or redis_url under [shared]".to_owned()),
    }
}

fn warning(what: String, mend: String) -> Advice {
    Advice { urgency: Urgency::Warning, what, mend: Some(mend) }
}

/// What a Redis that answers lacks.
fn lacks(found: &Examined, place: &str) -> Vec<Advice> {
    let mut advice = Vec::new();
    if found.kind == Kind::Sentinel {
        let what = format!("what answers at {place} is a sentinel, which keeps no data");
        let mend = "name the master that it watches: redis+sentinel://HOST:PORT,HOST:PORT/NAME";
        return vec![warning(what, mend.to_owned())];
    }
    if found.is_replica {
        let what = format!("Redis ({place}) is a replica, which takes no writes");
        let mend = "name its master, or its sentinels: redis+sentinel://HOST:PORT/NAME";
        advice.push(warning(what, mend.to_owned()));
    }
    if found.major.is_some_and(|major| major < OLDEST) {
        let what = format!("{} ({place}) is older than Redis {OLDEST}", found.server);
        let mend = format!("limits are shared through Redis {OLDEST} or later, or Valkey");
        advice.push(warning(what, mend));
    }
    if let Some(policy) = &found.evicts {
        let when = if found.may_be_full { "when it is full" } else { "once it has a maxmemory" };
        let what = format!(
            "Redis ({place}) forgets {when} which daemon holds what: its maxmemory-policy is {policy}"
        );
        let mend = "have it refuse instead: CONFIG SET maxmemory-policy noeviction, and the same in \
                    redis.conf";
        advice.push(warning(what, mend.to_owned()));
    }
    let rights: Vec<String> =
        found.missing_commands.iter().map(|name| format!("+{name}")).collect();
    if !rights.is_empty() {
        let names = rights.iter().map(|name| name.trim_start_matches('+').to_uppercase());
        let names = names.collect::<Vec<_>>().join(", ").replace('|', " ");
        let what = format!("the user of Redis ({place}) may not use {names}");
        advice.push(warning(what, format!("allow it: ACL SETUSER … {}", rights.join(" "))));
    }
    if found.names_refused {
        let what =
            format!("the user of Redis ({place}) may not use names that begin with keypool:");
        advice.push(warning(what, "allow it: ACL SETUSER … ~keypool:*".to_owned()));
    }
    if let Some(trouble) = found.trouble.filter(|_| !found.is_replica) {
        let what = format!("Redis ({place}) answers and cannot be used: {trouble}");
        advice.push(warning(what, mend_trouble(trouble, place)));
    }
    advice
}

fn mend_trouble(trouble: Trouble, place: &str) -> String {
    match trouble {
        Trouble::Url | Trouble::Garbage => {
            format!("see that what {place} names is a Redis, and has TLS if it is rediss://")
        }
        Trouble::NotYet | Trouble::NoConnection | Trouble::Timeout => format!(
            "see that the host and port of {place} can be reached from here; a server that takes \
             TLS alone needs rediss://"
        ),
        Trouble::Certificate => {
            "name the certificate of its authority in SSL_CERT_FILE, for the daemon as well"
                .to_owned()
        }
        Trouble::Refused => format!(
            "see user and password in {place}, and the rights of that user: ACL GETUSER; the README \
             has the line that they need"
        ),
        Trouble::ReadOnly => "name the master, or have it take writes".to_owned(),
        Trouble::NotReady => {
            "wait until it has loaded, or see that its cluster or its sentinels have a master"
                .to_owned()
        }
        Trouble::OutOfMemory => "give it more maxmemory".to_owned(),
        Trouble::WrongType => "choose another name as pool under [shared]".to_owned(),
        Trouble::OtherLayout { .. } => "stop the daemons of the other version".to_owned(),
    }
}

/// Where its address is set, without it.
fn set_in(built: &Bootstrap, url: &Secret) -> String {
    let environment = &built.stores.environment;
    let set = |name: &&str| {
        environment.lookup(name).is_some_and(|found| found.value.expose() == url.expose())
    };
    let variable = ["KEYPOOL_SHARED_REDIS_URL", "REDIS_URL"].into_iter().find(set);
    match (variable, &built.file) {
        (Some(name), _) => match environment.lookup(name).map(|found| found.source) {
            Some(Source::File { path, .. }) => format!("{name} in {}", path.display()),
            Some(Source::Process) | None => name.to_owned(),
        },
        (None, Some(file)) => format!("shared.redis_url in {}", file.display()),
        (None, None) => "shared.redis_url".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(found: &Examined) -> Vec<String> {
        let text = |advice: Advice| format!("{} -> {}", advice.what, advice.mend.unwrap());
        lacks(found, "REDIS_URL").into_iter().map(text).collect()
    }

    #[test]
    fn a_sound_redis_lacks_nothing() {
        assert!(told(&Examined { major: Some(7), ..Examined::default() }).is_empty());
    }

    #[test]
    fn what_a_redis_lacks_is_told_with_the_command_that_mends_it() {
        let old = Examined {
            server: "Redis 6.2.1".into(),
            major: Some(6),
            evicts: Some("allkeys-lru".into()),
            may_be_full: true,
            missing_commands: vec!["hset", "script|load"],
            names_refused: true,
            trouble: Some(Trouble::OutOfMemory),
            ..Examined::default()
        };
        let told = told(&old).join("\n");
        for expected in [
            "Redis 6.2.1 (REDIS_URL) is older than Redis 7",
            "forgets when it is full which daemon holds what: its maxmemory-policy is allkeys-lru",
            "may not use HSET, SCRIPT LOAD -> allow it: ACL SETUSER … +hset +script|load",
            "ACL SETUSER … ~keypool:*",
            "cannot be used: it is out of memory -> give it more maxmemory",
        ] {
            assert!(told.contains(expected), "{expected}\n{told}");
        }
    }

    #[test]
    fn a_sentinel_and_a_replica_are_recognised() {
        let sentinel = told(&Examined { kind: Kind::Sentinel, ..Examined::default() });
        assert!(sentinel.len() == 1 && sentinel[0].contains("redis+sentinel://"), "{sentinel:?}");
        let trouble = Some(Trouble::ReadOnly);
        let replica = told(&Examined { is_replica: true, trouble, ..Examined::default() });
        assert!(replica.len() == 1 && replica[0].contains("is a replica"), "{replica:?}");
    }
}

//! What can befall a Redis, and how it ends.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use super::home::{Home, Servers, move_the_pool};
use super::redis::Redis;

/// What can befall a Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Killed,
    Stopped,
    SlowByOneSecond,
    ReadOnly,
    OutOfMemory,
    WrongType,
    Garbage,
    RestartedEmpty,
    FailedOverToAStaleReplica,
    /// In a cluster: the names of the pool go to another master.
    Moved,
    /// In a cluster: one of the masters that have nothing of the pool does nothing.
    AnotherStopped,
}

/// What a fault is to the daemons as long as it lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// Redis is of no use.
    Away,
    /// Redis is there now and then.
    Slow,
    /// After a moment, nothing.
    Passing,
}

/// A fault that goes on.
pub(crate) struct Ongoing {
    fault: Fault,
    talker: Option<Talker>,
}

impl Fault {
    /// What can befall any of them.
    const ANYWHERE: [Self; 9] = [
        Self::Killed,
        Self::Stopped,
        Self::SlowByOneSecond,
        Self::ReadOnly,
        Self::OutOfMemory,
        Self::WrongType,
        Self::Garbage,
        Self::RestartedEmpty,
        Self::FailedOverToAStaleReplica,
    ];

    /// All that can befall a Redis of this kind.
    pub(crate) fn of(home: Home) -> Vec<Self> {
        match home {
            Home::Cluster => [&Self::ANYWHERE[..], &[Self::Moved, Self::AnotherStopped]].concat(),
            Home::Redis | Home::Valkey | Home::Tls => Self::ANYWHERE.into(),
        }
    }

    pub(crate) fn effect(self) -> Effect {
        match self {
            Self::Killed
            | Self::Stopped
            | Self::ReadOnly
            | Self::OutOfMemory
            | Self::WrongType
            | Self::Garbage => Effect::Away,
            Self::SlowByOneSecond => Effect::Slow,
            Self::RestartedEmpty
            | Self::FailedOverToAStaleReplica
            | Self::Moved
            | Self::AnotherStopped => Effect::Passing,
        }
    }

    /// What is to be done some time before it strikes.
    pub(crate) fn prepare(self, redis: &Redis) {
        if self == Self::FailedOverToAStaleReplica {
            assert_eq!(redis.ask(&["SAVE"]), "OK");
        }
    }

    /// Strikes the server that has the names of the pool, or one of the others.
    pub(crate) fn strike(self, redis: &mut Redis, servers: &Servers) -> Ongoing {
        let mut talker = None;
        match self {
            Self::Killed => redis.kill(),
            Self::Stopped => redis.signal(Signal::STOP),
            Self::SlowByOneSecond => {}
            // The masters of a cluster become nobody's replicas.
            Self::ReadOnly if redis.port().is_some() => {
                redis.order(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
            }
            Self::ReadOnly => redis.order(&["REPLICAOF", "127.0.0.1", "1"]),
            Self::OutOfMemory => redis.order(&["CONFIG", "SET", "maxmemory", "1"]),
            Self::WrongType => {
                redis.ask(&["DEL", "keypool:{trial}:1:ledger"]);
                redis.order(&["SET", "keypool:{trial}:1:ledger", "word"]);
            }
            Self::Garbage => {
                redis.kill();
                talker = Some(Talker::at(redis));
            }
            Self::RestartedEmpty | Self::FailedOverToAStaleReplica => {
                redis.kill();
                redis.start_again();
            }
            Self::Moved => move_the_pool(redis, &servers.others[1]),
            Self::AnotherStopped => {
                servers.others[1].signal(Signal::STOP);
                redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
            }
        }
        Ongoing { fault: self, talker }
    }
}

impl Ongoing {
    /// Goes on for another moment, after two seconds or more.
    pub(crate) fn go_on(&self, redis: &Redis) {
        if self.fault == Fault::SlowByOneSecond {
            redis.pause(Duration::from_secs(1));
        }
    }

    pub(crate) fn end(self, redis: &mut Redis, servers: &Servers) {
        match self.fault {
            Fault::Killed => redis.start_again(),
            Fault::Stopped => redis.signal(Signal::CONT),
            Fault::ReadOnly if redis.port().is_some() => {
                redis.order(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
            }
            Fault::ReadOnly => redis.order(&["REPLICAOF", "NO", "ONE"]),
            Fault::OutOfMemory => redis.order(&["CONFIG", "SET", "maxmemory", "0"]),
            Fault::WrongType => {
                redis.ask(&["DEL", "keypool:{trial}:1:ledger"]);
            }
            Fault::Garbage => {
                drop(self.talker);
                redis.start_again();
            }
            Fault::AnotherStopped => servers.others[1].signal(Signal::CONT),
            Fault::SlowByOneSecond
            | Fault::RestartedEmpty
            | Fault::FailedOverToAStaleReplica
            | Fault::Moved => {}
        }
    }
}

/// Something that listens where Redis did, and talks nonsense.
struct Talker {
    ends: Arc<AtomicBool>,
    talks: Option<JoinHandle<()>>,
}

/// Someone who calls it.
trait Caller: Read + Write {
    /// Lets nobody wait for it for longer than this.
    fn be_quick(&self, most: Duration) -> io::Result<()>;
}

impl Caller for UnixStream {
    fn be_quick(&self, most: Duration) -> io::Result<()> {
        self.set_nonblocking(false)?;
        self.set_read_timeout(Some(most))
    }
}

impl Caller for TcpStream {
    fn be_quick(&self, most: Duration) -> io::Result<()> {
        self.set_nonblocking(false)?;
        self.set_read_timeout(Some(most))
    }
}

impl Talker {
    fn at(redis: &Redis) -> Self {
        if let Some(port) = redis.port() {
            let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
            listener.set_nonblocking(true).unwrap();
            return Self::answering(move || listener.accept().map(|(caller, _)| caller), || {});
        }
        let socket = redis.socket();
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::answering(
            move || listener.accept().map(|(caller, _)| caller),
            move || fs::remove_file(&socket).unwrap(),
        )
    }

    fn answering<C: Caller>(
        accept: impl Fn() -> io::Result<C> + Send + 'static,
        leave: impl FnOnce() + Send + 'static,
    ) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = ends.clone();
        let talk = move || {
            let mut listeners = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let Ok(mut caller) = accept() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                // Some are told nonsense at once, and some in answer to what they ask.
                caller.be_quick(Duration::from_millis(20)).unwrap();
                if listeners.len() % 2 == 0 {
                    drop(caller.read(&mut [0; 4096]));
                }
                caller.write_all(b"HTTP/1.1 400 Bad Request\r\n$-7\r\n*9999999999\r\n").ok();
                listeners.push(caller);
            }
            drop((listeners, accept));
            leave();
        };
        Self { ends, talks: Some(std::thread::spawn(talk)) }
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(talks) = self.talks.take() {
            talks.join().unwrap();
        }
    }
}

//! What can befall a Redis, and how it ends.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

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
}

/// A fault that goes on.
pub(crate) struct Ongoing {
    fault: Fault,
    talker: Option<Talker>,
}

impl Fault {
    pub(crate) const ALL: [Self; 9] = [
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

    /// Whether Redis is of no use as long as it lasts.
    pub(crate) fn keeps_redis_away(self) -> bool {
        match self {
            Self::Killed
            | Self::Stopped
            | Self::ReadOnly
            | Self::OutOfMemory
            | Self::WrongType
            | Self::Garbage => true,
            Self::SlowByOneSecond | Self::RestartedEmpty | Self::FailedOverToAStaleReplica => false,
        }
    }

    /// What is to be done some time before it strikes.
    pub(crate) fn prepare(self, redis: &Redis) {
        if self == Self::FailedOverToAStaleReplica {
            assert_eq!(redis.ask(&["SAVE"]), "OK");
        }
    }

    pub(crate) fn strike(self, redis: &mut Redis) -> Ongoing {
        let mut talker = None;
        match self {
            Self::Killed => redis.kill(),
            Self::Stopped => redis.signal(Signal::STOP),
            Self::SlowByOneSecond => {}
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

    pub(crate) fn end(self, redis: &mut Redis) {
        match self.fault {
            Fault::Killed => redis.start_again(),
            Fault::Stopped => redis.signal(Signal::CONT),
            Fault::ReadOnly => redis.order(&["REPLICAOF", "NO", "ONE"]),
            Fault::OutOfMemory => redis.order(&["CONFIG", "SET", "maxmemory", "0"]),
            Fault::WrongType => {
                redis.ask(&["DEL", "keypool:{trial}:1:ledger"]);
            }
            Fault::Garbage => {
                drop(self.talker);
                redis.start_again();
            }
            Fault::SlowByOneSecond | Fault::RestartedEmpty | Fault::FailedOverToAStaleReplica => {}
        }
    }
}

/// Something that listens where Redis did, and talks nonsense.
struct Talker {
    ends: Arc<AtomicBool>,
    talks: Option<JoinHandle<()>>,
}

impl Talker {
    fn at(redis: &Redis) -> Self {
        let socket = redis.socket();
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let told = ends.clone();
        let talk = move || {
            let mut listeners = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let Ok((mut caller, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                // Some are told nonsense at once, and some in answer to what they ask.
                caller.set_nonblocking(false).unwrap();
                caller.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                if listeners.len() % 2 == 0 {
                    drop(caller.read(&mut [0; 4096]));
                }
                caller.write_all(b"HTTP/1.1 400 Bad Request\r\n$-7\r\n*9999999999\r\n").ok();
                listeners.push(caller);
            }
            drop(listeners);
            fs::remove_file(&socket).unwrap();
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

//! Finding the pool as it was left, or setting aside what cannot be read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use super::format::{
    Damage, Header, MOST_BYTES, decode_log, decode_snapshot, log_path, snapshot_path,
};
use super::keeper::StateKeeper;
use crate::clock::Clock;
use crate::pool::{Calendar, Fact, Instant, Now, Pool, Saved, SharedPool, WallTime};

/// How many sets of unreadable files are kept.
const SET_ASIDE_KEPT: usize = 3;

/// The pool as it was left, and who keeps it from here.
#[derive(Debug)]
pub struct Opened {
    /// The pool.
    pub pool: Arc<SharedPool>,
    /// The clock, on the time line of the pool.
    pub clock: Clock,
    /// Writes what happens from here; absent if nothing can be kept.
    pub keeper: Option<Arc<StateKeeper>>,
    /// Whether the pool goes on where the files end, in the same boot of the machine: then nothing
    /// has to be written before it can serve.
    pub continues: bool,
    /// What was found, for the log: good or bad news.
    pub report: Result<String, String>,
    /// If something could not be read: when it was last written. Everything may have been used up
    /// by then.
    pub doubtful_since: Option<WallTime>,
}

/// What a state directory holds.
enum Found {
    /// Nothing: this is the first start.
    Nothing,
    /// A state, and whether all of its facts could be read.
    State { header: Header, saved: Box<Saved>, facts: Vec<Fact>, whole: bool, next: u64 },
    /// Something that cannot be read.
    Unreadable(String),
}

/// Opens the state in `dir`. Whatever is wrong with it, there is a pool.
pub fn open(
    dir: &Path,
    calendar: &Arc<dyn Calendar>,
    seed: u64,
    epoch: u32,
    clock: Clock,
) -> Opened {
    let fresh = || Pool::new(calendar.clone(), epoch, seed);
    let lock = match prepare(dir) {
        Ok(lock) => lock,
        Err(error) => {
            let report = format!("nothing is kept: cannot use {}: {error}", dir.display());
            let pool = SharedPool::new(fresh());
            return Opened {
                pool,
                clock,
                keeper: None,
                continues: false,
                report: Err(report),
                doubtful_since: None,
            };
        }
    };
    let written = last_written(dir);
    let mut continues = false;
    let (pool, clock, next, report, doubtful) = match find(dir) {
        Found::Nothing => {
            let report = Ok(format!("first start with {}: nothing to go on with", dir.display()));
            (fresh(), clock, 1, report, false)
        }
        Found::State { header, saved, facts, whole, next } => {
            match resume(calendar, seed, *saved, facts, &header, clock.clone()) {
                Some((pool, clock, facts)) if whole => {
                    continues = header.boot_id == boot_id();
                    let report = Ok(format!("going on with {} ({facts})", dir.display()));
                    (pool, clock, next, report, false)
                }
                Some((pool, clock, facts)) => {
                    let report =
                        format!("the end of the log in {} is damaged ({facts})", dir.display());
                    (pool, clock, next, Err(report), true)
                }
                None => {
                    let aside = set_aside(dir, clock.now().wall);
                    let reason = "the state contradicts itself";
                    (fresh(), clock, 1, Err(unreadable(reason, &aside)), true)
                }
            }
        }
        Found::Unreadable(reason) => {
            let aside = set_aside(dir, clock.now().wall);
            (fresh(), clock, 1, Err(unreadable(&reason, &aside)), true)
        }
    };
    let doubtful_since = doubtful.then(|| written.unwrap_or(clock.now().wall));
    let pool = SharedPool::new(pool);
    let keeper = StateKeeper::new(dir, lock, next, clock.clone(), boot_id());
    Opened { pool, clock, keeper: Some(Arc::new(keeper)), continues, report, doubtful_since }
}

fn unreadable(reason: &str, aside: &io::Result<PathBuf>) -> String {
    let aside = match aside {
        Ok(path) => format!("kept as {}", path.display()),
        Err(error) => format!("cannot be set aside: {error}"),
    };
    format!("the state cannot be read: {reason} ({aside}); limits start conservatively")
}

/// Makes the directory and takes its lock.
fn prepare(dir: &Path) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join("keypool.lock"))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => io::Error::other("another keypool uses it"),
        error => error.into(),
    })?;
    Ok(lock)
}

fn find(dir: &Path) -> Found {
    let damaged =
        |what: &str, error: &dyn std::fmt::Display| Found::Unreadable(format!("{what}: {error}"));
    let bytes = match read(&snapshot_path(dir)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match logs(dir) {
                Ok(logs) if logs.is_empty() => Found::Nothing,
                Ok(_) => damaged("keypool.state", &"it is missing"),
                Err(error) => damaged("the directory", &error),
            };
        }
        Err(error) => return damaged("keypool.state", &error),
    };
    let (header, saved) = match decode_snapshot(&bytes) {
        Ok(state) => state,
        Err(damage) => return damaged("keypool.state", &damage),
    };
    let mut facts = Vec::new();
    let mut next = header.generation;
    let mut whole = true;
    loop {
        let log = match read(&log_path(dir, next)) {
            Ok(bytes) => decode_log(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(_) => Err(Damage::Foreign),
        };
        next += 1;
        match log {
            Ok((more, ends_well)) => {
                facts.extend(more);
                whole &= ends_well;
            }
            Err(_) => whole = false,
        }
    }
    // In the same boot a torn end is a fact that was being written when the process was killed:
    // nobody was answered.
    let torn_by_a_kill = header.boot_id == boot_id() && next == header.generation + 1;
    let saved = Box::new(saved);
    Found::State { header, saved, facts, whole: whole || torn_by_a_kill, next }
}

/// The pool and its clock, and what was replayed, for people.
fn resume(
    calendar: &Arc<dyn Calendar>,
    seed: u64,
    saved: Saved,
    facts: Vec<Fact>,
    header: &Header,
    clock: Clock,
) -> Option<(Pool, Clock, String)> {
    let mut pool = Pool::restore(calendar.clone(), seed, saved)?;
    let then = facts.last().map_or(header.now, Fact::now);
    let count = facts.len();
    let lost = facts.into_iter().map(|fact| pool.replay(fact)).filter(|done| !done).count();
    let same_boot = (header.boot_id == boot_id()).then_some(header.offset);
    let clock = clock.continued(then, same_boot);
    let told = match lost {
        0 => format!("a snapshot and {count} facts"),
        lost => format!("a snapshot and {count} facts, of which {lost} were of nothing known"),
    };
    Some((pool, clock, told))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if metadata.len() > MOST_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn logs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_log = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"keypool.log."))
    };
    let entries = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path()));
    Ok(entries.collect::<io::Result<Vec<_>>>()?.into_iter().filter(is_log).collect())
}

/// When anything of the state was last written.
fn last_written(dir: &Path) -> Option<WallTime> {
    let files = logs(dir).unwrap_or_default().into_iter().chain([snapshot_path(dir)]);
    let modified = files.filter_map(|path| fs::metadata(path).ok()?.modified().ok()).max()?;
    let since_epoch = modified.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_millis()).ok().map(WallTime::from_millis)
}

/// Moves everything into a directory of its own, and drops the oldest such directories.
fn set_aside(dir: &Path, now: WallTime) -> io::Result<PathBuf> {
    let aside = dir.join(format!("damaged-{}", now.as_millis()));
    fs::DirBuilder::new().mode(0o700).create(&aside)?;
    for path in logs(dir)?.into_iter().chain([snapshot_path(dir)]) {
        if let Some(name) = path.file_name()
            && fs::symlink_metadata(&path).is_ok()
        {
            fs::rename(&path, aside.join(name))?;
        }
    }
    let mut sets: Vec<PathBuf> = fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("damaged-"))
        })
        .collect();
    sets.sort();
    for old in sets.iter().rev().skip(SET_ASIDE_KEPT) {
        fs::remove_dir_all(old)?;
    }
    Ok(aside)
}

/// Names the boot of the machine, by the kernel; empty if it does not say, so that no boot is
/// taken for another one's continuation.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The wall time `wall` on the time line of `now`; long ago counts as the beginning.
pub(super) fn instant_of(wall: WallTime, now: Now) -> Instant {
    let ago = now.wall.since(wall).as_nanos();
    Instant::from_nanos(now.at.as_nanos().saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX)))
}

impl Opened {
    /// If something could not be read: the latest time of uses that are not known.
    pub fn doubtful_at(&self) -> Option<Instant> {
        self.doubtful_since.map(|wall| instant_of(wall, self.clock.now()))
    }
}

//! Writing what happens: facts at once, a snapshot now and then.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::format::{
    Header, encode_fact, encode_pieces, encode_snapshot, encode_taken, log_head, log_path,
    snapshot_path,
};
use crate::background::Unhurried;
use crate::clock::Clock;
use crate::pool::{Fact, PoolSettings, SharedPool, Snapshot};

/// A log this long is followed by a snapshot.
const LONG_LOG: u64 = 8 * 1024 * 1024;

/// The most bytes whose place is kept to be used again.
const MOST_KEPT: usize = 64 * 1024;

/// Keeps the state of a pool in a directory.
#[derive(Debug)]
pub struct StateKeeper {
    dir: PathBuf,
    clock: Clock,
    boot_id: String,
    log: Mutex<Log>,
    /// Held while a snapshot is made, until it is on the disk.
    writing: Mutex<()>,
    /// Held while the pool is read for that.
    reading: Mutex<()>,
    /// How many flushes have begun, and how many have ended. They are made one after another.
    begun: AtomicU64,
    ended: AtomicU64,
    /// Held for as long as the directory is ours.
    _lock: File,
}

#[derive(Debug)]
struct Log {
    /// The log that is being written, unless writing fails.
    file: Option<File>,
    generation: u64,
    length: u64,
    /// What was written last, whose place is used again.
    bytes: Vec<u8>,
    /// The configuration that the pool is about to take, if its pieces are in this file.
    coming: Option<Arc<PoolSettings>>,
    synced: u64,
    snapshot_due: bool,
    failing: Option<String>,
    failures: u64,
}

/// A moment between two flushes.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

/// How the keeping goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateStatus {
    /// Where the state is.
    pub dir: PathBuf,
    /// Why nothing can be written, if nothing can.
    pub failing: Option<String>,
    /// How often writing has failed.
    pub failures: u64,
}

impl StateKeeper {
    pub(super) fn new(
        dir: &Path,
        lock: File,
        generation: u64,
        clock: Clock,
        boot_id: String,
    ) -> Self {
        let log = Log {
            file: None,
            generation,
            length: 0,
            bytes: Vec::new(),
            coming: None,
            synced: 0,
            snapshot_due: false,
            failing: None,
            failures: 0,
        };
        Self {
            dir: dir.to_owned(),
            clock,
            boot_id,
            log: Mutex::new(log),
            writing: Mutex::default(),
            reading: Mutex::default(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            _lock: lock,
        }
    }

    /// Writes the facts of `pool` that are not written yet. Once this returns, whatever the caller
    /// knows of the pool survives the end of the process.
    pub fn flush(&self, pool: &SharedPool) {
        self.flush_in(&mut self.lock(), pool);
    }

    /// The present moment: what the pool has noted until now is written by every flush that begins
    /// later.
    pub fn moment(&self) -> Moment {
        // Who flushes counts before it locks the pool to take the facts. So if this misses one that
        // has begun, the lock of the pool was ours before, and it finds our facts.
        Moment(self.begun.load(Ordering::Acquire))
    }

    /// Like [`StateKeeper::flush`] for what was noted until `moment`, which many share: all who ask
    /// for it in one round of the runtime cost one write.
    pub fn flush_until(&self, moment: Moment, pool: &SharedPool) {
        let is_written = || self.ended.load(Ordering::Acquire) > moment.0;
        if is_written() {
            return;
        }
        let mut log = self.lock();
        if !is_written() {
            self.flush_in(&mut log, pool);
        }
    }

    fn flush_in(&self, log: &mut Log, pool: &SharedPool) {
        let number = self.begun.load(Ordering::Relaxed) + 1;
        self.begun.store(number, Ordering::Release);
        // Facts are taken under the lock of the log, so that they are written in their order.
        log.write(&pool.take_facts());
        self.ended.store(number, Ordering::Release);
    }

    /// The pool is about to take these settings. They are written piece by piece, so that no fact
    /// has to wait for all of them. Until what this returns is dropped, the pool is not read for a
    /// snapshot: every page of it would be put aside as it changes.
    pub fn expect(&self, settings: &Arc<PoolSettings>) -> MutexGuard<'_, ()> {
        let reading = lock(&self.reading);
        if let Some(pieces) = encode_pieces(settings) {
            for piece in pieces {
                self.lock().append(&piece);
                std::thread::yield_now();
            }
            let mut log = self.lock();
            log.coming = log.file.is_some().then(|| settings.clone());
        }
        reading
    }

    /// Goes on in a new log after those that were read, and leaves the snapshot for later: that
    /// takes the disk some time.
    pub fn go_on(&self, pool: &SharedPool) {
        let _reading = lock(&self.reading);
        let begun = self.begin_log(pool).map(drop);
        let mut log = self.lock();
        match begun {
            Ok(()) => log.snapshot_due = true,
            Err(error) => log.fail(&error),
        }
    }

    /// Writes a snapshot and begins a new log. What happens meanwhile goes to the new log.
    pub fn snapshot(&self, pool: &SharedPool) {
        let _writing = lock(&self.writing);
        let written = self.encode(pool).and_then(|(generation, bytes)| {
            self.replace_snapshot(&bytes)?;
            self.remove_logs_before(generation);
            self.lock().snapshot_due = false;
            Ok(())
        });
        let mut log = self.lock();
        match written {
            Ok(()) if log.file.is_some() => {
                if log.failing.take().is_some() {
                    tracing::info!("the state in {} is kept again", self.dir.display());
                }
            }
            Ok(()) => {}
            Err(error) => log.fail(&error),
        }
    }

    /// Does what is due once a second: brings facts to the disk, makes a snapshot after a long
    /// log, and tries again after a failure.
    pub fn tend(&self, pool: &SharedPool) {
        let (again, file) = {
            let mut log = self.lock();
            let again = log.file.is_none() || log.length > LONG_LOG || log.snapshot_due;
            let unsynced = log.length > log.synced;
            log.synced = log.length;
            (again, log.file.as_ref().filter(|_| unsynced).and_then(|file| file.try_clone().ok()))
        };
        if let Some(file) = file
            && let Err(error) = file.sync_data()
        {
            // A failed sync may have dropped what it was to write: begin anew.
            self.lock().fail(&error);
        } else if again {
            self.snapshot(pool);
        }
    }

    /// How the keeping goes.
    pub fn status(&self) -> StateStatus {
        let log = self.lock();
        let failing = log.failing.clone();
        StateStatus { dir: self.dir.clone(), failing, failures: log.failures }
    }

    /// Begins a new log, and encodes the state before it, for which nobody has to wait.
    fn encode(&self, pool: &SharedPool) -> io::Result<(u64, Vec<u8>)> {
        let _reading = lock(&self.reading);
        let (header, snapshot) = self.begin_log(pool)?;
        let bytes = encode_snapshot(&header, &snapshot);
        let bytes = bytes.ok_or_else(|| io::Error::other("the state cannot be encoded"))?;
        Ok((header.generation, bytes))
    }

    /// Begins a new log. The state before it.
    fn begin_log<'a>(&self, pool: &'a SharedPool) -> io::Result<(Header, Snapshot<'a>)> {
        let mut log = self.lock();
        let generation = log.generation + u64::from(log.length > 0 || log.failing.is_some());
        let path = log_path(&self.dir, generation);
        let mut file =
            File::options().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(&log_head())?;
        let header = Header {
            generation,
            boot_id: self.boot_id.clone(),
            offset: self.clock.offset(),
            now: self.clock.now(),
        };
        let (snapshot, facts) = pool.begin_facts();
        // They are in the snapshot as well, but that is not on the disk yet.
        log.write(&facts);
        log.file = Some(file);
        log.coming = None;
        log.generation = generation;
        log.length = log_head().len() as u64;
        log.synced = 0;
        Ok((header, snapshot))
    }

    fn replace_snapshot(&self, bytes: &[u8]) -> io::Result<()> {
        let path = snapshot_path(&self.dir);
        let beside = path.with_added_extension("tmp");
        fs::remove_file(&beside).ok();
        let file = File::options().create_new(true).write(true).mode(0o600).open(&beside)?;
        Unhurried::new(&file).write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(&self.dir)?.sync_all()
    }

    /// Logs that are in the snapshot are superfluous; one that cannot be removed does no harm.
    fn remove_logs_before(&self, generation: u64) {
        let mut old = generation;
        while old > 0 && fs::remove_file(log_path(&self.dir, old - 1)).is_ok() {
            old -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    fn write(&mut self, facts: &[Fact]) {
        if self.file.is_none() || facts.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        for fact in facts {
            let is_it =
                |coming: &mut Arc<_>| fact.settings().is_some_and(|it| Arc::ptr_eq(it, coming));
            match self.coming.take_if(is_it) {
                Some(_) => encode_taken(fact.now(), &mut bytes),
                None => encode_fact(fact, &mut bytes),
            }
        }
        self.append(&bytes);
        if bytes.capacity() <= MOST_KEPT {
            bytes.clear();
            self.bytes = bytes;
        }
    }

    fn append(&mut self, records: &[u8]) {
        let Some(file) = &mut self.file else { return };
        match file.write_all(records) {
            Ok(()) => self.length += records.len() as u64,
            Err(error) => self.fail(&error),
        }
    }

    /// Stops writing to a log of which nobody knows what it holds. The next snapshot begins a new
    /// one.
    fn fail(&mut self, error: &io::Error) {
        self.failures += 1;
        if self.failing.is_none() {
            tracing::error!(%error, "the state cannot be kept; serving goes on, trying again");
        }
        self.failing = Some(error.to_string());
        self.file = None;
        self.coming = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::format::decode_log;
    use super::*;
    use crate::clock::{JiffCalendar, ManualClock};
    use crate::pool::Calendar;

    /// An empty pool whose state is kept.
    fn kept() -> (tempfile::TempDir, Clock, Arc<SharedPool>, Arc<StateKeeper>) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::Manual(ManualClock::default());
        let calendar: Arc<dyn Calendar> = Arc::new(JiffCalendar);
        let opened = super::super::open(dir.path(), &calendar, 1, 1, clock.clone());
        let (pool, keeper) = (opened.pool, opened.keeper.unwrap());
        keeper.snapshot(&pool);
        (dir, clock, pool, keeper)
    }

    #[test]
    fn all_who_note_something_before_a_flush_share_it() {
        let (_dir, clock, pool, keeper) = kept();
        let note = |shared| {
            pool.call(clock.now(), |pool, now| pool.share_limits(shared, now));
            keeper.moment()
        };
        let flushes = || keeper.ended.load(Ordering::Relaxed);

        let (first, second) = (note(true), note(false));
        keeper.flush_until(second, &pool);
        keeper.flush_until(first, &pool);
        assert_eq!(flushes(), 1);
        let third = note(true);
        keeper.flush_until(second, &pool);
        assert_eq!(flushes(), 1, "what it noted is written");
        keeper.flush_until(third, &pool);
        let log = fs::read(log_path(&keeper.dir, keeper.lock().generation)).unwrap();
        assert_eq!(decode_log(&log).unwrap().0.len(), 3);
    }

    #[test]
    fn a_configuration_that_was_expected_is_written_as_any_other() {
        let read = [true, false].map(|expected| {
            let (_dir, clock, pool, keeper) = kept();
            let settings = Arc::new(PoolSettings { default_tokens: 7, ..PoolSettings::default() });
            let other = Arc::new(PoolSettings::clone(&settings));
            drop(keeper.expect(if expected { &settings } else { &other }));
            pool.call(clock.now(), |pool, now| pool.reconfigure(settings, now));
            keeper.flush(&pool);
            assert_eq!(keeper.lock().coming.is_none(), expected, "what was expected has come");
            let log = fs::read(log_path(&keeper.dir, keeper.lock().generation)).unwrap();
            decode_log(&log).unwrap()
        });
        assert_eq!(read[0], read[1]);
        assert_eq!((read[0].0.len(), read[0].1), (1, true));
    }
}

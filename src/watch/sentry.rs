//! inotify, through notify: something has happened in one of a set of directories.
//!
//! Directories are watched and never files, which editors replace; every event counts whatever its
//! name, because a file may be changed through a link of another name. Only reading is no event,
//! for keypool reads the files itself.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::Mode;
use super::directories::on_the_way;
use crate::pool::Instant;

/// How long to do without inotify before it is tried again.
const RETRY: Duration = Duration::from_mins(1);

/// Rings a bell when something happens in the directories it guards.
#[derive(Debug)]
pub(super) struct Sentry {
    bell: Arc<Notify>,
    guarded: BTreeSet<Directory>,
    post: Post,
    /// A guarded directory went away or got another name.
    displaced: Arc<AtomicBool>,
}

/// A directory that is itself and no other one that got its name since.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Directory {
    path: PathBuf,
    place: (u64, u64),
    /// Numbers of inodes are used again.
    created: Option<SystemTime>,
}

#[derive(Debug)]
enum Post {
    /// Not taken yet.
    Vacant,
    /// Held for as long as events are wanted.
    Manned(#[expect(dead_code, reason = "dropping it ends the events")] RecommendedWatcher),
    /// There is no inotify to be had.
    Denied { since: Instant },
}

impl Sentry {
    pub(super) fn new(bell: Arc<Notify>) -> Self {
        let displaced = Arc::default();
        Self { bell, guarded: BTreeSet::new(), post: Post::Vacant, displaced }
    }

    pub(super) fn mode(&self) -> Mode {
        match self.post {
            Post::Manned(_) => Mode::InotifyAndPoll,
            Post::Vacant | Post::Denied { .. } => Mode::Poll,
        }
    }

    /// Guards the directories on the way to each of `paths`, and no others.
    pub(super) fn guard(&mut self, paths: &[PathBuf], now: Instant) {
        let directories = paths.iter().flat_map(|path| on_the_way(path));
        let directories: BTreeSet<Directory> = directories.filter_map(Directory::at).collect();
        let displaced = self.displaced.swap(false, Ordering::AcqRel);
        let same = !displaced && directories == self.guarded;
        match self.post {
            Post::Manned(_) if same => return,
            Post::Denied { since } if now.since(since) < RETRY => return,
            Post::Vacant | Post::Manned(_) | Post::Denied { .. } => {}
        }
        // Made anew rather than changed: a change that meets the events of a directory that has
        // just been replaced can leave a name watched in our books and not in the kernel's.
        let before = self.mode();
        let was_denied = matches!(self.post, Post::Denied { .. });
        self.post = Post::Vacant;
        self.post = match watcher(&self.bell, &self.displaced, &directories) {
            Ok(watcher) => Post::Manned(watcher),
            Err(error) => {
                if !was_denied {
                    let why = reason(&error);
                    tracing::warn!(
                        "inotify is not to be had ({why}); looking at the files instead"
                    );
                }
                Post::Denied { since: now }
            }
        };
        if was_denied && before != self.mode() {
            tracing::info!("inotify is to be had again");
        }
        self.guarded = directories;
    }
}

impl Directory {
    fn at(path: PathBuf) -> Option<Self> {
        let found = path.metadata().ok()?;
        Some(Self { path, place: (found.dev(), found.ino()), created: found.created().ok() })
    }
}

fn watcher(
    bell: &Arc<Notify>,
    displaced: &Arc<AtomicBool>,
    directories: &BTreeSet<Directory>,
) -> notify::Result<RecommendedWatcher> {
    let names: BTreeSet<PathBuf> = directories.iter().map(|one| one.path.clone()).collect();
    let (bell, displaced) = (bell.clone(), displaced.clone());
    // This runs on the thread that reads events: it never waits.
    let hear = move |event: notify::Result<Event>| {
        if let Ok(event) = event {
            if event.kind.is_access() {
                return;
            }
            if moves(event.kind) && event.paths.iter().any(|path| names.contains(path)) {
                displaced.store(true, Ordering::Release);
            }
        }
        bell.notify_one();
    };
    let mut watcher = notify::recommended_watcher(hear)?;
    for directory in directories {
        match watcher.watch(&directory.path, RecursiveMode::NonRecursive) {
            // One that went away meanwhile is no longer on the way.
            Err(error) if !matches!(error.kind, notify::ErrorKind::PathNotFound) => {
                return Err(error);
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(watcher)
}

/// Whether the paths of such an event may name something else from now on.
fn moves(kind: EventKind) -> bool {
    kind.is_remove() || kind.is_create() || matches!(kind, EventKind::Modify(ModifyKind::Name(_)))
}

fn reason(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => "fs.inotify.max_user_watches is used up".to_owned(),
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(EMFILE) => {
            "fs.inotify.max_user_instances, or the number of open files, is used up".to_owned()
        }
        notify::ErrorKind::Io(error) => error.to_string(),
        notify::ErrorKind::Generic(_)
        | notify::ErrorKind::PathNotFound
        | notify::ErrorKind::WatchNotFound
        | notify::ErrorKind::InvalidConfig(_) => error.to_string(),
    }
}

/// Too many open files.
const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();

//! Writing the keys file back: as a whole, and only over what was read.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, RenameFlags, Uid, fchown, renameat_with};

/// Why a file was not replaced; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotSaved {
    /// Somebody else has written it since it was read.
    #[error("somebody else has changed the file at the same time")]
    Conflict,
    /// The system said no.
    #[error("cannot {doing}: {}", .kind)]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// What kind of error it was.
        kind: io::ErrorKind,
    },
}

/// Replaces `path`, in which `read` was found, by `text`, with its mode, owner and group. A
/// symbolic link stays, and its target is replaced. Once this returns, a power failure takes
/// nothing of it.
pub fn save_over(path: &Path, read: &[u8], text: &str) -> Result<(), NotSaved> {
    let failed = |doing| move |error: io::Error| NotSaved::Failed { doing, kind: error.kind() };
    let path = path.canonicalize().map_err(failed("find the file"))?;
    let beside = beside(&path);
    let saved = write(&path, &beside, text).and_then(|()| exchange(&path, &beside, read, text));
    // What is beside it now is what was replaced, or what was not put in its place.
    drop(fs::remove_file(&beside));
    saved?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync the directory"))
}

/// Writes `text` to `beside`, with all that matters of `path`.
fn write(path: &Path, beside: &Path, text: &str) -> Result<(), NotSaved> {
    let failed = |doing| move |error: io::Error| NotSaved::Failed { doing, kind: error.kind() };
    let like = fs::metadata(path).map_err(failed("find the file"))?;
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("write in the directory of the file")(error));
        }
        Ok(()) | Err(_) => {}
    }
    // Closed to others until it has the owner and the mode of the file.
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(beside);
    let mut file = file.map_err(failed("write in the directory of the file"))?;
    file.write_all(text.as_bytes()).map_err(failed("write beside the file"))?;
    let new = file.metadata().map_err(failed("write beside the file"))?;
    let other = |ours: u32, theirs: u32| (ours != theirs).then_some(theirs);
    let owner = other(new.uid(), like.uid()).map(Uid::from_raw);
    let group = other(new.gid(), like.gid()).map(Gid::from_raw);
    if owner.is_some() || group.is_some() {
        fchown(&file, owner, group)
            .map_err(|error| failed("keep the owner and group of the file")(error.into()))?;
    }
    file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))
        .map_err(failed("keep the mode of the file"))?;
    file.sync_all().map_err(failed("write beside the file"))
}

/// Puts `beside` in the place of `path` if `read` is what is there. The two change places, so that
/// what is replaced can be looked at and put back: nothing comes between looking and replacing.
fn exchange(path: &Path, beside: &Path, read: &[u8], text: &str) -> Result<(), NotSaved> {
    let failed = |doing| move |error: io::Error| NotSaved::Failed { doing, kind: error.kind() };
    let content = |path: &Path| fs::read(path).map_err(failed("read the file again"));
    if content(path)? != read {
        return Err(NotSaved::Conflict);
    }
    let swap = || renameat_with(CWD, beside, CWD, path, RenameFlags::EXCHANGE);
    if swap().is_err() {
        // A file system that cannot exchange: all that is left open is this instant.
        return fs::rename(beside, path).map_err(failed("replace the file"));
    }
    if content(beside)? == read {
        return Ok(());
    }
    swap().map_err(|error| failed("put the file back")(error.into()))?;
    // Who saved over ours in that instant has the last word.
    if content(beside)? != text.as_bytes() {
        swap().map_err(|error| failed("put the file back")(error.into()))?;
    }
    Err(NotSaved::Conflict)
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(tempfile::TempDir);

    impl Dir {
        fn with(text: &str) -> Self {
            let dir = Self(tempfile::tempdir().unwrap());
            fs::write(dir.file(), text).unwrap();
            dir
        }

        fn file(&self) -> PathBuf {
            self.0.path().join("keys.json")
        }

        fn text(&self) -> String {
            fs::read_to_string(self.file()).unwrap()
        }

        fn names(&self) -> usize {
            fs::read_dir(self.0.path()).unwrap().count()
        }
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it() {
        let dir = Dir::with("old");
        fs::set_permissions(dir.file(), Permissions::from_mode(0o604)).unwrap();
        save_over(&dir.file(), b"old", "new").unwrap();
        assert_eq!((dir.text().as_str(), dir.names()), ("new", 1));
        assert_eq!(fs::metadata(dir.file()).unwrap().mode() & 0o7777, 0o604);
    }

    #[test]
    fn what_somebody_else_has_written_is_not_replaced() {
        let dir = Dir::with("theirs");
        assert!(matches!(save_over(&dir.file(), b"old", "new"), Err(NotSaved::Conflict)));
        assert_eq!((dir.text().as_str(), dir.names()), ("theirs", 1));
    }

    #[test]
    fn a_file_that_has_gone_is_not_made_again() {
        let dir = Dir::with("old");
        fs::remove_file(dir.file()).unwrap();
        assert!(matches!(save_over(&dir.file(), b"old", "new"), Err(NotSaved::Failed { .. })));
        assert_eq!(dir.names(), 0);
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = Dir::with("old");
        let link = dir.0.path().join("link");
        std::os::unix::fs::symlink(dir.file(), &link).unwrap();
        save_over(&link, b"old", "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(dir.text(), "new");
    }

    #[test]
    fn of_two_who_write_at_once_neither_loses_what_is_saved() {
        let dir = Dir::with("");
        std::thread::scope(|scope| {
            // By hand: read, think, save under another name, rename; then see that it is there.
            let by_hand = scope.spawn(|| {
                for n in 0..200 {
                    let line = format!("hand {n}\n");
                    while !dir.text().contains(&line) {
                        let before = dir.text();
                        let other = dir.0.path().join("edited");
                        fs::write(&other, before.clone() + &line).unwrap();
                        if dir.text() == before {
                            fs::rename(&other, dir.file()).unwrap();
                        }
                    }
                }
            });
            while !by_hand.is_finished() {
                let before = dir.text();
                let after = before.clone() + "ours\n";
                match save_over(&dir.file(), before.as_bytes(), &after) {
                    Ok(()) | Err(NotSaved::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let text = dir.text();
        assert!((0..200).all(|n| text.contains(&format!("hand {n}\n"))), "{text}");
    }
}

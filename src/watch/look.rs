//! What is to be seen of a file.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use zeroize::Zeroizing;

use crate::background::Stretch;

/// How files look, by path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Looks(BTreeMap<PathBuf, Look>);

/// How the file at a path looks, links followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    /// There is none.
    Missing,
    /// It cannot be read, or is no file.
    Unreadable(io::ErrorKind),
    /// It is there.
    File(FileLook),
    /// It changed while it was looked at.
    Unsure,
}

/// How a file looks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileLook {
    reads: Reads,
    place: (u64, u64),
    modified: (i64, i64),
}

/// What matters to a reader.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Reads {
    length: u64,
    content: u64,
    mode: u32,
    owner: u32,
}

/// No file that is read is longer than this; of longer ones the beginning tells enough.
const MOST_READ: u64 = 1 << 20;

/// How many bytes are read at once.
const PIECE: usize = 16 * 1024;

/// Keyed, so that what is kept of a secret says nothing of it.
static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Looks {
    /// Looks at each of `paths`.
    pub fn at(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let look = |path: PathBuf| {
            let look = Look::at(&path);
            (path, look)
        };
        Self(paths.into_iter().map(look).collect())
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// These looks, unsure of the files that have another look in `after`.
    #[must_use]
    pub fn if_still(self, after: &Self) -> Self {
        let sure = |(path, look): (PathBuf, Look)| {
            let still = after.0.get(&path).is_none_or(|after| look.reads_as(after));
            (path, if still { look } else { Look::Unsure })
        };
        Self(self.0.into_iter().map(sure).collect())
    }

    /// These looks, and those of `more` at other paths.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        for (path, look) in more.0 {
            self.0.entry(path).or_insert(look);
        }
        self
    }

    /// Whether somebody who reads the files finds what `known` says.
    pub(super) fn read_as(&self, known: &Self) -> bool {
        known
            .0
            .iter()
            .all(|(path, known)| self.0.get(path).is_some_and(|look| look.reads_as(known)))
    }

    /// Whether a file that had content in `known` has none.
    pub(super) fn have_lost(&self, known: &Self) -> bool {
        let lost = |(path, known): (&PathBuf, &Look)| {
            known.has_content() && self.0.get(path).is_none_or(|look| !look.has_content())
        };
        known.0.iter().any(lost)
    }
}

impl Look {
    /// Looks at the file at `path`.
    pub fn at(path: &Path) -> Self {
        Self::of_file(path).unwrap_or_else(|error| {
            let kind = error.kind();
            if kind == io::ErrorKind::NotFound { Self::Missing } else { Self::Unreadable(kind) }
        })
    }

    fn of_file(path: &Path) -> io::Result<Self> {
        // Looked at before it is opened as well, because opening a pipe waits for a writer.
        if !path.metadata()?.is_file() {
            return Ok(Self::Unreadable(io::ErrorKind::Unsupported));
        }
        let file = File::open(path)?;
        let before = file.metadata()?;
        let content = hash(file.try_clone()?.take(MOST_READ))?;
        let look = |found: &Metadata| FileLook {
            reads: Reads { length: found.len(), content, mode: found.mode(), owner: found.uid() },
            place: (found.dev(), found.ino()),
            modified: (found.mtime(), found.mtime_nsec()),
        };
        let (before, after) = (look(&before), look(&file.metadata()?));
        Ok(if before == after { Self::File(before) } else { Self::Unsure })
    }

    fn reads_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unsure, _) | (_, Self::Unsure) => false,
            (Self::File(look), Self::File(other)) => look.reads == other.reads,
            (look, other) => look == other,
        }
    }

    fn has_content(&self) -> bool {
        match self {
            Self::File(look) => look.reads.length > 0,
            // It may have: only what is known to be void is waited for.
            Self::Unsure => true,
            Self::Missing | Self::Unreadable(_) => false,
        }
    }
}

/// A number that stands for all that there is to read.
fn hash(mut content: impl Read) -> io::Result<u64> {
    let mut hasher = HASH.build_hasher();
    let mut piece = Zeroizing::new([0; PIECE]);
    let mut stretch = Stretch::of_bytes();
    loop {
        match content.read(&mut piece[..]) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => {
                hasher.write(&piece[..read]);
                stretch.add(read);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn changed_by(change: impl FnOnce(&Path)) -> (bool, bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        fs::write(&path, "{\"keys\": []}").unwrap();
        let before = Looks::at([path.clone()]);
        change(&path);
        let after = Looks::at([path]);
        (!after.read_as(&before), after.have_lost(&before))
    }

    #[test]
    fn a_file_that_is_touched_read_or_replaced_by_its_like_reads_as_before() {
        assert_eq!(changed_by(|path| drop(fs::read(path).unwrap())), (false, false));
        let touch = |path: &Path| {
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        };
        assert_eq!(changed_by(touch), (false, false));
        let replace = |path: &Path| {
            fs::copy(path, path.with_extension("new")).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        };
        assert_eq!(changed_by(replace), (false, false));
    }

    #[test]
    fn another_text_or_mode_reads_otherwise() {
        assert_eq!(changed_by(|path| fs::write(path, "{\"keys\": {}}").unwrap()), (true, false));
        let open = |path: &Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        };
        assert_eq!(changed_by(open), (true, false));
    }

    #[test]
    fn a_file_that_is_gone_or_empty_has_lost_its_content() {
        assert_eq!(changed_by(|path| fs::remove_file(path).unwrap()), (true, true));
        assert_eq!(changed_by(|path| fs::write(path, "").unwrap()), (true, true));
        let directory = |path: &Path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        };
        assert_eq!(changed_by(directory), (true, true));
    }

    #[test]
    fn what_changed_meanwhile_is_like_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let before = Looks::at([path.clone()]);
        fs::write(&path, "x").unwrap();
        let after = Looks::at([path]);
        let unsure = before.if_still(&after);
        assert!(!after.read_as(&unsure));
        assert!(after.read_as(&after.clone().if_still(&after)));
    }
}

//! Reading files that others must not write, and some that others must not read.
//!
//! A file that anybody can write is refused: whoever writes keys.json chooses where keys go. One
//! exception: under a umask that gives everybody write access to new files, a fresh clone would
//! be refused whole, so there the refusal is a warning.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::Process;
use crate::background::Unhurried;
use crate::pool::WallTime;

/// What a file holds, which decides who may read it and how long it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Configuration without secrets.
    Configuration,
    /// Configuration or variables with secrets among them: not for everybody's eyes.
    Secrets,
    /// One secret alone: for the owner's eyes only.
    OneSecret,
    /// One secret alone that systemd has put there, which sees to its rights by other means than
    /// the mode.
    Credential,
}

/// A file that was read.
#[derive(Debug)]
pub struct Protected {
    /// Its bytes, wiped on drop.
    pub bytes: Zeroizing<Vec<u8>>,
    /// When it was last written.
    pub modified: WallTime,
    /// What its mode or owner gives cause for.
    pub warnings: Vec<FileWarning>,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum FileRefusal {
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// It could not be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    /// A directory, a pipe, a device.
    #[error("is not a regular file")]
    NotAFile,
    /// More bytes than such a file has.
    #[error("is longer than {limit} bytes")]
    TooLong {
        /// The most bytes.
        limit: u64,
    },
    /// It changed each time while it was read.
    #[error("changes while it is read; it is looked at again as soon as it rests")]
    Restless,
    /// Everybody may write it.
    #[error("everybody can write this file, so it is not used; mend it with: chmod o-w {path}")]
    WorldWritable {
        /// The path for the command.
        path: String,
    },
}

/// What the mode or the owner of a file that was read gives cause for. The text says how to mend
/// it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}; mend it with: {command}")]
pub struct FileWarning {
    what: &'static str,
    command: String,
}

impl Content {
    /// The most bytes: far above what is sensible, low enough to be read at once.
    const fn limit(self) -> u64 {
        match self {
            Self::Configuration | Self::Secrets => 1 << 20,
            Self::OneSecret | Self::Credential => 1 << 16,
        }
    }
}

/// How often a file is read that changes meanwhile.
const MOST_READINGS: usize = 3;

/// With less room the standard library reads the first bytes into a place of its own.
const LEAST_ROOM: usize = 64;

/// Reads `path` whole and in one state, if its kind, mode and length allow.
pub fn read_protected(
    path: &Path,
    content: Content,
    process: &Process,
) -> Result<Protected, FileRefusal> {
    let refusal = |error: io::Error| {
        let kind = error.kind();
        let missing = kind == io::ErrorKind::NotFound;
        if missing { FileRefusal::Missing } else { FileRefusal::Unreadable(kind) }
    };
    // Looked at before it is opened as well, because opening a pipe waits for a writer.
    if !path.metadata().map_err(refusal)?.is_file() {
        return Err(FileRefusal::NotAFile);
    }
    for _ in 0..MOST_READINGS {
        let file = File::open(path).map_err(refusal)?;
        let metadata = file.metadata().map_err(refusal)?;
        let limit = content.limit();
        if metadata.len() > limit {
            return Err(FileRefusal::TooLong { limit });
        }
        let warnings = judge(path, &metadata, content, process)?;
        // Of full size from the start, because growth would leave copies behind, as what is read
        // first does where there is little room.
        let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX).saturating_add(1);
        let mut bytes = Zeroizing::new(Vec::with_capacity(size.max(LEAST_ROOM)));
        Unhurried::new((&file).take(limit + 1)).read_to_end(&mut bytes).map_err(refusal)?;
        if bytes.len() as u64 > limit {
            return Err(FileRefusal::TooLong { limit });
        }
        let after = file.metadata().map_err(refusal)?;
        let state = |file: &Metadata| (file.len(), file.mtime(), file.mtime_nsec());
        if state(&after) == state(&metadata) {
            return Ok(Protected { bytes, modified: modified(&metadata), warnings });
        }
    }
    Err(FileRefusal::Restless)
}

fn modified(metadata: &Metadata) -> WallTime {
    let millis = metadata.mtime().saturating_mul(1000) + metadata.mtime_nsec() / 1_000_000;
    WallTime::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn judge(
    path: &Path,
    metadata: &Metadata,
    content: Content,
    process: &Process,
) -> Result<Vec<FileWarning>, FileRefusal> {
    let shown = quoted(path);
    let mode = metadata.mode();
    let mut warnings = Vec::new();
    let mut warn = |what, command| warnings.push(FileWarning { what, command });
    if mode & 0o002 != 0 {
        if process.umask & 0o002 != 0 {
            return Err(FileRefusal::WorldWritable { path: shown });
        }
        warn("everybody can write this file", format!("umask 022; chmod go-w {shown}"));
    } else if mode & 0o020 != 0 {
        warn("its group can write this file", format!("chmod g-w {shown}"));
    }
    match content {
        Content::Secrets if mode & 0o004 != 0 => {
            warn("everybody can read the secrets in this file", format!("chmod o-r {shown}"));
        }
        Content::OneSecret if mode & 0o044 != 0 => {
            warn("others can read the secret in this file", format!("chmod go-r {shown}"));
        }
        Content::Configuration | Content::Secrets | Content::OneSecret | Content::Credential => {}
    }
    if metadata.uid() != process.uid && metadata.uid() != 0 {
        warn("this file belongs to another user", format!("chown {} {shown}", process.uid));
    }
    Ok(warnings)
}

/// `path` as a word of a shell command.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(mode: u32, content: Content, umask: u32) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "text").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let process = Process { umask, ..Process::new([]) };
        let shorten = |text: String| text.replace(&path.display().to_string(), "FILE");
        match read_protected(&path, content, &process) {
            Ok(file) => {
                assert_eq!(&**file.bytes, b"text");
                Ok(file.warnings.iter().map(|warning| shorten(warning.to_string())).collect())
            }
            Err(refusal) => Err(shorten(refusal.to_string())),
        }
    }

    #[test]
    fn a_file_that_everybody_can_write_is_refused_with_the_command_that_mends_it() {
        for content in [Content::Configuration, Content::Secrets, Content::OneSecret] {
            let told = read(0o666, content, 0o022).unwrap_err();
            assert!(told.ends_with("mend it with: chmod o-w FILE"), "{told}");
        }
    }

    #[test]
    fn a_file_that_its_group_can_write_is_warned_about() {
        let told = read(0o664, Content::Configuration, 0o002).unwrap();
        assert_eq!(told, ["its group can write this file; mend it with: chmod g-w FILE"]);
    }

    #[test]
    fn secrets_that_everybody_can_read_are_warned_about() {
        let told = read(0o644, Content::Secrets, 0o022).unwrap();
        let expected = "everybody can read the secrets in this file; mend it with: chmod o-r FILE";
        assert_eq!(told, [expected]);
        assert_eq!(read(0o640, Content::Secrets, 0o022).unwrap(), [""; 0]);
        assert_eq!(read(0o640, Content::OneSecret, 0o022).unwrap().len(), 1);
        assert_eq!(read(0o600, Content::OneSecret, 0o022).unwrap(), [""; 0]);
    }

    #[test]
    fn a_file_of_another_user_is_warned_about() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "text").unwrap();
        let process = Process::new([]);
        if std::os::unix::fs::chown(&path, Some(process.uid + 1), None).is_err() {
            return; // Only root can give files away.
        }
        let told = read_protected(&path, Content::Configuration, &process).unwrap().warnings;
        let command = format!("mend it with: chown {} {}", process.uid, path.display());
        assert!(told[0].to_string().ends_with(&command), "{told:?}");
    }

    #[test]
    fn a_fresh_clone_under_any_umask_is_read() {
        for umask in 0..=0o077 {
            let told = read(0o666 & !umask, Content::Configuration, umask);
            assert!(told.is_ok(), "{umask:03o}: {told:?}");
        }
    }

    #[test]
    fn what_is_no_file_of_sensible_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::new([]);
        let read = |path: &Path| read_protected(path, Content::Configuration, &process);
        assert!(matches!(read(dir.path()), Err(FileRefusal::NotAFile)));
        assert!(matches!(read(&dir.path().join("none")), Err(FileRefusal::Missing)));
        assert!(matches!(read(Path::new("/dev/zero")), Err(FileRefusal::NotAFile)));
        let long = dir.path().join("long");
        fs::write(&long, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(matches!(read(&long), Err(FileRefusal::TooLong { .. })));
    }

    #[test]
    fn a_path_in_a_command_is_quoted_if_it_must_be() {
        assert_eq!(quoted(Path::new("config/dev.env")), "config/dev.env");
        assert_eq!(quoted(Path::new("my dir/it's")), r"'my dir/it'\''s'");
    }
}

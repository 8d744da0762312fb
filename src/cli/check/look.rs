//! What a check has to read: the secrets, and the files beside the configuration that might hold
//! those that are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::online::Answer;
use super::redis;
use super::stores;
use crate::clock::Clock;
use crate::config::{Bootstrap, Keys};
use crate::pool::{KeyId, WallTime};
use crate::secrets::{Content, EnvFile, Fetched, MissingSecret, read_protected};

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// The secret of each key.
    pub(super) secrets: BTreeMap<KeyId, Result<Fetched, MissingSecret>>,
    /// Files that look like `.env` files and that nobody reads.
    pub(super) unread: Vec<EnvFile>,
    /// When it was looked at.
    pub(super) at: WallTime,
    /// What the providers say about the keys, as far as they were asked.
    pub(super) answers: BTreeMap<KeyId, Answer>,
    /// What Redis says, if there is one and it was asked.
    pub(super) redis: Option<redis::Asked>,
}

/// Looks at everything.
pub(super) fn look(
    built: &Bootstrap,
    keys: &Keys,
    screen: Option<&mut dyn Write>,
) -> io::Result<Seen> {
    let remote = stores::ask(built, keys, screen)?;
    let find = |(id, reference)| (KeyId::clone(id), built.stores.find(reference, &remote));
    let secrets = keys.secrets.iter().map(find).collect();
    let at = Clock::System.now().wall;
    Ok(Seen { secrets, unread: unread_files(built), at, answers: BTreeMap::new(), redis: None })
}

fn unread_files(built: &Bootstrap) -> Vec<EnvFile> {
    let beside = |path: &Path| path.parent().map(Path::to_owned);
    let toml = built.file.as_deref().and_then(beside);
    let dirs = [Some(PathBuf::new()), toml, beside(&built.settings.keys)];
    let mut seen: BTreeSet<PathBuf> =
        built.settings.env_files.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let mut files = Vec::new();
    for dir in dirs.into_iter().flatten() {
        for path in env_like(&dir) {
            let new = path.canonicalize().is_ok_and(|path| seen.insert(path));
            if new && let Ok(file) = read_protected(&path, Content::Secrets, &built.stores.process)
            {
                files.push(EnvFile::parse(&path, &file.bytes).0);
            }
        }
    }
    files
}

/// The files of `dir` whose names say that they hold variables.
fn env_like(dir: &Path) -> Vec<PathBuf> {
    let listed = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let Ok(entries) = fs::read_dir(listed) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let env_like = |name: &String| {
        let extension = Path::new(name).extension().is_some_and(|extension| extension == "env");
        extension || name == ".env" || name.starts_with(".env.")
    };
    let mut names: Vec<String> = names.filter(env_like).collect();
    names.sort();
    names.into_iter().map(|name| dir.join(name)).collect()
}

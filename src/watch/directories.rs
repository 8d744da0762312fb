//! The directories in which something can happen that makes a path lead to another file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// One step on the way to a file.
enum Step {
    Root,
    Up,
    Down(OsString),
}

/// The directory of the file that `path` leads to, and of every link on the way. Where the way
/// ends early, the directory in which it could go on.
pub(super) fn on_the_way(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let Ok(path) = std::path::absolute(path) else { return found };
    let mut here = PathBuf::new();
    let mut left = steps(&path);
    let mut links = 0;
    while let Some(step) = left.pop() {
        let name = match step {
            Step::Root => {
                here = PathBuf::from("/");
                continue;
            }
            Step::Up => {
                here.pop();
                continue;
            }
            Step::Down(name) => name,
        };
        let next = here.join(name);
        match fs::symlink_metadata(&next) {
            Ok(entry) if entry.is_symlink() => {
                found.insert(here.clone());
                links += 1;
                match fs::read_link(&next) {
                    Ok(target) if links <= MOST_LINKS => left.extend(steps(&target)),
                    Ok(_) | Err(_) => return found,
                }
            }
            Ok(_) if left.is_empty() => {
                found.insert(here.clone());
            }
            Ok(_) => here = next,
            Err(_) => {
                found.insert(here);
                return found;
            }
        }
    }
    found
}

/// The steps of `path`, the first one last.
fn steps(path: &Path) -> Vec<Step> {
    let step = |component: Component<'_>| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The directories on the way to `path` in a directory that `make` has filled, as names in it.
    fn found(path: &str, make: impl FnOnce(&Path)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        make(&root);
        let name = |found: &PathBuf| found.strip_prefix(&root).unwrap().display().to_string();
        on_the_way(&root.join(path)).iter().map(name).collect()
    }

    #[test]
    fn a_plain_file_is_in_one_directory() {
        let make = |root: &Path| {
            fs::create_dir(root.join("a")).unwrap();
            fs::write(root.join("a/keys.json"), "").unwrap();
        };
        assert_eq!(found("a/keys.json", make), ["a"]);
    }

    #[test]
    fn links_are_watched_where_they_are_and_where_they_lead() {
        let make = |root: &Path| {
            fs::create_dir_all(root.join("mount/..v1")).unwrap();
            fs::write(root.join("mount/..v1/keys.json"), "").unwrap();
            symlink("..v1", root.join("mount/..data")).unwrap();
            symlink("..data/keys.json", root.join("mount/keys.json")).unwrap();
            symlink(root.join("mount"), root.join("current")).unwrap();
        };
        assert_eq!(found("current/keys.json", make), ["", "mount", "mount/..v1"]);
    }

    #[test]
    fn what_is_not_there_is_awaited_where_it_would_begin() {
        assert_eq!(found("a/b/keys.json", |root| fs::create_dir(root.join("a")).unwrap()), ["a"]);
        assert_eq!(
            found("keys.json", |root| symlink("gone/x", root.join("keys.json")).unwrap()),
            [""]
        );
    }

    #[test]
    fn a_ring_of_links_has_an_end() {
        let make = |root: &Path| {
            symlink("b", root.join("a")).unwrap();
            symlink("a", root.join("b")).unwrap();
        };
        assert_eq!(found("a", make), [""]);
    }
}

//! keypool.toml.

use crate::config::{Flags, of_text};

/// Reads `bytes` as keypool.toml: settings or errors, each with its place; and settings that are
/// read again are the same.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Files that a fuzzer names are not opened.
    if text.contains("env_files") {
        return;
    }
    let file = super::path("keypool.toml");
    let read =
        || of_text(Some(file.clone()), text, &Flags::default(), &super::process(), Vec::new());
    let lines = text.lines().count() + 1;
    match (read(), read()) {
        (Ok(one), Ok(other)) => {
            let diff = one.settings.diff(&other.settings);
            assert!(!diff.reloadable && diff.needs_restart.is_empty(), "{diff:?}");
            assert!(one.settings.cooldown.first <= one.settings.cooldown.max);
            assert!(one.settings.quota.share > 0.0 && one.settings.quota.share <= 1.0);
            // What is told of settings is told without their secrets.
            assert!(!format!("{one:?}").contains("fake-secret"), "a secret in Debug output");
        }
        (Err(problems), Err(_)) => {
            assert!(problems.errors().count() > 0);
            for problem in problems.errors() {
                let line = problem.position.map_or(1, |position| position.line);
                assert!((1..=lines).contains(&line), "{problem}: {lines} lines");
            }
        }
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("read otherwise the second time"),
    }
}

//! The flags that stand over every other source of settings.

use std::path::PathBuf;

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the file that is read in place of keypool.toml.
    pub config: Option<PathBuf>,
    /// `--socket`
    pub socket: Option<PathBuf>,
    /// `--keys`
    pub keys: Option<PathBuf>,
    /// `--log`
    pub log: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
}

impl Flags {
    /// The flags as settings: the setting, the flag, and what it was given.
    pub(super) fn settings(&self) -> Vec<(&'static str, &'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        [
            ("socket", "--socket", path(&self.socket)),
            ("keys", "--keys", path(&self.keys)),
            ("log", "--log", self.log.clone()),
            ("log_format", "--log-format", self.log_format.clone()),
        ]
        .into_iter()
        .filter_map(|(setting, flag, text)| Some((setting, flag, text?)))
        .collect()
    }
}

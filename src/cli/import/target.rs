//! The files of an import: the flat file, keys.json and the `.env` file.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Failure;
use super::plan::Plan;
use crate::cli::replaced_file::replace;
use crate::clock::Clock;
use crate::config::{
    Bootstrap, KeysSource, Position, Problem, Problems, USUAL_FILES, plain_lines, with_entries,
};
use crate::pool::KeyId;
use crate::secrets::{Content, EnvFile, Process, RemoteSecrets, Secret, Store, read_protected};

/// The flat file.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) path: Arc<Path>,
    pub(super) keys: Vec<SourceKey>,
    /// Warnings about it; lines that are skipped among them.
    pub(super) problems: Vec<Problem>,
    /// Blank lines and comments.
    pub(super) blank: usize,
}

/// A line of the flat file.
#[derive(Debug)]
pub(super) struct SourceKey {
    pub(super) secret: Secret,
    pub(super) line: usize,
}

/// The files that are written, as they are now.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) keys: PathBuf,
    pub(super) env_file: PathBuf,
    /// Whether the entries need not name their store.
    pub(super) store_is_env: bool,
    keys_text: Option<String>,
    env_text: Zeroizing<String>,
    ids: BTreeSet<String>,
    variables: BTreeSet<String>,
    secrets: Vec<Secret>,
}

/// Reads the flat file.
pub(super) fn read_source(path: &Path, process: &Process) -> Result<SourceFile, Problems> {
    let path: Arc<Path> = path.into();
    let file = read_protected(&path, Content::Secrets, process)
        .map_err(|refusal| Problem::error(refusal.to_string()).in_file(&path))?;
    let mut problems = Vec::new();
    for warning in &file.warnings {
        problems.push(Problem::warning(warning.to_string()).in_file(&path));
    }
    let lines = plain_lines(&path, &file.bytes, &mut problems);
    let key = |line: &crate::config::PlainLine<'_>| SourceKey {
        secret: Secret::new(line.text),
        line: line.number,
    };
    let keys = lines.iter().map(key).collect();
    let bare = |line: &&[u8]| matches!(line.trim_ascii().first(), None | Some(b'#'));
    let text = file.bytes.strip_suffix(b"\n").unwrap_or(&file.bytes);
    let blank = text.split(|&byte| byte == b'\n').filter(bare).count();
    let (keys, problems) = Problems::unless_errors(keys, problems)?;
    Ok(SourceFile { path, keys, problems, blank })
}

impl SourceFile {
    /// How many lines have a key that another line has.
    pub(super) fn duplicates(&self) -> usize {
        self.problems.iter().filter(|problem| problem.position.is_some()).count()
    }
}

impl Target {
    /// Reads keys.json and the `.env` file as far as they exist.
    pub(super) fn read(built: &Bootstrap, env_file: Option<&Path>) -> Result<Self, Failure> {
        let keys = built.settings.keys.clone();
        let env_file = env_file.map_or_else(|| keys.with_file_name("keys.env"), Path::to_owned);
        let mut target = Self {
            keys,
            env_file,
            store_is_env: built.settings.secrets.store == Store::Env,
            keys_text: None,
            env_text: Zeroizing::default(),
            ids: BTreeSet::new(),
            variables: BTreeSet::new(),
            secrets: Vec::new(),
        };
        let mut stores = built.stores.clone();
        if let Some(env) = target.read_env_file(&stores.process)? {
            stores.environment.add_file(env);
        }
        if target.keys.exists() {
            let keys = built.load_keys_file()?;
            if let KeysSource::Plain(path) = &keys.source {
                let message = "is a file of one key a line; name another with --keys";
                return Err(Problems::from(Problem::error(message).in_file(path)).into());
            }
            target.ids = keys.secrets.keys().map(ToString::to_string).collect();
            // Those of other machines are not known here.
            let remote = RemoteSecrets::new(Clock::System);
            let found = |reference| Some(stores.find(reference, &remote).ok()?.secret);
            target.secrets.extend(keys.secrets.values().filter_map(found));
            target.keys_text = Some(fs::read_to_string(&target.keys).map_err(|error| {
                Failure::Write { path: target.keys.display().to_string(), kind: error.kind() }
            })?);
        }
        Ok(target)
    }

    fn read_env_file(&mut self, process: &Process) -> Result<Option<EnvFile>, Failure> {
        if !self.env_file.exists() {
            return Ok(None);
        }
        let path: Arc<Path> = self.env_file.as_path().into();
        let read = read_protected(&path, Content::Secrets, process).map_err(|refusal| {
            Problems::from(Problem::error(refusal.to_string()).in_file(&path))
        })?;
        let (env, faults) = EnvFile::parse(&path, &read.bytes);
        let problem = |fault: &crate::secrets::EnvFault| {
            let problem = Problem::error(fault.kind.to_string()).in_file(&path);
            problem.at(Position::line(fault.line))
        };
        Problems::unless_errors((), faults.iter().map(problem).collect())?;
        self.variables = env.entries.iter().map(|entry| entry.name.clone()).collect();
        self.secrets.extend(env.entries.iter().map(|entry| entry.value.clone()));
        self.env_text = Zeroizing::new(String::from_utf8_lossy(&read.bytes).into_owned());
        Ok(Some(env))
    }

    pub(super) fn has_id(&self, id: &KeyId) -> bool {
        self.ids.contains(id.as_str())
    }

    pub(super) fn has_variable(&self, name: &str) -> bool {
        self.variables.contains(name)
    }

    pub(super) fn has_secret(&self, secret: &Secret) -> bool {
        self.secrets.iter().any(|other| other.expose() == secret.expose())
    }

    /// Writes the variables, then the entries.
    pub(super) fn write(&self, plan: &Plan, process: &Process) -> Result<(), Failure> {
        let keys = match &self.keys_text {
            Some(text) => with_entries(text, &plan.entries)
                .ok_or_else(|| Problems::from(Problem::error("has no list of keys")))?,
            None => new_file(&plan.entries),
        };
        let size = self.env_text.len() + plan.lines.len() + 1;
        let mut text = Zeroizing::new(String::with_capacity(size));
        text.push_str(&self.env_text);
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&plan.lines);
        write(&self.env_file, text.as_bytes(), 0o600)?;

        let usual = 0o644 & !process.umask;
        let mode = fs::metadata(&self.keys).map_or(usual, |keys| keys.permissions().mode() & 0o777);
        write(&self.keys, keys.as_bytes(), mode)
    }

    /// What is left to do by hand.
    pub(super) fn next_steps(&self, built: &Bootstrap, plan: &Plan, source: &Path) -> Vec<String> {
        let mut steps = Vec::new();
        if plan.key_ids.is_empty() {
            return steps;
        }
        let same = |path: &&PathBuf| {
            path.canonicalize()
                .ok()
                .is_some_and(|path| Some(path) == self.env_file.canonicalize().ok())
        };
        let files = &built.settings.env_files;
        if !files.iter().any(|path| same(&path)) {
            let toml = built.file.as_deref().unwrap_or_else(|| Path::new(USUAL_FILES[0]));
            let files = files.iter().chain([&self.env_file]);
            let files: Vec<_> = files.map(|file| format!("\"{}\"", file.display())).collect();
            let (toml, files) = (toml.display(), files.join(", "));
            steps.push(format!("add the secrets to env_files in {toml}: env_files = [{files}]"));
        }
        steps.push("see what the daemon makes of it: keypool check".to_owned());
        steps.push(format!("when it is right, delete {}", source.display()));
        steps
    }
}

fn new_file(entries: &[String]) -> String {
    format!("{{\n  \"keys\": [\n    {}\n  ]\n}}\n", entries.join(",\n    "))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let failure = |error: std::io::Error| {
        let path = path.display().to_string();
        Failure::Write { path, kind: error.kind() }
    };
    replace(path, bytes, mode).map_err(failure)
}

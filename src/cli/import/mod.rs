//! `keypool import`: a flat file of one key a line becomes entries of keys.json and variables in a
//! `.env` file that only its owner can read. No key is ever printed.
//!
//! Three steps: read everything, plan (pure), write. The variables are written first, because a
//! variable without an entry does no harm.

mod plan;
mod target;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use self::plan::{Plan, Shape};
use self::target::Target;
use super::{EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE};
use crate::config::{Flags, Problem, Problems, Severity, bootstrap};
use crate::pool::{KeyId, WallTime};
use crate::secrets::Process;

/// The largest number a limit can be.
const LARGEST: u64 = 1_000_000_000_000;

/// The arguments of `keypool import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// The file of one key a line.
    pub file: PathBuf,
    /// Whose keys they are.
    #[arg(long, default_value = "gemini")]
    pub provider: String,
    /// The model they are for; may be given more than once. Any model if absent.
    #[arg(long = "model")]
    pub models: Vec<String>,
    /// Requests a minute of each key. No limit if absent.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LARGEST))]
    pub rpm: Option<u64>,
    /// Tokens a minute of each key.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LARGEST))]
    pub tpm: Option<u64>,
    /// Requests a day of each key.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LARGEST))]
    pub rpd: Option<u64>,
    /// 1 is used first.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LARGEST))]
    pub priority: Option<u64>,
    /// The keys.json to write or add to; `keys` of keypool.toml if absent.
    #[arg(long = "keys", id = "import_keys", value_name = "PATH")]
    pub keys: Option<PathBuf>,
    /// The .env file to write or add to; keys.env beside keys.json if absent.
    #[arg(long, value_name = "PATH")]
    pub env_file: Option<PathBuf>,
    /// What the id of each new key begins with.
    #[arg(long, default_value = "key_")]
    pub prefix: String,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// The new keys.
    pub key_ids: Vec<String>,
    /// The keys file.
    pub keys: String,
    /// The file of the secrets.
    pub env_file: String,
    /// Blank lines and comments.
    pub blank: usize,
    /// Lines whose key another line of the file has.
    pub duplicates: usize,
    /// Lines whose key the pool has.
    pub present: usize,
    /// What to do next.
    pub next: Vec<String>,
}

/// Runs the command and returns its exit code.
pub fn run(
    args: &ImportArgs,
    json: bool,
    flags: &Flags,
    process: &Process,
    now: WallTime,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<u8> {
    match import(args, flags, process, now, errors) {
        Ok(imported) if json => {
            serde_json::to_writer_pretty(&mut *out, &imported)?;
            writeln!(out)?;
            Ok(0)
        }
        Ok(imported) => write!(out, "{imported}").map(|()| 0),
        Err(failure) => {
            writeln!(errors, "{failure}")?;
            Ok(failure.exit_code())
        }
    }
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("--{flag}: {expected}")]
    Usage { flag: &'static str, expected: &'static str },
    #[error("{0}")]
    Configuration(#[from] Problems),
    #[error("{0}")]
    Source(Problems),
    #[error("cannot write {path}: {kind}")]
    Write { path: String, kind: io::ErrorKind },
}

impl Failure {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => EXIT_USAGE,
            Self::Configuration(_) => EXIT_CONFIG,
            Self::Source(_) | Self::Write { .. } => EXIT_FAILED,
        }
    }
}

fn import(
    args: &ImportArgs,
    flags: &Flags,
    process: &Process,
    now: WallTime,
    errors: &mut dyn Write,
) -> Result<Imported, Failure> {
    let shape = shape(args, now)?;
    let keys = args.keys.clone().or_else(|| flags.keys.clone());
    let built = bootstrap(&Flags { keys, ..flags.clone() }, process)?;
    let target = Target::read(&built, args.env_file.as_deref())?;
    let source = target::read_source(&args.file, process).map_err(Failure::Source)?;
    for warning in source.problems.iter().filter(|problem| is_about_the_file(problem)) {
        // A warning that cannot be shown must not undo the import.
        drop(writeln!(errors, "warning: {warning}"));
    }
    let plan = Plan::make(&source, &target, &shape)?;
    if !plan.key_ids.is_empty() {
        target.write(&plan, process)?;
    }
    let next = target.next_steps(&built, &plan, &args.file);
    Ok(Imported {
        key_ids: plan.key_ids.iter().map(ToString::to_string).collect(),
        keys: target.keys.display().to_string(),
        env_file: target.env_file.display().to_string(),
        blank: source.blank,
        duplicates: source.duplicates(),
        present: plan.present,
        next,
    })
}

/// Warnings about lines are told as a number.
fn is_about_the_file(problem: &Problem) -> bool {
    problem.severity == Severity::Warning && problem.position.is_none()
}

fn shape(args: &ImportArgs, now: WallTime) -> Result<Shape, Failure> {
    let word = "expected letters, digits, `_`, `.` and `-`";
    if KeyId::parse(&args.provider).is_none() {
        return Err(Failure::Usage { flag: "provider", expected: word });
    }
    if KeyId::parse(&format!("{}0000", args.prefix)).is_none() {
        return Err(Failure::Usage { flag: "prefix", expected: word });
    }
    let plain = |model: &String| {
        !model.is_empty() && model.trim() == model && !model.chars().any(char::is_control)
    };
    if !args.models.iter().all(plain) {
        return Err(Failure::Usage { flag: "model", expected: "expected the name of a model" });
    }
    Ok(Shape {
        prefix: args.prefix.clone(),
        provider: args.provider.clone(),
        models: args.models.clone(),
        limits: [("rpm", args.rpm), ("tpm", args.tpm), ("rpd", args.rpd)],
        priority: args.priority,
        now,
    })
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.key_ids.len();
        match (self.key_ids.first(), self.key_ids.last()) {
            (Some(first), Some(last)) if count > 1 => {
                writeln!(f, "Imported {count} keys, {first} to {last}.")?;
            }
            (Some(only), _) => writeln!(f, "Imported 1 key, {only}.")?,
            (None, _) => writeln!(f, "Imported no key: there was none that is new.")?,
        }
        if count > 0 {
            writeln!(f, "  entries in {}", self.keys)?;
            writeln!(f, "  secrets in {}, mode 0600", self.env_file)?;
        }
        for (number, what) in [
            (self.blank, "blank or a comment"),
            (self.duplicates, "the key is on another line"),
            (self.present, "the key is in the pool"),
        ] {
            if number > 0 {
                writeln!(f, "  skipped {number}: {what}")?;
            }
        }
        for step in &self.next {
            writeln!(f, "Next: {step}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

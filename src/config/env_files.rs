//! The `.env` files that keypool.toml names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::again::{Blank, is_blank};
use super::problem::Problem;
use super::text::Position;
use crate::secrets::{Content, EnvFile, Environment, Process, read_protected};

/// More faults than anybody reads: such a file is something else.
const MOST_FAULTS: usize = 200;

/// What the files and the environment of the process give.
pub(super) struct Read {
    /// The variables of the process, and behind them those of the files.
    pub(super) environment: Environment,
    /// What is wrong with the files. What could be read is there all the same.
    pub(super) problems: Vec<Problem>,
    /// The files without text.
    pub(super) blank: Blank,
}

/// Reads the files at `paths`.
pub(super) fn read(paths: &[PathBuf], process: &Process) -> Read {
    let mut environment = Environment::new(process);
    let mut problems = Vec::new();
    let mut blank = Vec::new();
    for path in paths {
        let path: Arc<Path> = path.as_path().into();
        match read_protected(&path, Content::Secrets, process) {
            Ok(file) => {
                let (variables, faults) = EnvFile::parse(&path, &file.bytes);
                environment.add_file(variables);
                if is_blank(&file.bytes) {
                    blank.push(Arc::clone(&path));
                }
                problems.extend(
                    file.warnings
                        .iter()
                        .map(|warning| Problem::warning(warning.to_string()).in_file(&path)),
                );
                problems.extend(faults.iter().take(MOST_FAULTS).map(|fault| {
                    let problem = Problem::error(fault.kind.to_string()).in_file(&path);
                    problem.at(Position::line(fault.line))
                }));
            }
            Err(refusal) => {
                let problem = Problem::error(refusal.to_string()).in_file(&path);
                problems.push(problem.about("env_files"));
            }
        }
    }
    Read { environment, problems, blank }
}

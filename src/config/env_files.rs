//! The `.env` files that keypool.toml names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::Problem;
use super::text::Position;
use crate::secrets::{Content, EnvFile, Environment, Process, read_protected};

/// More faults than anybody reads: such a file is something else.
const MOST_FAULTS: usize = 200;

/// The environment of `process` with the files at `paths` behind it, and what is wrong with them.
/// What could be read is there all the same.
pub(super) fn read(paths: &[PathBuf], process: &Process) -> (Environment, Vec<Problem>) {
    let mut environment = Environment::new(process);
    let mut problems = Vec::new();
    for path in paths {
        let path: Arc<Path> = path.as_path().into();
        match read_protected(&path, Content::Secrets, process) {
            Ok(file) => {
                let (variables, faults) = EnvFile::parse(&path, &file.bytes);
                environment.add_file(variables);
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
    (environment, problems)
}

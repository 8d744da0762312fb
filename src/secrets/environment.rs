//! The environment as a value: the process environment over the `.env` files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::{EnvFile, Process, Secret};
use crate::background::{let_go, unhurried};

/// The process environment and the files behind it. The process wins, then the first file.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    process: BTreeMap<String, Secret>,
    files: BTreeMap<String, (Secret, Source)>,
}

/// A variable and where it is set.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its value.
    pub value: &'a Secret,
    /// Where it is set.
    pub source: &'a Source,
}

/// Where a variable is set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// By the starter of the process.
    Process,
    /// In a `.env` file.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
    },
}

impl Environment {
    /// The environment of `process` without any file.
    pub fn new(process: &Process) -> Self {
        Self { process: process.variables.clone(), files: BTreeMap::new() }
    }

    /// Adds a file behind those added before.
    pub fn add_file(&mut self, file: EnvFile) {
        for entry in unhurried(file.entries) {
            let source = Source::File { path: Arc::clone(&file.path), line: entry.line };
            self.files.entry(entry.name).or_insert((entry.value, source));
        }
    }

    /// Drops it.
    pub fn let_go(self) {
        let_go(self.files);
    }

    /// The variable `name` and where it is set.
    pub fn lookup(&self, name: &str) -> Option<Found<'_>> {
        const PROCESS: &Source = &Source::Process;
        let process = self.process.get(name).map(|value| Found { value, source: PROCESS });
        process.or_else(|| self.files.get(name).map(|(value, source)| Found { value, source }))
    }

    /// The names that the files set, sorted, each with the place of the value behind the process.
    pub fn names_in_files(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.files.iter().map(|(name, (_, source))| (name.as_str(), source))
    }

    /// The names that begin with `prefix`, of the process environment and of the files.
    pub fn names_with<'a>(&'a self, prefix: &'a str) -> BTreeSet<&'a str> {
        names_with(&self.process, prefix).chain(names_with(&self.files, prefix)).collect()
    }
}

fn names_with<'a, V>(
    variables: &'a BTreeMap<String, V>,
    prefix: &'a str,
) -> impl Iterator<Item = &'a str> {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    let names = variables.range::<str, _>(from).map(|(name, _)| name.as_str());
    names.take_while(move |name| name.starts_with(prefix))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("process environment"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(process: &[(&str, &str)], files: &[(&str, &str)]) -> Environment {
        let vars = process.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut environment = Environment::new(&Process::new(vars));
        for (path, text) in files {
            environment.add_file(EnvFile::parse(Path::new(path), text.as_bytes()).0);
        }
        environment
    }

    fn found(environment: &Environment, name: &str) -> Option<(String, String)> {
        let found = environment.lookup(name)?;
        Some((found.value.expose().to_owned(), found.source.to_string()))
    }

    #[test]
    fn the_process_wins_over_files_and_the_first_file_over_the_second() {
        let files = [("a.env", "A=a1\nB=a2"), ("b.env", "\nB=b2\nC=b3\nA=b1")];
        let environment = environment(&[("A", "p")], &files);
        let told = |value: &str, place: &str| Some((value.to_owned(), place.to_owned()));
        assert_eq!(found(&environment, "A"), told("p", "process environment"));
        assert_eq!(found(&environment, "B"), told("a2", "a.env:2"));
        assert_eq!(found(&environment, "C"), told("b3", "b.env:3"));
        assert_eq!(found(&environment, "D"), None);
    }

    #[test]
    fn the_names_of_files_are_told_without_values() {
        let environment = environment(&[("P", "fake")], &[("a.env", "B=fake\nA=fake")]);
        let names: Vec<_> = environment.names_in_files().map(|(name, _)| name).collect();
        assert_eq!(names, ["A", "B"]);
        assert!(!format!("{environment:?}").contains("fake"), "{environment:?}");
    }

    #[test]
    fn the_names_with_a_prefix_are_those_of_the_process_and_of_the_files_once() {
        let files = [("a.env", "A_2=a\nAB=a\nA_1=a\nB_1=a"), ("b.env", "A_3=a\nA=a")];
        let environment = environment(&[("A_1", "p"), ("A_0", "p"), ("@", "p")], &files);
        let names: Vec<_> = environment.names_with("A_").into_iter().collect();
        assert_eq!(names, ["A_0", "A_1", "A_2", "A_3"]);
        assert!(environment.names_with("C_").is_empty());
    }
}

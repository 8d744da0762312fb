//! What is wrong with the configuration, or worth a word.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::text::Position;

/// How bad a problem is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What it is in is rejected.
    Error,
    /// It is used all the same.
    Warning,
}

/// One thing that is wrong, with its place. It never holds the text that is wrong, which may be a
/// secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file it is in.
    #[serde(serialize_with = "shown")]
    pub file: Option<Arc<Path>>,
    /// The line in the file and the character in the line, both from 1.
    #[serde(flatten)]
    pub position: Option<Position>,
    /// The key it is about.
    pub key_id: Option<String>,
    /// The field, setting, variable or flag it is about.
    pub field: Option<String>,
    /// What is wrong, what was expected, and how to mend it.
    pub message: String,
}

impl Problem {
    /// An error of no place yet.
    pub fn error(message: impl Into<String>) -> Self {
        let message = message.into();
        let severity = Severity::Error;
        Self { severity, file: None, position: None, key_id: None, field: None, message }
    }

    /// A warning of no place yet.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// The same as a warning.
    #[must_use]
    pub fn as_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// The same in `file`.
    #[must_use]
    pub fn in_file(self, file: &Arc<Path>) -> Self {
        Self { file: Some(Arc::clone(file)), ..self }
    }

    /// The same at `position`.
    #[must_use]
    pub fn at(self, position: Position) -> Self {
        Self { position: Some(position), ..self }
    }

    /// The same about a key.
    #[must_use]
    pub fn of_key(self, key_id: Option<&str>) -> Self {
        Self { key_id: key_id.map(str::to_owned), ..self }
    }

    /// The same about a field, setting, variable or flag.
    #[must_use]
    pub fn about(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some(Position { line, column }) = self.position {
                write!(f, ":{line}")?;
                if let Some(column) = column {
                    write!(f, ":{column}")?;
                }
            }
            f.write_str(": ")?;
        }
        if let Some(key_id) = &self.key_id {
            write!(f, "key {key_id}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong, at least one error among it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// `value` if no error is among `problems`, with the warnings; else all of them. Either in the
    /// order of their places.
    pub fn unless_errors<T>(
        value: T,
        mut problems: Vec<Problem>,
    ) -> Result<(T, Vec<Problem>), Self> {
        problems.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
        let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
        if failed { Err(Self(problems)) } else { Ok((value, problems)) }
    }

    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().filter(|problem| problem.severity == Severity::Error)
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.errors().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

// The signature is serde's.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn shown<S: serde::Serializer>(path: &Option<Arc<Path>>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.display().to_string()).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_with_its_place() {
        let problem = Problem::error("expected a whole number")
            .in_file(&Path::new("config/keys.json").into())
            .at(Position { line: 12, column: Some(15) })
            .of_key(Some("flash_01"))
            .about("rpm");
        let told = "config/keys.json:12:15: key flash_01: rpm: expected a whole number";
        assert_eq!(problem.to_string(), told);
        let json = serde_json::to_string(&problem).unwrap();
        let told = r#"{"severity":"error","file":"config/keys.json","line":12,"column":15,"key_id":"flash_01","field":"rpm","message":"expected a whole number"}"#;
        assert_eq!(json, told);
    }

    #[test]
    fn a_variable_of_the_process_has_no_file() {
        let problem = Problem::error("expected a path").about("KEYPOOL_SOCKET");
        assert_eq!(problem.to_string(), "KEYPOOL_SOCKET: expected a path");
    }
}

//! `.env` files, read literally: `KEY=value`, optional `export`, optional surrounding quotes, `#`
//! at the start of a line or after white space outside quotes. Nothing is expanded or unescaped.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::Secret;
use crate::background::{MOST_ROOM, unhurried};

/// The variables of one file, in its order.
#[derive(Clone, Debug)]
pub struct EnvFile {
    /// Where it was read.
    pub path: Arc<Path>,
    /// What it sets; names are unique.
    pub entries: Vec<EnvEntry>,
}

/// One variable of a file.
#[derive(Clone, Debug)]
pub struct EnvEntry {
    /// Its name.
    pub name: String,
    /// Its value, which may be a secret.
    pub value: Secret,
    /// The line it is set on, from 1.
    pub line: usize,
}

/// What is wrong with a line. It never holds the text of the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnvFault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: EnvFaultKind,
}

/// The ways a line can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnvFaultKind {
    /// No `=`.
    #[error("expected KEY=value")]
    NoEquals,
    /// A name that no variable has.
    #[error(
        "expected a name of letters, digits, `_`, `.` and `-` before the `=`, not beginning with \
         a digit"
    )]
    BadName,
    /// A quote without its fellow on the same line.
    #[error("the quote is not closed on this line")]
    UnclosedQuote,
    /// Something other than a comment after the closing quote.
    #[error("there is text after the closing quote")]
    TextAfterQuote,
    /// The name is set already.
    #[error("this variable is set already on line {first}")]
    Duplicate {
        /// The line that set it.
        first: usize,
    },
    /// Bytes that are no text.
    #[error("expected UTF-8 text")]
    NotUtf8,
    /// A text of another encoding.
    #[error("expected UTF-8 text; this file looks like UTF-16")]
    Utf16,
}

impl EnvFile {
    /// Reads `bytes`. With faults, the entries of the faultless lines are there all the same.
    pub fn parse(path: &Path, bytes: &[u8]) -> (Self, Vec<EnvFault>) {
        let mut file = Self { path: path.into(), entries: Vec::new() };
        let mut faults = Vec::new();
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            faults.push(EnvFault { line: 1, kind: EnvFaultKind::Utf16 });
            return (file, faults);
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let lines = (memchr::memchr_iter(b'\n', bytes).count() + 1).min(MOST_ROOM);
        let mut lines_by_name = HashMap::with_capacity(lines);
        file.entries.reserve(lines);
        for (line, text) in (1..).zip(unhurried(bytes.split(|&byte| byte == b'\n'))) {
            let parsed = match std::str::from_utf8(text) {
                Ok(text) => parse_line(text),
                Err(_) => Err(EnvFaultKind::NotUtf8),
            };
            match parsed {
                Ok(None) => {}
                Ok(Some((name, value))) => {
                    if let Some(&first) = lines_by_name.get(name) {
                        faults.push(EnvFault { line, kind: EnvFaultKind::Duplicate { first } });
                    } else {
                        lines_by_name.insert(name, line);
                        let value = Secret::new(value);
                        file.entries.push(EnvEntry { name: name.to_owned(), value, line });
                    }
                }
                Err(kind) => faults.push(EnvFault { line, kind }),
            }
        }
        (file, faults)
    }

    /// Whether `name` is one a line can set.
    pub fn is_name(name: &str) -> bool {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    }
}

/// The name and value of a line, or nothing for a blank line or a comment.
fn parse_line(line: &str) -> Result<Option<(&str, &str)>, EnvFaultKind> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_ascii_start(),
        Some(_) | None => line,
    };
    let (name, value) = line.split_once('=').ok_or(EnvFaultKind::NoEquals)?;
    let name = name.trim_ascii_end();
    if !EnvFile::is_name(name) {
        return Err(EnvFaultKind::BadName);
    }
    Ok(Some((name, parse_value(value)?)))
}

fn parse_value(text: &str) -> Result<&str, EnvFaultKind> {
    let value = text.trim_ascii_start();
    if let Some(quote @ ('"' | '\'')) = value.chars().next() {
        let (inside, rest) = value[1..].split_once(quote).ok_or(EnvFaultKind::UnclosedQuote)?;
        let alone = without_comment(rest).is_empty();
        return if alone { Ok(inside) } else { Err(EnvFaultKind::TextAfterQuote) };
    }
    Ok(without_comment(text).trim_ascii_start())
}

/// `text` up to a `#` that follows white space, and without the white space at its end.
fn without_comment(text: &str) -> &str {
    let end = text
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|&at| text[..at].ends_with(|before: char| before.is_ascii_whitespace()));
    text[..end.unwrap_or(text.len())].trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> (EnvFile, Vec<EnvFault>) {
        EnvFile::parse(Path::new("dev.env"), text.as_bytes())
    }

    fn value_of(line: &str) -> String {
        let (file, faults) = parse(line);
        assert_eq!(faults, [], "{line}");
        assert_eq!(file.entries[0].name, "NAME", "{line}");
        file.entries[0].value.expose().to_owned()
    }

    #[test]
    fn values_are_read_literally() {
        for (line, value) in [
            ("NAME=value", "value"),
            ("  export   NAME=value  ", "value"),
            ("NAME = value", "value"),
            ("NAME=\"a b\"", "a b"),
            ("NAME='a b'  # comment", "a b"),
            ("NAME=a#b", "a#b"),
            ("NAME=#b", "#b"),
            ("NAME=a # b", "a"),
            ("NAME=a\t# b", "a"),
            ("NAME= # b", ""),
            ("NAME=", ""),
            ("NAME=\"\"", ""),
            ("NAME=\"a # b\"", "a # b"),
            (r#"NAME="a\nb$HOME""#, r"a\nb$HOME"),
            ("NAME=$HOME/${X}`id`", "$HOME/${X}`id`"),
            ("NAME=a\"b\"", "a\"b\""),
            ("NAME='it\"s'", "it\"s"),
            ("NAME=a=b==", "a=b=="),
            ("NAME=value\r", "value"),
            ("\u{feff}NAME=value", "value"),
        ] {
            assert_eq!(value_of(line), value, "{line}");
        }
    }

    #[test]
    fn names_may_have_the_characters_of_key_ids() {
        let (file, faults) = parse("GEMINI_KEY_flash-01.eu=x\nexport=y\nexported=z");
        assert_eq!(faults, []);
        let names: Vec<_> = file.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["GEMINI_KEY_flash-01.eu", "export", "exported"]);
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_line() {
        let (file, faults) = parse("A=1\nno equals\n1A=x\n\n# comment\nB=\"x\nC='x'y\nA=2\nD=4");
        let kinds: Vec<_> = faults.iter().map(|fault| (fault.line, fault.kind)).collect();
        assert_eq!(
            kinds,
            [
                (2, EnvFaultKind::NoEquals),
                (3, EnvFaultKind::BadName),
                (6, EnvFaultKind::UnclosedQuote),
                (7, EnvFaultKind::TextAfterQuote),
                (8, EnvFaultKind::Duplicate { first: 1 }),
            ]
        );
        assert_eq!(file.entries.len(), 2, "faultless lines are kept");
    }

    #[test]
    fn bytes_that_are_no_utf8_are_a_fault_of_their_line() {
        let (_, faults) = EnvFile::parse(Path::new("x.env"), b"A=1\nB=\xff\n");
        assert_eq!(faults, [EnvFault { line: 2, kind: EnvFaultKind::NotUtf8 }]);
        let (_, faults) = EnvFile::parse(Path::new("x.env"), b"\xff\xfeA\0=\x001\0");
        assert_eq!(faults, [EnvFault { line: 1, kind: EnvFaultKind::Utf16 }]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let (file, _) = EnvFile::parse(Path::new("x.env"), &bytes);
            prop_assert!(file.entries.iter().all(|entry| EnvFile::is_name(&entry.name)));
        }
    }
}

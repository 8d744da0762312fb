//! Reading the fields of an object: each as what it must be, every error noted with its place.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use super::json::{Kind, Member, Node};
use crate::config::problem::Problem;
use crate::config::text::{Position, did_you_mean, did_you_mean_or_list};
use crate::config::value::LARGEST;

/// A file that is being read, and what was wrong with it so far.
#[derive(Debug)]
pub(super) struct Reading<'t> {
    pub(super) path: &'t Arc<Path>,
    pub(super) text: &'t str,
    pub(super) problems: &'t mut Vec<Problem>,
}

impl Reading<'_> {
    /// Notes a problem at `offset`, unless there are so many of its kind that nobody reads on.
    pub(super) fn note(&mut self, offset: usize, problem: Problem) {
        const MOST: usize = 200;
        let of_kind = |other: &&Problem| other.severity == problem.severity;
        if self.problems.iter().filter(of_kind).count() >= MOST {
            return;
        }
        let position = Position::of(self.text, offset);
        self.problems.push(problem.in_file(self.path).at(position));
    }

    /// The line of `offset`, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        Position::of(self.text, offset).line
    }
}

/// An object whose fields are being read.
#[derive(Debug)]
pub(super) struct Object<'r, 't> {
    reading: &'r mut Reading<'t>,
    offset: usize,
    members: &'r [Member<'r>],
    /// The key it is, for the problems.
    pub(super) key_id: Option<String>,
}

impl<'r, 't> Object<'r, 't> {
    /// The object at `node`, if it is one. Fields that are not in `known` are warned about.
    pub(super) fn open(
        reading: &'r mut Reading<'t>,
        node: &'r Node<'r>,
        expected: &str,
    ) -> Option<Self> {
        let Kind::Object(members) = &node.kind else {
            reading.note(node.offset, Problem::error(expected));
            return None;
        };
        Some(Self { reading, offset: node.offset, members, key_id: None })
    }

    /// Warns about fields that are not in `known`. Their names are not told: anything may stand
    /// there.
    pub(super) fn warn_of_unknown(&mut self, known: &[&str]) {
        for member in self.members {
            if !known.contains(&&*member.name) {
                let hint = did_you_mean_or_list(&member.name, "field", known);
                let problem = Problem::warning(format!("unknown field, which has no effect{hint}"));
                let problem = problem.of_key(self.key_id.as_deref());
                self.reading.note(member.offset, problem);
            }
        }
    }

    /// The value of a field; `null` is as good as none.
    pub(super) fn field(&self, name: &str) -> Option<&'r Node<'r>> {
        let member = self.members.iter().find(|member| member.name == name)?;
        if matches!(member.value.kind, Kind::Null) { None } else { Some(&member.value) }
    }

    /// Notes an error about a field.
    pub(super) fn error(&mut self, name: &str, message: impl Into<String>) {
        self.note(name, Problem::error(message));
    }

    /// Notes a problem about a field, at its value, or at the object if it has none.
    pub(super) fn note(&mut self, name: &str, problem: Problem) {
        let offset = self.field(name).map_or(self.offset, |node| node.offset);
        self.note_at(offset, name, problem);
    }

    pub(super) fn note_at(&mut self, offset: usize, name: &str, problem: Problem) {
        self.reading.note(offset, problem.of_key(self.key_id.as_deref()).about(name));
    }

    /// A field as what `read` makes of its text.
    pub(super) fn text<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let node = self.field(name)?;
        let value = if let Kind::Text(text) = &node.kind { read(text) } else { None };
        if value.is_none() {
            self.error(name, expected);
        }
        value
    }

    /// A field as one of `all`, by name.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        name: &str,
        all: &[T],
        name_of: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let node = self.field(name)?;
        let text = if let Kind::Text(text) = &node.kind { &**text } else { "" };
        let one = all.iter().copied().find(|one| name_of(*one) == text);
        if one.is_none() {
            let names: Vec<_> = all.iter().map(|one| name_of(*one)).collect();
            let hint = did_you_mean(text, names.iter().copied());
            self.error(name, format!("expected one of {}{hint}", names.join(", ")));
        }
        one
    }

    /// A field as a whole number of at least 1.
    pub(super) fn whole(&mut self, name: &str) -> Option<NonZeroU64> {
        let node = self.field(name)?;
        let written = if let Kind::Number(number) = node.kind { Some(number) } else { None };
        let number = written.and_then(|number| number.parse::<NonZeroU64>().ok());
        if let Some(number) = number.filter(|number| number.get() <= LARGEST) {
            return Some(number);
        }
        // A number of more digits than fit is too large as well, if it is whole.
        let whole = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
        let large = written.is_some_and(|number| whole(number) && number.len() > 12);
        let limit = if large { " and at most 1000000000000" } else { "" };
        self.error(name, format!("expected a whole number of at least 1{limit}"));
        None
    }

    /// A field as a number in (0, 1].
    pub(super) fn part(&mut self, name: &str) -> Option<f64> {
        let node = self.field(name)?;
        let number = if let Kind::Number(text) = node.kind { text.parse().ok() } else { None };
        let number = number.filter(|number: &f64| *number > 0.0 && *number <= 1.0);
        if number.is_none() {
            self.error(name, "expected a number above 0 and at most 1");
        }
        number
    }

    pub(super) fn switch(&mut self, name: &str) -> Option<bool> {
        let node = self.field(name)?;
        if let Kind::Bool(switch) = node.kind {
            return Some(switch);
        }
        self.error(name, "expected true or false");
        None
    }

    /// A field as a list; the items are for the caller to read.
    pub(super) fn list(&mut self, name: &str, expected: &str) -> Option<&'r [Node<'r>]> {
        let node = self.field(name)?;
        if let Kind::List(items) = &node.kind {
            return Some(items);
        }
        self.error(name, expected);
        None
    }

    /// A field as a map of texts.
    pub(super) fn map(&mut self, name: &str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let Some(node) = self.field(name) else { return map };
        let Kind::Object(members) = &node.kind else {
            self.error(name, "expected an object of texts: {\"region\": \"us-east\"}");
            return map;
        };
        for member in members {
            let plain = |text: &str| !text.chars().any(char::is_control);
            match &member.value.kind {
                Kind::Text(text) if plain(text) && plain(&member.name) => {
                    map.insert(member.name.to_string(), text.to_string());
                }
                Kind::Text(_)
                | Kind::Null
                | Kind::Bool(_)
                | Kind::Number(_)
                | Kind::List(_)
                | Kind::Object(_) => {
                    let problem = Problem::error("expected a text without control characters");
                    self.note_at(member.value.offset, name, problem);
                }
            }
        }
        map
    }

    /// The file that is being read.
    pub(super) fn reading(&mut self) -> &mut Reading<'t> {
        self.reading
    }
}

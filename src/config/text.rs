//! Places in a text, and names that were nearly right.

use serde::Serialize;

/// A place in a text, for people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1; absent if the whole line is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Position {
    /// The place of the byte at `offset` of `text`.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column: Some(column) }
    }

    /// A whole line.
    pub const fn line(line: usize) -> Self {
        Self { line, column: None }
    }
}

/// The name that somebody who wrote `written` most likely meant, if one is near enough.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody misspells a name at such length, and comparing it would take long.
    const LONGEST: usize = 64;
    if written.len() > LONGEST {
        return None;
    }
    let written = written.to_ascii_lowercase();
    let distance = |name: &&str| strsim::damerau_levenshtein(&written, &name.to_ascii_lowercase());
    let (near, name) = known.into_iter().map(|name| (distance(&name), name)).min()?;
    // A third of the characters may be wrong: `rmp` is `rpm`, but `foo` is no `rpm`.
    let lengths = [written.chars().count(), name.chars().count()];
    let [shorter, longer] = [lengths[0].min(lengths[1]), lengths[0].max(lengths[1])];
    (near <= longer.div_ceil(3) && near < shorter).then_some(name)
}

/// `; did you mean NAME?`, or nothing.
pub(super) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, known).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// `; did you mean NAME?`, or all there are.
pub(super) fn did_you_mean_or_list(written: &str, noun: &str, known: &[&str]) -> String {
    let hint = did_you_mean(written, known.iter().copied());
    if hint.is_empty() { format!("; the {noun}s are {}", known.join(", ")) } else { hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "a\nbä c\n";
        let place = |offset| {
            let Position { line, column } = Position::of(text, offset);
            (line, column.unwrap())
        };
        assert_eq!(place(0), (1, 1));
        assert_eq!(place(2), (2, 1));
        assert_eq!(place(text.find('c').unwrap()), (2, 4));
        assert_eq!(place(1000), (3, 1));
    }

    #[test]
    fn a_name_that_is_nearly_right_is_recognised() {
        let known = ["rpm", "rpd", "tpm", "priority", "model_name", "quota_group"];
        assert_eq!(nearest("priorty", known), Some("priority"));
        assert_eq!(nearest("RPM", known), Some("rpm"));
        assert_eq!(nearest("modle_name", known), Some("model_name"));
        assert_eq!(nearest("rmp", known), Some("rpm"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}

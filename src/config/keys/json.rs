//! JSON with the place of every value: errors are told by it, and a file is edited without losing
//! what is around a value. Places are offsets into the text.

use std::borrow::Cow;
use std::collections::HashSet;

use jiter::{Jiter, JiterError, JiterErrorType, JiterResult, JsonErrorType, Peek};

use crate::background::{Stretch, let_go};

/// Deeper than any field of a keys file.
const DEEPEST: usize = 16;

const DEEP: &str = "this is nested too deeply";

/// A value and where it begins and ends.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) offset: usize,
    pub(super) end: usize,
    pub(super) kind: Kind<'t>,
}

impl Node<'_> {
    /// Drops it, with all that is in it.
    pub(super) fn let_go(self) {
        match self.kind {
            Kind::List(items) => let_go(items),
            Kind::Object(members) => {
                for member in members {
                    member.value.let_go();
                }
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
        }
    }
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind<'t> {
    Null,
    Bool(bool),
    /// A number as it is written.
    Number(&'t str),
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    Object(Vec<Member<'t>>),
}

/// A name and its value.
#[derive(Debug)]
pub(super) struct Member<'t> {
    pub(super) name: Cow<'t, str>,
    /// Where the name begins.
    pub(super) offset: usize,
    pub(super) value: Node<'t>,
}

/// What keeps a text from being a JSON value, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) what: &'static str,
}

/// Reads `text` whole.
pub(super) fn parse(text: &str) -> Result<Node<'_>, Vec<Fault>> {
    if text.trim_ascii().is_empty() {
        return Err(vec![Fault { offset: 0, what: "the file is empty" }]);
    }
    let mut reader = Reader {
        text,
        json: Jiter::new(text.as_bytes()),
        twice: Vec::new(),
        stretch: Stretch::of_things(),
    };
    match reader.whole() {
        Err(fault) => Err(vec![fault]),
        Ok(_) if !reader.twice.is_empty() => Err(reader.twice),
        Ok(root) => Ok(root),
    }
}

struct Reader<'t> {
    text: &'t str,
    json: Jiter<'t>,
    /// Members of the name of an earlier one.
    twice: Vec<Fault>,
    stretch: Stretch,
}

impl<'t> Reader<'t> {
    fn whole(&mut self) -> Result<Node<'t>, Fault> {
        let first = self.json.peek()?;
        let root = self.node(first, 0)?;
        self.json.finish()?;
        Ok(root)
    }

    /// Reads the value that begins here, with `first`.
    fn node(&mut self, first: Peek, depth: usize) -> Result<Node<'t>, Fault> {
        let offset = self.json.current_index();
        if depth > DEEPEST {
            return Err(Fault { offset, what: DEEP });
        }
        let kind = match first {
            Peek::Null => {
                self.json.known_null()?;
                Kind::Null
            }
            Peek::True | Peek::False => Kind::Bool(self.json.known_bool(first)?),
            Peek::String => Kind::Text(as_written(self.text, offset, self.json.known_str()?)),
            Peek::Array => Kind::List(self.items(depth)?),
            Peek::Object => Kind::Object(self.members(depth)?),
            _ => {
                self.json.known_number_bytes(first)?;
                Kind::Number(&self.text[offset..self.json.current_index()])
            }
        };
        Ok(Node { offset, end: self.json.current_index(), kind })
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node<'t>>, Fault> {
        let mut items = Vec::new();
        let mut next = self.json.known_array()?;
        while let Some(first) = next {
            items.push(self.node(first, depth + 1)?);
            self.stretch.add(1);
            next = self.json.array_step()?;
        }
        Ok(items)
    }

    fn members(&mut self, depth: usize) -> Result<Vec<Member<'t>>, Fault> {
        let (mut members, mut names) = (Vec::new(), HashSet::new());
        let mut step: for<'j> fn(&'j mut Jiter<'t>) -> JiterResult<Option<&'j str>> =
            Jiter::known_object;
        loop {
            let end = self.json.current_index();
            let Some(name) = step(&mut self.json)? else { return Ok(members) };
            // No more than a brace or a comma stands before it.
            let offset = end + self.text[end..].find('"').unwrap_or(0);
            let name = as_written(self.text, offset, name);
            if !names.insert(name.clone()) {
                self.twice.push(Fault { offset, what: "this member is there twice" });
            }
            let first = self.json.peek()?;
            members.push(Member { name, offset, value: self.node(first, depth + 1)? });
            step = Jiter::next_key;
        }
    }
}

/// `string`, which begins at `offset` of `text`; borrowed if it has no escapes.
fn as_written<'t>(text: &'t str, offset: usize, string: &str) -> Cow<'t, str> {
    let written = text[offset + 1..].strip_prefix(string);
    match written {
        Some(rest) if rest.starts_with('"') => {
            Cow::Borrowed(&text[offset + 1..offset + 1 + string.len()])
        }
        Some(_) | None => Cow::Owned(string.to_owned()),
    }
}

impl From<JiterError> for Fault {
    fn from(error: JiterError) -> Self {
        let what = match error.error_type {
            JiterErrorType::JsonError(error) => told(&error),
            JiterErrorType::WrongType { .. } => "expected JSON",
        };
        Self { offset: error.index, what }
    }
}

/// What is told of an error. Its own words are not used: they may quote the text.
fn told(error: &JsonErrorType) -> &'static str {
    match error {
        JsonErrorType::EofWhileParsingList
        | JsonErrorType::EofWhileParsingObject
        | JsonErrorType::EofWhileParsingString
        | JsonErrorType::EofWhileParsingValue => "the file ends in the middle of a value",
        JsonErrorType::TrailingCharacters => "there is more text after the end of the value",
        JsonErrorType::KeyMustBeAString => "expected a name in double quotes",
        JsonErrorType::TrailingComma => "expected no comma before the end",
        JsonErrorType::ExpectedColon => "expected a colon",
        JsonErrorType::ExpectedListCommaOrEnd | JsonErrorType::ExpectedObjectCommaOrEnd => {
            "expected a comma or the end"
        }
        JsonErrorType::LoneLeadingSurrogateInHexEscape
        | JsonErrorType::UnexpectedEndOfHexEscape
        | JsonErrorType::InvalidUnicodeCodePoint => "this escape is half a character",
        JsonErrorType::ControlCharacterWhileParsingString => {
            "expected an escape such as \\n instead of a control character"
        }
        JsonErrorType::RecursionLimitExceeded => DEEP,
        JsonErrorType::ExpectedSomeIdent
        | JsonErrorType::ExpectedSomeValue
        | JsonErrorType::InvalidEscape
        | JsonErrorType::InvalidNumber
        | JsonErrorType::NumberOutOfRange
        | JsonErrorType::FloatExpectingInt
        | JsonErrorType::DuplicateKey(_)
        | JsonErrorType::InternalError(_) => "expected JSON",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(text: &str) -> Vec<(usize, &'static str)> {
        let faults = parse(text).err().unwrap_or_default();
        faults.iter().map(|fault| (fault.offset, fault.what)).collect()
    }

    #[test]
    fn every_value_knows_its_place() {
        let text = r#" {"a": [1, "x"], "b\u0020": {"c": null}} "#;
        let root = parse(text).unwrap();
        assert_eq!(root.offset, 1);
        let Kind::Object(members) = root.kind else { panic!("an object") };
        assert_eq!((members[0].offset, members[0].value.offset), (2, 7));
        let Kind::List(items) = &members[0].value.kind else { panic!("a list") };
        assert_eq!((items[0].offset, items[1].offset), (8, 11));
        assert_eq!(members[1].name, "b ");
        assert_eq!(members[1].offset, text.find("\"b").unwrap());
    }

    #[test]
    fn members_that_are_there_twice_are_faults_at_every_depth() {
        let text = r#"{"a": 1, "a": 2, "b": [{"c": 1, "c": 2}]}"#;
        let twice = "this member is there twice";
        assert_eq!(faults(text), [(9, twice), (32, twice)]);
    }

    #[test]
    fn what_is_no_json_is_told_by_its_place() {
        assert_eq!(faults(" \n "), [(0, "the file is empty")]);
        assert_eq!(faults("{} x"), [(3, "there is more text after the end of the value")]);
        assert_eq!(faults("{\"a\": NaN}"), [(6, "expected JSON")]);
        assert_eq!(faults("{\"a\": 1,}"), [(8, "expected no comma before the end")]);
        assert_eq!(faults("{\"a\": 1, b: 2}"), [(9, "expected a name in double quotes")]);
        assert_eq!(faults("{\"a\" 1}"), [(5, "expected a colon")]);
        assert_eq!(faults("{\"a\": 1 \"b\": 2}"), [(8, "expected a comma or the end")]);
        assert_eq!(faults("{\"a\": [1")[0].1, "the file ends in the middle of a value");
    }

    #[test]
    fn half_a_character_is_a_fault_wherever_it_is() {
        for text in [r#"{"a": "\ud800"}"#, r#"{"\ud800": 1}"#, r#"{"a": [{"b": "\udc00x"}]}"#] {
            assert_eq!(faults(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_bomb_of_brackets_is_a_fault() {
        for bomb in ["[".repeat(1 << 19) + &"]".repeat(1 << 19), "[".repeat(1 << 20)] {
            assert_eq!(faults(&bomb).len(), 1);
        }
        let objects = "{\"a\":".repeat(100_000) + "1" + &"}".repeat(100_000);
        assert_eq!(faults(&objects).len(), 1);
    }

    fn any_value() -> impl Strategy<Value = serde_json::Value> {
        let text = "[a-c\\\\\"/\u{1}-\u{20}é\u{10000}]{0,6}";
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            text.prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map(text, inner, 0..5)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    /// Whether `node` is `value`, where it says it is in `text`.
    fn is_read(node: &Node<'_>, value: &serde_json::Value, text: &str) -> bool {
        let written = serde_json::from_str::<serde_json::Value>(&text[node.offset..node.end]);
        written.is_ok_and(|written| written == *value)
            && match (&node.kind, value) {
                (Kind::Null, value) => value.is_null(),
                (Kind::Bool(read), value) => value.as_bool() == Some(*read),
                (Kind::Number(read), value) => read.parse().ok().as_ref() == Some(value),
                (Kind::Text(read), value) => value.as_str() == Some(read),
                (Kind::List(read), value) => value.as_array().is_some_and(|items| {
                    read.len() == items.len()
                        && read.iter().zip(items).all(|(read, item)| is_read(read, item, text))
                }),
                (Kind::Object(read), value) => value.as_object().is_some_and(|members| {
                    read.len() == members.len()
                        && read.iter().all(|member| {
                            text[member.offset..].starts_with('"')
                                && members
                                    .get(&*member.name)
                                    .is_some_and(|value| is_read(&member.value, value, text))
                        })
                }),
            }
    }

    proptest! {
        #[test]
        fn what_is_json_is_read_as_it_is(value in any_value(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let read = parse(&text);
            prop_assert!(read.as_ref().is_ok_and(|root| is_read(root, &value, &text)), "{read:?}");
        }

        #[test]
        fn a_number_or_a_word_is_one_if_others_say_so(text in "[-+.0-9eEtrufalsn]{1,6}") {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            prop_assert_eq!(parse(&text).is_ok(), theirs.is_ok());
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "[\\[\\]{}\",:0-9a\\\\u \n]{0,40}") {
            let ours = parse(&text).is_ok();
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            prop_assert!(!ours || theirs.is_ok());
        }
    }
}

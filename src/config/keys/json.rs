//! JSON with the place of every value, so that all errors can be told at once.
//!
//! `serde_json` finds the ends of values; each is then opened on its own. Places are offsets into
//! the text, which also serve to edit a file without losing what is around a value.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::background::{let_go, unhurried};

/// Deeper than any field of a keys file; each level costs one more scan of the text.
const DEEPEST: usize = 16;

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
    let raw: &RawValue =
        serde_json::from_str(text).map_err(|error| vec![fault(text, 0, &error)])?;
    let mut tree = Tree { text, faults: Vec::new() };
    let root = tree.node(raw, 0);
    if tree.faults.is_empty() { Ok(root) } else { Err(tree.faults) }
}

struct Tree<'t> {
    text: &'t str,
    faults: Vec<Fault>,
}

impl<'t> Tree<'t> {
    fn node(&mut self, raw: &'t RawValue, depth: usize) -> Node<'t> {
        let source = raw.get();
        let offset = self.offset(source);
        if depth > DEEPEST {
            self.faults.push(Fault { offset, what: "this is nested too deeply" });
            return Node { offset, end: offset, kind: Kind::Null };
        }
        let kind = match source.as_bytes().first() {
            Some(b'{') => self.object(source, depth),
            Some(b'[') => {
                let items: Vec<&'t RawValue> = self.open(source).unwrap_or_default();
                Kind::List(unhurried(items).map(|item| self.node(item, depth + 1)).collect())
            }
            Some(b'"') => {
                let text: Option<Text<'t>> = self.open(source);
                Kind::Text(text.map(|Text(text)| text).unwrap_or_default())
            }
            Some(b't') => Kind::Bool(true),
            Some(b'f') => Kind::Bool(false),
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number(source),
        };
        Node { offset, end: offset + source.len(), kind }
    }

    fn object(&mut self, source: &'t str, depth: usize) -> Kind<'t> {
        let Members(members) = self.open(source).unwrap_or_default();
        let mut names = HashSet::new();
        let mut list = Vec::with_capacity(members.len());
        for (Text(name), raw) in members {
            let value = self.node(raw, depth + 1);
            // A name with escapes is a copy, whose place is not known: then its value's is told.
            let offset = match &name {
                Cow::Borrowed(name) => self.offset(name) - 1,
                Cow::Owned(_) => value.offset,
            };
            if !names.insert(name.clone()) {
                self.faults.push(Fault { offset, what: "this member is there twice" });
            }
            list.push(Member { name, offset, value });
        }
        Kind::Object(list)
    }

    /// Reads one level of `source`.
    fn open<T: Deserialize<'t>>(&mut self, source: &'t str) -> Option<T> {
        let base = self.offset(source);
        let read = serde_json::from_str(source);
        read.map_err(|error| self.faults.push(fault(source, base, &error))).ok()
    }

    /// Where `part` begins; it is a part of the text.
    fn offset(&self, part: &str) -> usize {
        part.as_ptr().addr() - self.text.as_ptr().addr()
    }
}

/// The fault that stopped `serde_json` in `source`, which begins at `base`. Its own words are not
/// used: they may quote the text.
fn fault(source: &str, base: usize, error: &serde_json::Error) -> Fault {
    let line: usize = source.split_inclusive('\n').take(error.line() - 1).map(str::len).sum();
    let within = (line + error.column().saturating_sub(1)).min(source.len());
    let what = match error.classify() {
        Category::Eof => "the file ends in the middle of a value",
        Category::Io | Category::Data | Category::Syntax => {
            match error.to_string().split(" at line").next() {
                Some("trailing characters") => "there is more text after the end of the value",
                Some("key must be a string") => "expected a name in double quotes",
                Some("expected `,` or `]`" | "expected `,` or `}`") => {
                    "expected a comma or the end"
                }
                Some("lone leading surrogate in hex escape" | "unexpected end of hex escape") => {
                    "this escape is half a character"
                }
                Some("recursion limit exceeded") => "this is nested too deeply",
                Some(_) | None => "expected JSON",
            }
        }
    };
    Fault { offset: base + within, what }
}

/// A text, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// The members of an object in their order.
#[derive(Default)]
struct Members<'t>(Vec<(Text<'t>, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(InOrder)
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
        assert_eq!(members[1].offset, text.find("{\"c").unwrap());
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
        assert_eq!(faults("{\"a\": 1,}")[0].1, "expected a name in double quotes");
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

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[\\[\\]{}\",:0-9a\\\\u \n]{0,40}") {
            let ours = parse(&text).is_ok();
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            prop_assert!(!ours || theirs.is_ok());
        }
    }
}

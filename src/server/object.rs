//! A JSON object that is written member by member.
//!
//! The answers that every request of an application waits for are written like this: names are
//! known to need no escapes, and values are looked at as a whole. `serde_json` looks at each byte of
//! both, which takes five times as long.

use hyper::body::Bytes;

/// What the answer to a select comes to, so that it does not grow step by step.
const USUAL_BYTES: usize = 512;

/// An object of which some members are written.
pub(super) struct Object(Vec<u8>);

impl Object {
    /// One without members.
    pub(super) fn new() -> Self {
        let mut text = Vec::with_capacity(USUAL_BYTES);
        text.push(b'{');
        Self(text)
    }

    /// A text.
    pub(super) fn text(self, name: &'static str, value: &str) -> Self {
        self.texts(name, [value])
    }

    /// A text, or null.
    pub(super) fn text_or_null(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self.plain(name, "null"),
        }
    }

    /// A text of several parts.
    pub(super) fn texts<const N: usize>(mut self, name: &'static str, parts: [&str; N]) -> Self {
        self.name(name);
        self.0.push(b'"');
        for part in parts {
            if is_plain(part) {
                self.0.extend_from_slice(part.as_bytes());
            } else {
                self.escape(part);
            }
        }
        self.0.push(b'"');
        self
    }

    /// A whole number.
    pub(super) fn number(self, name: &'static str, value: u64) -> Self {
        self.plain(name, itoa::Buffer::new().format(value))
    }

    /// True or false.
    pub(super) fn truth(self, name: &'static str, value: bool) -> Self {
        self.plain(name, if value { "true" } else { "false" })
    }

    /// Another object.
    pub(super) fn object(mut self, name: &'static str, members: impl FnOnce(Self) -> Self) -> Self {
        self.name(name);
        self.0.push(b'{');
        let mut whole = members(self);
        whole.0.push(b'}');
        whole
    }

    /// All of it.
    pub(super) fn end(mut self) -> Bytes {
        self.0.push(b'}');
        self.0.into()
    }

    /// What stands without quotes.
    fn plain(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    fn name(&mut self, name: &'static str) {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// Writes `part` as `serde_json` does, without the quotes.
    fn escape(&mut self, part: &str) {
        let begin = self.0.len();
        // A text can be written, and memory takes everything.
        serde_json::to_writer(&mut self.0, part).ok();
        self.0.remove(begin);
        self.0.pop();
    }
}

/// Whether nothing of it must be escaped. It looks at every byte, several at once.
fn is_plain(text: &str) -> bool {
    !text.bytes().fold(false, |odd, byte| odd | matches!(byte, ..b' ' | b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_object_is_written_as_serde_json_writes_it() {
        let empty = Object::new().object("a", |empty| empty).object("b", |b| b.text("c", "d"));
        assert_eq!(empty.end(), r#"{"a":{},"b":{"c":"d"}}"#);
        let words = Object::new().number("a", 1).truth("b", true).text_or_null("c", None);
        assert_eq!(words.end(), r#"{"a":1,"b":true,"c":null}"#);
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was(one: String, other in r"[\x00-\x7f]*") {
            let written = Object::new().text("one", &one).texts("both", [&other, &one]).end();
            let read: Value = serde_json::from_slice(&written).unwrap();
            prop_assert_eq!(read, json!({"one": one, "both": format!("{other}{one}")}));
        }
    }
}

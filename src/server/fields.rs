//! The members of a JSON request, read one by one; what is left over is an error.

use std::borrow::Cow;
use std::fmt::{self, Display};

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::problem::Problem;

/// No request has more fields.
const MOST_FIELDS: usize = 16;

/// The members of a request that have not been read yet, in the order of their names.
pub(super) struct Fields<'a> {
    members: Vec<Member<'a>>,
    known: Vec<&'static str>,
}

type Member<'a> = (Name<'a>, Value);

/// A name, which is hardly ever written with escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object as it is written. Requests have a few members: a list of them is less work than a map.
struct Object<'a>(Vec<Member<'a>>);

impl<'a> Fields<'a> {
    /// Reads a body; an empty one has no members. Of members of one name the last one counts.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let known = Vec::with_capacity(MOST_FIELDS);
        if body.trim_ascii().is_empty() {
            return Ok(Self { members: Vec::new(), known });
        }
        match serde_json::from_slice(body) {
            Ok(Object(members)) => Ok(Self { members: sorted(members), known }),
            Err(error) if error.is_data() => Err(Problem::invalid("", "expected a JSON object")),
            Err(error) => {
                let place = format!("line {}, column {}", error.line(), error.column());
                Err(Problem::invalid("", format!("the body is not JSON ({place})")))
            }
        }
    }

    /// The member `name`, unless it is absent or null, as `read` understands it.
    pub(super) fn take<T>(
        &mut self,
        name: &'static str,
        expected: impl Display,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        self.known.push(name);
        let member = self.position(name).map(|at| self.members.remove(at).1);
        let Some(value) = member.filter(|value| !value.is_null()) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(Problem::invalid(name, format!("expected {expected}"))),
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        self.take(name, "a text that is not empty", text)
    }

    pub(super) fn whole(&mut self, name: &'static str, most: u64) -> Result<Option<u64>, Problem> {
        let expected = format_args!("a whole number from 0 to {most}");
        self.take(name, expected, |value| whole(&value).filter(|number| *number <= most))
    }

    /// All that is left, in which none of `fixed` may be: fields, each with why not.
    pub(super) fn members(self, fixed: &[(&str, &str)]) -> Result<Vec<(String, Value)>, Problem> {
        if let Some((name, why)) = fixed.iter().find(|(name, _)| self.position(name).is_some()) {
            return Err(Problem::invalid(name, *why));
        }
        let members = self.members.into_iter();
        Ok(members.map(|(name, value)| (name.0.into_owned(), plain(value))).collect())
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), Problem> {
        let Some((name, _)) = self.members.first() else { return Ok(()) };
        let known = self.known.join(", ");
        let fields = if known.is_empty() { "there are none" } else { "the fields are " };
        Err(Problem::invalid(&name.0, format!("unknown field; {fields}{known}")))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|(other, _)| other.0 == name)
    }
}

/// The last member of each name, in the order of names.
fn sorted(mut members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    members.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        if is_same {
            std::mem::swap(later, earlier);
        }
        is_same
    });
    members
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(4);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A whole number. JSON has one kind of number alone: 5.0 is 5.
pub(super) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        // Without the sign of a zero.
        format!("{:.0}", number + 0.0).parse().ok()
    })
}

/// `value` as it is usually written.
fn plain(value: Value) -> Value {
    match whole(&value) {
        Some(number) => number.into(),
        None => value,
    }
}

/// A text that is not empty.
pub(super) fn text(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text).filter(|text| !text.is_empty()) } else { None }
}

/// A list of texts that are not empty.
pub(super) fn texts(value: Value) -> Option<Vec<String>> {
    if let Value::Array(items) = value { items.into_iter().map(text).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<(String, Value)>, Problem> {
        Fields::parse(body.as_bytes())?.members(&[])
    }

    #[test]
    fn of_members_of_one_name_the_last_one_counts() {
        let members = read(r#"{"b": 1, "a": 2, "b": 3, "\u0062": 4, "c": null}"#).unwrap();
        let expected = [("a", 2.into()), ("b", 4.into()), ("c", Value::Null)];
        assert_eq!(members, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_body_is_an_object_or_nothing() {
        assert_eq!(read(" \n"), Ok(Vec::new()));
        assert_eq!(read("{}"), Ok(Vec::new()));
        for (body, detail) in [
            ("[]", "expected a JSON object"),
            ("\"a\"", "expected a JSON object"),
            ("{\"a\"}", "the body is not JSON (line 1, column 5)"),
            ("{\"a\": 1} {", "the body is not JSON (line 1, column 10)"),
            ("{\"a\": \"\\ud800\"}", "the body is not JSON (line 1, column 14)"),
        ] {
            assert_eq!(read(body), Err(Problem::invalid("", detail)), "{body}");
        }
    }

    /// `serde_json` has a name for a text that it reads once more, each time as deep as any other.
    #[test]
    fn a_body_of_bodies_of_bodies_ends() {
        let raw = "$serde_json::private::RawValue";
        let (mut nested, [open, close]) = (String::from("1"), ["[", "]"].map(|b| b.repeat(100)));
        while nested.len() < 100 * 1024 {
            let text = serde_json::to_string(&nested).unwrap();
            nested = format!("{open}{{\"{raw}\":{text}}}{close}");
        }
        assert!(read(&format!("{{\"a\":{nested}}}")).is_ok());
    }

    #[test]
    fn an_unknown_field_is_told_beside_the_known_ones() {
        let mut fields = Fields::parse(br#"{"user": "a", "z": 1, "model": 1}"#).unwrap();
        assert_eq!(fields.text("user"), Ok(Some("a".to_owned())));
        assert_eq!(fields.text("provider"), Ok(None));
        let detail = "unknown field; the fields are user, provider";
        assert_eq!(fields.finish(), Err(Problem::invalid("model", detail)));
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        let read = |text: &str| whole(&serde_json::from_str(text).unwrap());
        for (text, number) in [("5", 5), ("5.0", 5), ("5e2", 500), ("-0.0", 0), ("0", 0)] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        assert_eq!(read("18446744073709551615"), Some(u64::MAX));
        for text in ["5.5", "-1", "-1.0", "18446744073709551616", "1e300", "\"5\"", "null"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

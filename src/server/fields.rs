//! The members of a JSON request, read one by one; what is left over is an error.

use std::fmt::Display;

use serde_json::{Map, Value};

use super::problem::Problem;

/// No request has more fields.
const MOST_FIELDS: usize = 16;

/// The members of a request that have not been read yet.
pub(super) struct Fields {
    members: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    /// Reads a body; an empty one has no members.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let known = Vec::with_capacity(MOST_FIELDS);
        if body.trim_ascii().is_empty() {
            return Ok(Self { members: Map::new(), known });
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self { members, known }),
            Ok(_) => Err(Problem::invalid("", "expected a JSON object")),
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
        match self.members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(Problem::invalid(name, format!("expected {expected}"))),
            },
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
        match fixed.iter().find(|(name, _)| self.members.contains_key(*name)) {
            Some((name, why)) => Err(Problem::invalid(name, *why)),
            None => {
                Ok(self.members.into_iter().map(|(name, value)| (name, plain(value))).collect())
            }
        }
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), Problem> {
        let Some(name) = self.members.keys().next() else { return Ok(()) };
        let known = self.known.join(", ");
        let fields = if known.is_empty() { "there are none" } else { "the fields are " };
        Err(Problem::invalid(name, format!("unknown field; {fields}{known}")))
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

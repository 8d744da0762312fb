//! Errors as the daemon tells them (RFC 9457), for people.

use std::fmt;

use serde_json::Value;

use super::members::{items, words};
use super::table::printable;
use crate::config::nearest;

/// An error of the daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable name, such as `exhausted`.
    pub code: String,
    /// What happened, in general.
    pub title: String,
    /// What happened this time.
    pub detail: String,
    /// The name that was most likely meant.
    hint: Option<String>,
    /// What else there is to say, such as a reason for each key.
    lines: Vec<String>,
    /// The names that could have been asked for.
    known: Vec<String>,
}

impl Problem {
    pub(super) fn read(status: u16, body: &str) -> Self {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let mut problem = Self {
            status,
            code: words(&body["code"]),
            title: words(&body["title"]),
            detail: words(&body["detail"]),
            hint: None,
            lines: Vec::new(),
            known: Vec::new(),
        };
        match problem.code.as_str() {
            "no_such_model" => problem.known = names(&body["offered"]),
            "no_such_key" => {
                problem.known = names(&body["keys"]);
                let keys = problem.known.join(", ");
                problem.detail = match keys.as_str() {
                    "" => "the pool has no keys".to_owned(),
                    keys => format!("the keys are {keys}"),
                };
            }
            "invalid_request" => problem.list(Vec::new(), names(&body["errors"])),
            "no_usable_key" => {
                problem.list(by_reason(items(&body["keys"])), names(&body["errors"]));
            }
            _ => {}
        }
        problem
    }

    /// Takes `reasons` and `errors` for lines. The detail is the first of them, which is enough
    /// where there is no other.
    fn list(&mut self, reasons: Vec<String>, errors: Vec<String>) {
        let lines = [reasons, errors].concat();
        if lines.len() > 1 || !lines.contains(&self.detail) && !lines.is_empty() {
            self.detail.clear();
            self.lines = lines;
        }
    }

    /// Adds the known name that is nearest to one of those `asked` for.
    #[must_use]
    pub(super) fn near<'a>(mut self, asked: impl IntoIterator<Item = &'a str>) -> Self {
        let known = || self.known.iter().map(String::as_str);
        let mut hints = asked.into_iter().filter_map(|asked| nearest(asked, known()));
        self.hint = hints.next().map(str::to_owned);
        self
    }
}

/// Each reason with the keys it holds for.
fn by_reason(keys: &[Value]) -> Vec<String> {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for key in keys {
        let (id, reason) = (words(&key["key_id"]), words(&key["reason"]));
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, ids)) => ids.push(id),
            None => reasons.push((reason, vec![id])),
        }
    }
    reasons.iter().map(|(reason, ids)| format!("{}: {reason}", ids.join(", "))).collect()
}

fn names(list: &Value) -> Vec<String> {
    items(list).iter().map(words).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (printable(&self.title).as_str(), printable(&self.detail).as_str()) {
            ("", "") => write!(f, "the daemon answered {}", self.status)?,
            (text, "") | ("", text) => f.write_str(text)?,
            (title, detail) => write!(f, "{title}: {detail}")?,
        }
        if let Some(hint) = &self.hint {
            write!(f, "; did you mean {}?", printable(hint))?;
        }
        self.lines.iter().try_for_each(|line| write!(f, "\n  {}", printable(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: &Value) -> Problem {
        Problem::read(503, &body.to_string())
    }

    #[test]
    fn a_problem_is_its_title_and_detail() {
        let exhausted = json!({"code": "exhausted", "title": "No key can pay now", "detail":
            "the first can pay in 4.2 s (rpm)", "waits_for": "rpm", "retry_after_ms": 4200});
        let expected = "No key can pay now: the first can pay in 4.2 s (rpm)";
        assert_eq!(read(&exhausted).to_string(), expected);
    }

    #[test]
    fn an_error_that_is_no_problem_shows_its_status() {
        assert_eq!(Problem::read(502, "<html>").to_string(), "the daemon answered 502");
    }

    #[test]
    fn every_key_that_is_not_usable_is_told_with_its_reason_once() {
        let problem = |keys: &[(&str, &str)]| {
            let key = |(id, reason): &(_, _)| json!({"key_id": id, "reason": reason});
            let keys: Vec<_> = keys.iter().map(key).collect();
            let body = json!({"code": "no_usable_key", "title": "T", "detail": "a: inactive", "keys": keys});
            read(&body).to_string()
        };
        assert_eq!(problem(&[]), "T: a: inactive");
        assert_eq!(problem(&[("a", "inactive")]), "T: a: inactive");
        assert_eq!(
            problem(&[("a", "inactive"), ("b", "dead: x"), ("c", "inactive")]),
            "T\n  a, c: inactive\n  b: dead: x"
        );
    }

    #[test]
    fn a_rejected_configuration_is_told_with_every_error() {
        let body = json!({"code": "no_usable_key", "title": "T", "detail": "e 1", "errors": ["e 1", "e 2"]});
        assert_eq!(read(&body).to_string(), "T\n  e 1\n  e 2");
    }

    #[test]
    fn a_model_that_is_nearly_right_is_named() {
        let body = json!({"code": "no_such_model", "title": "T", "detail":
            "the keys offer gemini-2.0-flash, m", "offered": ["gemini-2.0-flash", "m"]});
        let near = |asked| read(&body).near([asked]).to_string();
        let plain = "T: the keys offer gemini-2.0-flash, m";
        assert_eq!(near("gemini-2-flash"), format!("{plain}; did you mean gemini-2.0-flash?"));
        assert_eq!(near("llama"), plain);
    }

    #[test]
    fn a_key_that_is_not_there_is_told_with_those_that_are() {
        let body = json!({"code": "no_such_key", "title": "No such key", "detail": "in keys", "keys": ["a_1", "b_1"]});
        let told = read(&body).near(["a_l"]).to_string();
        assert_eq!(told, "No such key: the keys are a_1, b_1; did you mean a_1?");
    }
}

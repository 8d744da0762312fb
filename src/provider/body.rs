//! The JSON in a provider's body.

use serde_json::Value;

use super::answer::number;

/// The part of a message in which anything is looked for.
const MESSAGE_READ: usize = 4096;

/// The JSON documents of a body: the body itself, its elements if it is an array (Gemini streams
/// so without `alt=sse`, and wraps errors so in its `OpenAI` endpoint), or the data of each event
/// of a `text/event-stream`. What is not JSON is left out.
pub(super) fn documents(body: &str) -> Vec<Value> {
    match serde_json::from_str(body) {
        Ok(Value::Array(documents)) => documents,
        Ok(document) => vec![document],
        Err(_) => body
            .lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok())
            .collect(),
    }
}

/// The `error` object that one of `documents` carries.
pub(super) fn error(documents: &[Value]) -> Option<ErrorBody<'_>> {
    let is_error = |document: &&Value| document["error"].is_object();
    documents.iter().find(is_error).map(|document| ErrorBody::read(&document["error"]))
}

/// An error as every provider writes it: some codes, a text, and details.
pub(super) struct ErrorBody<'a> {
    /// `error.code`, if it is text.
    pub code: Option<&'a str>,
    /// `error.code`, if it is a number.
    pub number: Option<u64>,
    /// `error.type`.
    pub kind: Option<&'a str>,
    /// `error.status`.
    pub status: Option<&'a str>,
    /// The beginning of `error.message` in lower case; for reading only, since it may echo a key.
    pub message: String,
    /// `error.details`, of whatever type.
    pub details: &'a Value,
}

impl<'a> ErrorBody<'a> {
    fn read(error: &'a Value) -> Self {
        let message = error["message"].as_str().unwrap_or_default();
        let read = &message[..message.floor_char_boundary(MESSAGE_READ)];
        Self {
            code: error["code"].as_str(),
            number: number(&error["code"]),
            kind: error["type"].as_str(),
            status: error["status"].as_str(),
            message: read.to_ascii_lowercase(),
            details: &error["details"],
        }
    }

    /// Whether the message says one of `phrases`, given in lower case.
    pub(super) fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.message.contains(phrase))
    }

    /// The numbers that the message gives as limits: `limit: 5`, `Limit 30000`.
    pub(super) fn limits(&self) -> impl Iterator<Item = u64> {
        self.message.split("limit").skip(1).filter_map(|after| {
            let digits = after.trim_start_matches([':', ' ']);
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            digits[..end].parse().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_document_or_several() {
        assert_eq!(documents("{}").len(), 1);
        assert_eq!(documents("[{}, {}]").len(), 2);
        assert_eq!(documents("event: a\ndata: {}\n\ndata:{}\n\ndata: [DONE]\n\n").len(), 2);
        assert_eq!(documents("<html>").len(), 0);
        assert_eq!(documents("").len(), 0);
    }

    #[test]
    fn limits_are_read_from_messages() {
        let limits = |message: &str| {
            let documents =
                documents(&serde_json::json!({"error": {"message": message}}).to_string());
            error(&documents).unwrap().limits().collect::<Vec<_>>()
        };
        assert_eq!(limits("Rate limit reached: Limit 30000, Used 1"), [30000]);
        assert_eq!(limits("Limit: 3 / min. exceeded, limit: 0, model: m"), [3, 0]);
        assert_eq!(limits("rate-limits. limit: many"), [0; 0]);
        assert_eq!(limits("limit 99999999999999999999999"), [0; 0]);
    }
}

//! A provider's answer, and the verdict on it.

use std::time::Duration;

use serde_json::Value;

use crate::pool::{Outcome, RateLimit, Spent};

/// What a provider answered to a request that used a key.
#[derive(Clone, Copy)]
pub struct ProviderAnswer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The headers, with names in any case.
    pub headers: &'a [(String, String)],
    /// The body, or its beginning; empty if nobody kept it.
    pub body: &'a str,
}

/// The verdict on an answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Classified {
    /// What came of the use of the key.
    pub outcome: Outcome,
    /// One short line for operators: the status and the provider's own codes, never its texts.
    pub detail: String,
    /// The tokens that count towards the limit of a minute, where the answer says.
    pub tokens_used: Option<u64>,
}

impl ProviderAnswer<'_> {
    /// The value of the first header called `name`.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let named = |(header, _): &&(String, String)| header.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.trim())
    }

    /// The verdict `outcome`, explained by the status and those of `codes` that are codes.
    pub(super) fn verdict<'a>(
        &self,
        outcome: Outcome,
        codes: impl IntoIterator<Item = Option<&'a str>>,
    ) -> Classified {
        let mut detail = self.status.to_string();
        let codes = codes.into_iter().flatten().filter(|code| is_code(code));
        for code in codes.take(MOST_CODES) {
            detail.push(' ');
            detail.push_str(code);
        }
        Classified { outcome, detail, tokens_used: None }
    }

    /// The verdict that the status alone gives by HTTP's rules (RFC 9110, RFC 6585), where
    /// `retry_after` is the delay of a 429.
    pub(super) fn outcome_by_status(&self, retry_after: Option<Duration>) -> Outcome {
        match self.status {
            200..=299 => Outcome::Success,
            401 => Outcome::AuthFailed,
            402 => spent(Spent::Account),
            403 => Outcome::ModelRefused,
            408 | 504 => Outcome::Timeout,
            429 => Outcome::RateLimited(RateLimit { retry_after, ..RateLimit::default() }),
            // A client's own close, as nginx and Google's front ends write it down.
            499 => Outcome::Cancelled,
            500.. => Outcome::ServerError,
            0..=499 => Outcome::ClientError,
        }
    }
}

impl Classified {
    /// The same verdict with the tokens that the answer owns up to.
    pub(super) fn with_tokens(mut self, tokens_used: Option<u64>) -> Self {
        self.tokens_used = tokens_used;
        self
    }
}

/// A refusal because `spent` is used up, of which nothing else is known.
pub(super) fn spent(spent: Spent) -> Outcome {
    Outcome::RateLimited(RateLimit { spent, ..RateLimit::default() })
}

/// The number at `value`, whether written as one or as a string of digits.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The most codes of one answer that an operator reads.
const MOST_CODES: usize = 4;

/// Longer than the longest quota id seen, `GenerateContentPaidTierInputTokensPerModelPerMinute`.
const LONGEST_CODE: usize = 64;

/// Whether `text` may be shown: `lower_case`, `UPPER_CASE`, `CamelCase-Tier`, or a short number.
/// That keeps out keys, should one ever stand where a code belongs: they mix cases and digits.
fn is_code(text: &str) -> bool {
    let all = |allowed: fn(&u8) -> bool| {
        text.bytes().all(|byte| allowed(&byte) || byte == b'_' || byte == b'.')
    };
    let camel = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_uppercase())
            && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    let is_word = all(u8::is_ascii_lowercase) || all(u8::is_ascii_uppercase);
    let is_number = text.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    (1..=LONGEST_CODE).contains(&text.len()) && (is_word || is_number || text.split('-').all(camel))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(codes: &[&str]) -> String {
        let answer = ProviderAnswer { status: 429, headers: &[], body: "" };
        answer.verdict(Outcome::ClientError, codes.iter().map(|code| Some(*code))).detail
    }

    #[test]
    fn codes_are_shown_and_texts_are_not() {
        assert_eq!(detail(&["RESOURCE_EXHAUSTED", "1302"]), "429 RESOURCE_EXHAUSTED 1302");
        assert_eq!(
            detail(&["GenerateRequestsPerDay-FreeTier"]),
            "429 GenerateRequestsPerDay-FreeTier"
        );
        for text in [
            "",
            "a sentence",
            "fake-secret-flash-01",
            "sk-CANARY-key",
            "AQ.AbCd",
            "aBcD",
            "line\nbreak",
            "ünïcode",
            "1234567",
        ] {
            assert_eq!(detail(&[text]), "429", "{text:?}");
        }
        assert_eq!(detail(&[&"A".repeat(65)]), "429");
        assert_eq!(detail(&["a", "b", "c", "d", "e"]), "429 a b c d");
    }

    #[test]
    fn headers_are_found_in_any_case() {
        let headers = [("Retry-After".to_owned(), " 12 ".to_owned())];
        let answer = ProviderAnswer { status: 429, headers: &headers, body: "" };
        assert_eq!(answer.header("retry-after"), Some("12"));
        assert_eq!(answer.header("retry"), None);
    }
}

//! What the login service and the managed identity answer.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::Failure;

/// The longest life of a token that is believed: Azure's live for a day.
const LONGEST_LIFE: u64 = 10 * 24 * 3600;

/// Errors that a later login may not meet.
const PASSING: [&str; 2] = ["temporarily_unavailable", "server_error"];

#[derive(Deserialize)]
struct Token<'a> {
    #[serde(borrow)]
    access_token: Cow<'a, str>,
    #[serde(borrow)]
    expires_in: Option<Seconds<'a>>,
}

/// The login service sends a number, the machine's metadata service a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds<'a> {
    Number(u64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

#[derive(Deserialize)]
struct Refusal<'a> {
    #[serde(borrow)]
    error: Cow<'a, str>,
    #[serde(default)]
    error_codes: Vec<u32>,
}

/// Whether `body` is a token that can be used. The SDK would take a body without any for one, and
/// end the program over a time that is too far away.
pub(super) fn token(body: &[u8]) -> Option<()> {
    let token: Token<'_> = serde_json::from_slice(body).ok()?;
    let usable = |byte: u8| byte.is_ascii_graphic();
    let lives = match token.expires_in {
        None => true,
        Some(Seconds::Number(seconds)) => seconds <= LONGEST_LIFE,
        Some(Seconds::Text(seconds)) => seconds.parse::<u64>().is_ok_and(|s| s <= LONGEST_LIFE),
    };
    (!token.access_token.is_empty() && token.access_token.bytes().all(usable) && lives)
        .then_some(())
}

/// What an answer of `who` means that brings no token.
pub(super) fn refusal(who: &str, status: u16, body: &[u8]) -> Failure {
    let refusal = serde_json::from_slice::<Refusal<'_>>(body).ok();
    let error = refusal.as_ref().and_then(|refusal| code(&refusal.error));
    let number = refusal.as_ref().and_then(|refusal| refusal.error_codes.first());
    let named = error.map(|error| format!(" {error}")).unwrap_or_default();
    let number = number.map(|number| format!(" (AADSTS{number})")).unwrap_or_default();
    let text = format!("cannot be fetched: {who} answers {status}{named}{number}");
    let refused = (400..=403).contains(&status);
    match error {
        Some(error) if refused && !PASSING.contains(&error) => Failure::denied(text),
        _ => Failure::unavailable(text),
    }
}

/// `text` if it can be nothing but the name of an error.
pub(super) fn code(text: &str) -> Option<&str> {
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    (!text.is_empty() && text.len() <= 40 && is_name(text)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::super::FailureClass;
    use super::*;

    #[test]
    fn a_token_is_told_from_what_is_none() {
        for good in [
            r#"{"token_type":"Bearer","expires_in":3599,"access_token":"fake-token"}"#,
            r#"{"expires_in":"86399","expires_on":"1795262400","access_token":"fake-token"}"#,
        ] {
            assert!(token(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "{}",
            "<html>",
            r#"{"access_token":""}"#,
            r#"{"access_token":"fake token"}"#,
            r#"{"access_token":"fake\ntoken"}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":"fake-token","expires_in":-1}"#,
            r#"{"access_token":"fake-token","expires_in":9223372036854775807}"#,
        ] {
            assert!(token(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_refused_login_is_told_from_one_that_failed() {
        let told = |status, body: &str| {
            let failure = refusal("the login service", status, body.as_bytes());
            (failure.class, failure.text.into_owned())
        };
        let body = r#"{"error":"invalid_client","error_codes":[7000215],"error_description":"x"}"#;
        let text =
            "cannot be fetched: the login service answers 401 invalid_client (AADSTS7000215)";
        assert_eq!(told(401, body), (FailureClass::Denied, text.to_owned()));
        assert_eq!(told(503, body).0, FailureClass::Unavailable);
        assert_eq!(told(400, r#"{"error":"server_error"}"#).0, FailureClass::Unavailable);
        let text = "cannot be fetched: the login service answers 403";
        assert_eq!(told(403, "<html>"), (FailureClass::Unavailable, text.to_owned()));
    }

    #[test]
    fn only_the_name_of_an_error_is_repeated() {
        assert_eq!(code("ForbiddenByRbac"), Some("ForbiddenByRbac"));
        assert_eq!(code("invalid_client"), Some("invalid_client"));
        for text in ["", "fake-secret-flash-01", "two words", "a\n", &"a".repeat(41)] {
            assert_eq!(code(text), None, "{text:?}");
        }
    }
}

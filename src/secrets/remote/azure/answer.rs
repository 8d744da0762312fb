//! What the vault answers.

use azure_core::error::ErrorKind;
use azure_core::time::OffsetDateTime;
use azure_security_keyvault_secrets::models;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::super::Secret;
use super::super::{Failure, Version};
use super::login::code;
use crate::clock::rfc3339;
use crate::pool::WallTime;

/// The secret in an answer, if it may be used at `now`.
pub(super) fn version(answer: models::Secret, now: WallTime) -> Result<Version, Failure> {
    let value = answer.value.map(Zeroizing::new);
    let attributes = answer.attributes.unwrap_or_default();
    if attributes.enabled == Some(false) {
        return Err(disabled());
    }
    if let Some(begins) = attributes.not_before.map(wall).filter(|begins| now < *begins) {
        return Err(Failure::gone(format!("is not valid before {}", rfc3339(begins))));
    }
    if let Some(ends) = attributes.expires.map(wall).filter(|ends| *ends <= now) {
        return Err(Failure::gone(format!("has expired at {}", rfc3339(ends))));
    }
    let value = value.ok_or_else(|| Failure::unusable("has no value"))?;
    Ok(Version { secret: Secret::new(&value), changed_at: attributes.updated.map(wall) })
}

/// What an error of the SDK means. Its own words are left out: they quote URLs and answers.
pub(super) fn failure(error: &azure_core::Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.clone();
        }
        cause = error.source();
    }
    match error.kind() {
        ErrorKind::HttpResponse { status, raw_response, .. } => {
            let body = raw_response.as_ref().map(|answer| answer.body().as_ref());
            refusal(u16::from(*status), body.unwrap_or_default())
        }
        ErrorKind::Other => Failure::unavailable(
            "cannot be fetched: the vault sends to a login for something other than itself",
        ),
        ErrorKind::Credential => {
            Failure::unavailable("cannot be fetched: no token for the vault could be had")
        }
        ErrorKind::Connection | ErrorKind::Io | ErrorKind::DataConversion => {
            Failure::unavailable("cannot be fetched: the answer of the vault makes no sense")
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: Details,
}

#[derive(Deserialize)]
struct Details {
    code: Option<String>,
    #[serde(rename = "innererror")]
    inner: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    code: Option<String>,
}

/// What an answer means that is no success.
fn refusal(status: u16, body: &[u8]) -> Failure {
    let details = serde_json::from_slice::<Refusal>(body).ok().map(|refusal| refusal.error);
    let outer = details.as_ref().and_then(|details| code(details.code.as_deref()?));
    let inner = details.as_ref().and_then(|details| code(details.inner.as_ref()?.code.as_deref()?));
    let told = match inner.or(outer) {
        Some(code) => format!("the vault answers {status} {code}"),
        None => format!("the vault answers {status}"),
    };
    match (status, outer, inner) {
        (404, Some("SecretNotFound"), _) => Failure::gone("is not in the vault"),
        (403, _, Some("SecretDisabled")) => disabled(),
        (403, Some(_), Some("ForbiddenByRbac")) => Failure::denied(format!(
            "may not be read: {told}; the identity needs the role Key Vault Secrets User"
        )),
        (401 | 403, Some(_), _) => Failure::denied(format!("may not be read: {told}")),
        _ => Failure::unavailable(format!("cannot be fetched: {told}")),
    }
}

fn disabled() -> Failure {
    Failure::gone("is disabled in the vault")
}

/// No secret is of before 1970.
fn wall(time: OffsetDateTime) -> WallTime {
    let seconds = u64::try_from(time.unix_timestamp()).unwrap_or(0);
    WallTime::from_millis(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::super::super::FailureClass;
    use super::*;

    const NOW: WallTime = WallTime::from_millis(1_795_262_400_000);

    /// What comes of `value` with `attributes` at noon of 2026-11-21.
    fn answered(value: &str, attributes: &str) -> Result<String, (FailureClass, String)> {
        let body = format!(r#"{{"id":"https://x/secrets/a/1",{value}"attributes":{attributes}}}"#);
        let answer: models::Secret = serde_json::from_str(&body).unwrap();
        version(answer, NOW)
            .map(|version| {
                let changed = version.changed_at.map(rfc3339).unwrap_or_default();
                format!("{} {changed}", version.secret.expose())
            })
            .map_err(|failure| (failure.class, failure.text.into_owned()))
    }

    const VALUE: &str = r#""value":"fake-secret-flash-01","#;

    #[test]
    fn a_secret_comes_with_the_time_of_its_last_change() {
        let attributes = r#"{"enabled":true,"created":1795260000,"updated":1795262399}"#;
        let expected = "fake-secret-flash-01 2026-11-21T11:59:59Z";
        assert_eq!(answered(VALUE, attributes).unwrap(), expected);
        assert_eq!(answered(VALUE, "{}").unwrap(), "fake-secret-flash-01 ");
        assert_eq!(answered("", "{}").unwrap_err().0, FailureClass::Unusable);
    }

    #[test]
    fn a_secret_outside_of_its_time_is_gone() {
        let gone = |text: &str| Err((FailureClass::Gone, text.to_owned()));
        let told = "has expired at 2026-11-21T12:00:00Z";
        assert_eq!(answered(VALUE, r#"{"exp":1795262400}"#), gone(told));
        assert!(answered(VALUE, r#"{"exp":1795262401,"nbf":1795262400}"#).is_ok());
        let told = "is not valid before 2026-11-21T12:00:01Z";
        assert_eq!(answered(VALUE, r#"{"nbf":1795262401}"#), gone(told));
        assert_eq!(answered(VALUE, r#"{"enabled":false}"#), gone("is disabled in the vault"));
    }

    /// The class and the text of a refusal with the codes `outer` and `inner`.
    fn refused(status: u16, outer: &str, inner: &str) -> (FailureClass, String) {
        let body = format!(r#"{{"error":{{"code":"{outer}","innererror":{{"code":"{inner}"}}}}}}"#);
        let failure = refusal(status, body.as_bytes());
        (failure.class, failure.text.into_owned())
    }

    #[test]
    fn what_the_vault_knows_for_certain_is_told_from_what_may_pass() {
        let told = |class, text: &str| (class, text.to_owned());
        let gone = told(FailureClass::Gone, "is not in the vault");
        assert_eq!(refused(404, "SecretNotFound", ""), gone);
        let gone = told(FailureClass::Gone, "is disabled in the vault");
        assert_eq!(refused(403, "Forbidden", "SecretDisabled"), gone);
        let denied = "may not be read: the vault answers 403 ForbiddenByFirewall";
        let denied = told(FailureClass::Denied, denied);
        assert_eq!(refused(403, "Forbidden", "ForbiddenByFirewall"), denied);
        let denied = "may not be read: the vault answers 401 Unauthorized";
        let denied = told(FailureClass::Denied, denied);
        assert_eq!(refused(401, "Unauthorized", ""), denied);
        let passing = "cannot be fetched: the vault answers 429 Throttled";
        let passing = told(FailureClass::Unavailable, passing);
        assert_eq!(refused(429, "Throttled", ""), passing);
    }

    #[test]
    fn an_answer_that_is_not_of_a_vault_says_nothing_of_the_secret() {
        for status in [302, 400, 401, 403, 404, 500] {
            let failure = refusal(status, b"<html>fake-secret-flash-01</html>");
            let expected = format!("cannot be fetched: the vault answers {status}");
            assert_eq!((failure.class, &*failure.text), (FailureClass::Unavailable, &*expected));
        }
        let (class, text) = refused(404, "NoSuchHost", "fake-secret-flash-01");
        assert_eq!(class, FailureClass::Unavailable);
        assert_eq!(text, "cannot be fetched: the vault answers 404 NoSuchHost");
    }
}

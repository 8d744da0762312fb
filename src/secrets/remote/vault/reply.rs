//! What an answer of the vault means.
//!
//! A refusal counts only if it looks like one of the vault: a proxy's page with the status 403 or
//! 404 says nothing of a secret.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::super::super::Secret;
use super::super::{Failure, Version};
use super::wire::unavailable;
use crate::clock::parse_rfc3339;

/// The field of a secret that holds the key.
const FIELD: &str = "value";

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The vault knows the request, and there is nothing.
    Nothing,
    /// The token does not serve, or not for this.
    Denied,
    /// The vault does not take the request as it is.
    Wrong,
    /// The vault cannot answer at present, or somebody else answers in its place.
    Failed(Failure),
}

/// How long a token lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lease {
    /// From now; zero is for ever.
    pub(super) duration: Duration,
    /// Whether the vault prolongs it.
    pub(super) renewable: bool,
}

#[derive(Deserialize)]
struct Errors<'a> {
    #[serde(borrow)]
    errors: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    data: ReadData<'a>,
}

#[derive(Deserialize)]
struct ReadData<'a> {
    #[serde(borrow)]
    data: Option<Fields<'a>>,
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    created_time: Cow<'a, str>,
    #[serde(default)]
    destroyed: bool,
}

#[derive(Deserialize)]
struct Login<'a> {
    #[serde(borrow)]
    auth: Auth<'a>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    #[serde(borrow)]
    client_token: Cow<'a, str>,
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct Renewal {
    auth: RenewedAuth,
}

#[derive(Deserialize)]
struct RenewedAuth {
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct Lookup {
    data: LookupData,
}

#[derive(Deserialize)]
struct LookupData {
    ttl: u64,
    // Of a token without an end it is left out.
    #[serde(default)]
    renewable: bool,
}

impl Reply {
    /// Whether the vault does not accept the token, or not for this.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self.refusal(), Some(Refusal::Denied))
    }

    /// The secret in the answer to a read.
    pub(super) fn version(&self) -> Result<Version, Failure> {
        match self.refusal() {
            None => self.read(),
            Some(Refusal::Nothing) => Err(self.nothing()),
            Some(Refusal::Denied) => Err(Failure::denied(
                "is denied: the token has expired, or no policy of it allows to read this",
            )),
            Some(Refusal::Wrong) => {
                Err(unavailable("the vault does not take the request as it is (400)"))
            }
            Some(Refusal::Failed(failure)) => Err(failure),
        }
    }

    /// The token in the answer to a login.
    pub(super) fn login(&self) -> Result<(Secret, Lease), Failure> {
        let rejected =
            |status| Failure::denied(format!("is denied: the vault rejects the login ({status})"));
        match self.refusal() {
            None => {
                let auth = self.parse::<Login>()?.auth;
                let token = Secret::new(&Zeroizing::new(auth.client_token.into_owned()));
                token.usable().map_err(|_| senseless(self.status))?;
                Ok((token, Lease::of(auth.lease_duration, auth.renewable)))
            }
            Some(Refusal::Failed(failure)) => Err(failure),
            Some(Refusal::Nothing | Refusal::Denied | Refusal::Wrong) => Err(rejected(self.status)),
        }
    }

    /// The life of the token that was asked about.
    pub(super) fn lookup(&self) -> Result<Lease, Refusal> {
        self.owned::<Lookup>().map(|told| Lease::of(told.data.ttl, told.data.renewable))
    }

    /// The life of the token that was renewed.
    pub(super) fn renewal(&self) -> Result<Lease, Refusal> {
        self.owned::<Renewal>().map(|told| Lease::of(told.auth.lease_duration, told.auth.renewable))
    }

    fn read(&self) -> Result<Version, Failure> {
        let ReadData { data, metadata } = self.parse::<Read>()?.data;
        let Some(fields) = data else { return Err(self.nothing()) };
        let Some(value) = fields.value else {
            return Err(Failure::unusable(format!("has no field {FIELD}")));
        };
        let Ok(text) = serde_json::from_str::<Text>(value.get()) else {
            return Err(Failure::unusable(format!("has a field {FIELD} that is not a text")));
        };
        let secret = match text.0 {
            Cow::Borrowed(text) => Secret::new(text),
            Cow::Owned(text) => Secret::new(&Zeroizing::new(text)),
        };
        if secret.expose().is_empty() {
            return Err(Failure::unusable(format!("has a field {FIELD} that is empty")));
        }
        Ok(Version { secret, changed_at: parse_rfc3339(&metadata.created_time) })
    }

    /// Why there is nothing to read.
    fn nothing(&self) -> Failure {
        let read: Option<Read> = self.parse().ok();
        if let Some(Read { data: ReadData { metadata, .. } }) = read {
            let what = if metadata.destroyed { "is destroyed" } else { "is deleted" };
            return Failure::gone(what);
        }
        match self.errors() {
            Some(errors) if errors.is_empty() => Failure::gone("does not exist"),
            _ => Failure::gone("does not exist: there is no such engine or namespace"),
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        let of_vault = || self.errors().is_some();
        Some(match self.status {
            200 => return None,
            400 if of_vault() => Refusal::Wrong,
            403 if of_vault() => Refusal::Denied,
            404 if of_vault() || self.parse::<Read>().is_ok() => Refusal::Nothing,
            status => Refusal::Failed(match self.trouble() {
                Some(why) => unavailable(&format!("{why} ({status})")),
                None => senseless(status),
            }),
        })
    }

    /// What a status says that has nothing to do with what was asked.
    fn trouble(&self) -> Option<&'static str> {
        let says = |word| {
            self.errors().is_some_and(|errors| errors.iter().any(|error| error.contains(word)))
        };
        Some(match self.status {
            412 => "the vault has not yet caught up with its other nodes",
            429 => "the vault asks for fewer requests",
            472 | 473 => "the vault is a standby",
            501 => "the vault is not initialized",
            503 if says("sealed") => "the vault is sealed",
            500 | 503 if says("standby") || says("active") => "the vault has no active node",
            503 => "the vault is unavailable",
            500..=599 => "the vault has failed",
            _ => return None,
        })
    }

    fn errors(&self) -> Option<Vec<Cow<'_, str>>> {
        self.parse::<Errors>().ok().map(|told| told.errors)
    }

    fn owned<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        match self.refusal() {
            None => self.parse().map_err(Refusal::Failed),
            Some(refusal) => Err(refusal),
        }
    }

    fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|_| senseless(self.status))
    }
}

/// Borrowed wherever it can be, so that no copy stays behind.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Lease {
    fn of(seconds: u64, renewable: bool) -> Self {
        Self { duration: Duration::from_secs(seconds), renewable }
    }
}

fn senseless(status: u16) -> Failure {
    unavailable(&format!("the answer is not one of a vault ({status})"))
}

#[cfg(test)]
mod tests {
    use super::super::super::FailureClass;
    use super::*;
    use crate::clock::rfc3339;

    const METADATA: &str = r#""metadata":{"created_time":"2026-11-21T12:00:00.123456789Z",
        "custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}"#;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, body: Zeroizing::new(body.as_bytes().to_vec()) }
    }

    fn read(status: u16, body: &str) -> Result<Version, (FailureClass, String)> {
        reply(status, body).version().map_err(|failure| (failure.class, failure.to_string()))
    }

    fn with_fields(fields: &str) -> String {
        format!(r#"{{"request_id":"x","data":{{"data":{fields},{METADATA}}},"auth":null}}"#)
    }

    #[test]
    fn a_secret_is_read_with_the_time_it_was_written() {
        let version = read(200, &with_fields(r#"{"other":1,"value":"fake-secret-flash-01"}"#));
        let version = version.unwrap();
        assert_eq!(version.secret.expose(), "fake-secret-flash-01");
        assert_eq!(rfc3339(version.changed_at.unwrap()), "2026-11-21T12:00:00.123Z");
        let escaped = read(200, &with_fields(r#"{"value":"fake\u002dsecret"}"#)).unwrap();
        assert_eq!(escaped.secret.expose(), "fake-secret");
    }

    #[test]
    fn a_secret_without_a_usable_field_is_told_by_the_field() {
        for (fields, why) in [
            ("{}", "has no field value"),
            (r#"{"Value":"canary"}"#, "has no field value"),
            (r#"{"value":null}"#, "has no field value"),
            (r#"{"value":1}"#, "has a field value that is not a text"),
            (r#"{"value":["canary"]}"#, "has a field value that is not a text"),
            (r#"{"value":""}"#, "has a field value that is empty"),
        ] {
            let told = read(200, &with_fields(fields)).unwrap_err();
            assert_eq!(told, (FailureClass::Unusable, why.to_owned()), "{fields}");
        }
    }

    #[test]
    fn what_is_gone_is_told_apart() {
        let gone = |body: &str, why: &str| {
            assert_eq!(read(404, body).unwrap_err(), (FailureClass::Gone, why.to_owned()));
        };
        gone(r#"{"errors":[]}"#, "does not exist");
        let unmounted = r#"{"errors":["no handler for route \"canary\""]}"#;
        gone(unmounted, "does not exist: there is no such engine or namespace");
        gone(&with_fields("null"), "is deleted");
        gone(
            &with_fields("null").replace(r#""destroyed":false"#, r#""destroyed":true"#),
            "is destroyed",
        );
    }

    #[test]
    fn a_refusal_counts_only_if_it_is_the_vault_that_speaks() {
        let denied = read(403, r#"{"errors":["1 error occurred: permission denied"]}"#);
        assert_eq!(denied.unwrap_err().0, FailureClass::Denied);
        for status in [200, 301, 400, 401, 403, 404, 418] {
            for body in ["", "<html>canary</html>", "{}", r#"{"errors":"canary"}"#, "\x1f\u{8b}"] {
                let told = read(status, body).unwrap_err();
                let text = format!("the answer is not one of a vault ({status})");
                assert_eq!(told, (FailureClass::Unavailable, text), "{body}");
            }
        }
    }

    #[test]
    fn a_vault_that_cannot_answer_is_told_by_its_state() {
        for (status, body, why) in [
            (400, r#"{"errors":["canary"]}"#, "the vault does not take the request as it is (400)"),
            (412, "", "the vault has not yet caught up with its other nodes (412)"),
            (429, "", "the vault asks for fewer requests (429)"),
            (472, "", "the vault is a standby (472)"),
            (473, "", "the vault is a standby (473)"),
            (500, r#"{"errors":["internal error"]}"#, "the vault has failed (500)"),
            (
                500,
                r#"{"errors":["local node not active but active cluster node not found"]}"#,
                "the vault has no active node (500)",
            ),
            (501, "", "the vault is not initialized (501)"),
            (502, "<html>", "the vault has failed (502)"),
            (503, r#"{"errors":["Vault is sealed"]}"#, "the vault is sealed (503)"),
            (503, "<html>", "the vault is unavailable (503)"),
        ] {
            let told = read(status, body).unwrap_err();
            assert_eq!(told, (FailureClass::Unavailable, why.to_owned()));
        }
    }

    #[test]
    fn an_answer_of_the_wrong_shape_is_no_answer() {
        for body in [
            r#"{"data":null}"#.to_owned(),
            r#"{"data":{"data":{"value":"canary"}}}"#.to_owned(),
            r#"{"data":{"data":{"value":"canary"},"metadata":null}}"#.to_owned(),
            with_fields(r#"{"value":"canary","value":"canary"}"#),
            with_fields(r#""canary""#),
            with_fields("{}") + "{}",
            with_fields(r#"{"value":"canary"}"#).replace("false", "\"no\""),
        ] {
            let (class, text) = read(200, &body).unwrap_err();
            assert_eq!(class, FailureClass::Unavailable, "{body}");
            assert!(!text.contains("canary"), "{text}");
        }
    }

    #[test]
    fn a_login_gives_a_token_and_its_life() {
        let body = r#"{"auth":{"client_token":"fake-token","lease_duration":60,"renewable":true}}"#;
        let (token, lease) = reply(200, body).login().unwrap();
        assert_eq!(token.expose(), "fake-token");
        assert_eq!(lease, Lease { duration: Duration::from_mins(1), renewable: true });
        for body in [r#"{"auth":null}"#, &body.replace("60", "-1"), &body.replace("fake", "\\n")] {
            assert_eq!(reply(200, body).login().unwrap_err().class, FailureClass::Unavailable);
        }
        let rejected = reply(400, r#"{"errors":["invalid role or secret ID"]}"#).login();
        let told = "is denied: the vault rejects the login (400)";
        assert_eq!(rejected.unwrap_err(), Failure::denied(told));
    }

    #[test]
    fn a_token_tells_its_life() {
        let lookup = |data: &str| reply(200, &format!(r#"{{"data":{data}}}"#)).lookup().unwrap();
        assert_eq!(lookup(r#"{"ttl":0,"expire_time":null}"#), Lease::of(0, false));
        assert_eq!(lookup(r#"{"ttl":90,"renewable":true}"#), Lease::of(90, true));
        let renewed = reply(200, r#"{"auth":{"lease_duration":90,"renewable":true}}"#).renewal();
        assert_eq!(renewed.unwrap(), Lease::of(90, true));
        assert!(matches!(reply(403, r#"{"errors":[]}"#).renewal(), Err(Refusal::Denied)));
    }
}

//! The secret in what AWS keeps for it: plain text, or a JSON object with it as `value`.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::super::super::Secret;
use super::super::Failure;

/// The members that matter of a JSON object, not read yet.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

/// The secret in `text`.
pub(super) fn secret(text: &str) -> Result<Secret, Failure> {
    // Keys that happen to be JSON, such as numbers, are keys all the same. One in quotes is not.
    let may_be_json = text.trim_start().starts_with(['{', '[', '"']);
    if !may_be_json || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Ok(Secret::new(text));
    }
    // An array would do for the members in their order.
    let object = text.trim_start().starts_with('{').then(|| serde_json::from_str::<Object>(text));
    let value = match object {
        Some(Ok(Object { value: Some(value) })) => value,
        Some(Err(_)) => return Err(Failure::unusable("is JSON with two members `value`")),
        Some(Ok(Object { value: None })) | None => {
            return Err(Failure::unusable("is JSON without a member `value`"));
        }
    };
    match serde_json::from_str::<String>(value.get()).map(Zeroizing::new) {
        Ok(value) => Ok(Secret::new(&value)),
        Err(_) => Err(Failure::unusable("is JSON in which `value` is no text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let secret = secret(text).map(|secret| secret.expose().to_owned());
        secret.map_err(|failure| failure.to_string())
    }

    #[test]
    fn text_that_is_no_json_object_is_the_secret() {
        for text in ["fake-secret-flash-01", "12345678", "true", "null", "{fake}", "{\"a\":1", ""] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_json_object_has_it_as_value() {
        for text in [
            r#"{"value": "fake-secret-flash-01"}"#,
            r#" {"user": {"value": "no"}, "value": "fake-secret-flash\u002d01"} "#,
        ] {
            assert_eq!(read(text).as_deref(), Ok("fake-secret-flash-01"), "{text}");
        }
    }

    #[test]
    fn json_without_it_is_unusable_and_not_repeated() {
        for (text, why) in [
            (r#"{"key": "fake-secret"}"#, "is JSON without a member `value`"),
            (r#"["fake-secret"]"#, "is JSON without a member `value`"),
            (r#""fake-secret""#, "is JSON without a member `value`"),
            (r#"{"value": ["fake-secret"]}"#, "is JSON in which `value` is no text"),
            (r#"{"value": null}"#, "is JSON without a member `value`"),
            (r#"{"value": "fake-a", "value": "fake-b"}"#, "is JSON with two members `value`"),
        ] {
            assert_eq!(read(text).unwrap_err(), why, "{text}");
        }
    }
}

//! What an answer of AWS, or none, means for the secret.
//!
//! Told are our own words and the error code of AWS, which is letters alone; never a message, a
//! request id, an address or a body.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::{
    GetSecretValueError, GetSecretValueOutput,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use zeroize::Zeroizing;

use super::super::{Failure, Version};
use super::text;
use super::transport::NoAnswer;
use crate::https::Trouble;
use crate::pool::WallTime;

/// The longest code of AWS that is told.
const LONGEST_CODE: usize = 64;

/// Why AWS did not give a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// What it means for the secret.
    pub(super) failure: Failure,
    /// Whether other credentials could help.
    pub(super) credentials_may_be_old: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { failure, credentials_may_be_old: false }
    }
}

/// The secret of `output`.
pub(super) fn version(output: GetSecretValueOutput) -> Result<Version, Failure> {
    let changed_at = output.created_date.and_then(|date| date.to_millis().ok());
    let changed_at = changed_at.and_then(|millis| u64::try_from(millis).ok());
    let Some(text) = output.secret_string.map(Zeroizing::new) else {
        return Err(match output.secret_binary {
            Some(_) => Failure::unusable("is binary (SecretBinary), not text (SecretString)"),
            None => unavailable(&"the answer has no secret"),
        });
    };
    let secret = text::secret(&text)?;
    Ok(Version { secret, changed_at: changed_at.map(WallTime::from_millis) })
}

/// What `error` means.
pub(super) fn refusal(error: &SdkError<GetSecretValueError, HttpResponse>) -> Refusal {
    if let SdkError::ServiceError(refused) = error {
        let code = refused.err().code().filter(|code| is_code(code));
        let message = refused.err().message().unwrap_or_default();
        return Refusal {
            failure: said(code, refused.raw().status().as_u16(), message),
            credentials_may_be_old: code.is_some_and(is_about_credentials),
        };
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(part) = cause {
        if let Some(none) = part.downcast_ref::<NoAnswer>() {
            return unavailable(none).into();
        }
        if let Some(error) = part.downcast_ref::<CredentialsError>() {
            return unavailable(&without_credentials(error)).into();
        }
        cause = part.source();
    }
    match error {
        SdkError::TimeoutError(_) => too_late(),
        SdkError::ResponseError(_) => unavailable(&"the answer makes no sense"),
        SdkError::ConstructionFailure(_)
        | SdkError::DispatchFailure(_)
        | SdkError::ServiceError(_)
        | _ => unavailable(&"the request cannot be made"),
    }
    .into()
}

/// There was timeout.
pub(super) fn too_late() -> Failure {
    unavailable(&Trouble::Timeout)
}

/// AWS cannot be asked at present.
pub(super) fn unavailable(why: &dyn fmt::Display) -> Failure {
    Failure::unavailable(format!("cannot be fetched: {why}"))
}

/// What AWS means by `code` and `status`. The `message` is for people, but alone tells a secret
/// that is deleted from one that is being created.
fn said(code: Option<&str>, status: u16, message: &str) -> Failure {
    let told = match code {
        Some(code) => code.to_owned(),
        None => format!("status {status}"),
    };
    match code.unwrap_or_default() {
        "ResourceNotFoundException" => Failure::gone(format!("does not exist ({told})")),
        "InvalidRequestException" if message.contains("delet") => {
            Failure::gone(format!("is deleted, or will be soon ({told})"))
        }
        "InvalidParameterException" | "ValidationException" => {
            Failure::unset(format!("is no name of a secret ({told})"))
        }
        "DecryptionFailure" => {
            Failure::denied(format!("cannot be decrypted with its KMS key ({told})"))
        }
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "UnauthorizedOperation" => {
            Failure::denied(format!("may not be read with these credentials ({told})"))
        }
        code if is_about_credentials(code) => refused_credentials(&told),
        "RequestExpired" | "RequestTimeTooSkewed" => {
            unavailable(&format!("the clock of this machine is wrong ({told})"))
        }
        code if is_about_load(code) => unavailable(&format!("too many requests ({told})")),
        _ if status == 429 => unavailable(&format!("too many requests ({told})")),
        _ if status == 401 || status == 403 => {
            Failure::denied(format!("may not be read with these credentials ({told})"))
        }
        _ if (200..300).contains(&status) => unavailable(&"the answer makes no sense"),
        _ => unavailable(&format!("AWS answers with an error ({told})")),
    }
}

fn refused_credentials(told: &str) -> Failure {
    Failure::denied(format!("cannot be fetched: AWS does not accept the credentials ({told})"))
}

/// Whether AWS says by `code` that it does not accept who we are.
fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "InvalidSignature"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClient"
            | "UnrecognizedClientException"
    )
}

/// Whether AWS says by `code` that it is asked too much.
fn is_about_load(code: &str) -> bool {
    matches!(
        code,
        "LimitExceededException"
            | "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "TooManyRequestsException"
    )
}

/// Whether `code` looks like one of AWS: who answers may not be AWS.
fn is_code(code: &str) -> bool {
    (1..=LONGEST_CODE).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn without_credentials(error: &CredentialsError) -> &'static str {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            "there are no credentials for AWS: not in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
             a profile (AWS_PROFILE), a web identity token, or a role of the container or instance"
        }
        CredentialsError::ProviderTimedOut(_) => "the credentials for AWS did not come in time",
        CredentialsError::InvalidConfiguration(_) => {
            "the credentials for AWS cannot be read: is the profile (AWS_PROFILE) there and right?"
        }
        // Where a role is assumed, or a program gives them, that has failed.
        CredentialsError::ProviderError(_) | CredentialsError::Unhandled(_) | _ => {
            "the source of the credentials for AWS gave none"
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_secretsmanager::error::ErrorMetadata;
    use aws_sdk_secretsmanager::operation::get_secret_value::builders::GetSecretValueOutputBuilder;
    use aws_sdk_secretsmanager::primitives::{Blob, DateTime};
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_types::body::SdkBody;

    use super::super::super::FailureClass::{self, Denied, Gone, Unavailable, Unset};
    use super::*;

    fn answered(status: u16, code: &str, message: &str) -> Refusal {
        let error = ErrorMetadata::builder().code(code).message(message).build();
        let raw = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
        refusal(&SdkError::service_error(GetSecretValueError::generic(error), raw))
    }

    fn class(status: u16, code: &str) -> FailureClass {
        answered(status, code, "").failure.class
    }

    fn unanswered(error: ConnectorError) -> (FailureClass, String) {
        let failure = refusal(&SdkError::dispatch_failure(error)).failure;
        (failure.class, failure.text.into_owned())
    }

    fn read(output: GetSecretValueOutputBuilder) -> Result<Version, String> {
        version(output.build()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn each_code_has_its_class() {
        for (status, code, expected) in [
            (400, "ResourceNotFoundException", Gone),
            (400, "InvalidParameterException", Unset),
            (400, "DecryptionFailure", Denied),
            (400, "AccessDeniedException", Denied),
            (403, "AccessDenied", Denied),
            (400, "UnrecognizedClientException", Denied),
            (403, "InvalidClientTokenId", Denied),
            (400, "InvalidSignatureException", Denied),
            (403, "SignatureDoesNotMatch", Denied),
            (400, "ExpiredTokenException", Denied),
            (400, "ThrottlingException", Unavailable),
            (500, "InternalServiceError", Unavailable),
            (503, "ServiceUnavailable", Unavailable),
            (403, "RequestTimeTooSkewed", Unavailable),
            (400, "SomethingNew", Unavailable),
        ] {
            assert_eq!(class(status, code), expected, "{code}");
        }
    }

    #[test]
    fn without_a_code_the_status_counts() {
        for (status, expected) in [
            (401, Denied),
            (403, Denied),
            (429, Unavailable),
            (500, Unavailable),
            (301, Unavailable),
            (404, Unavailable),
            (200, Unavailable),
        ] {
            assert_eq!(class(status, ""), expected, "{status}");
        }
    }

    #[test]
    fn a_request_that_is_invalid_for_the_secret_is_a_deleted_one_if_it_says_so() {
        let deleted = "You can't perform this operation on the secret because it was marked for \
            deletion.";
        let refusal = answered(400, "InvalidRequestException", deleted);
        assert_eq!(refusal.failure.class, Gone);
        let told = "is deleted, or will be soon (InvalidRequestException)";
        assert_eq!(refusal.failure.to_string(), told);
        assert_eq!(class(400, "InvalidRequestException"), Unavailable);
    }

    #[test]
    fn credentials_may_be_old_if_aws_does_not_accept_them() {
        assert!(answered(400, "ExpiredTokenException", "").credentials_may_be_old);
        assert!(answered(400, "UnrecognizedClientException", "").credentials_may_be_old);
        assert!(!answered(400, "AccessDeniedException", "").credentials_may_be_old);
        assert!(!answered(403, "", "").credentials_may_be_old);
    }

    #[test]
    fn neither_a_message_nor_a_code_that_is_none_is_repeated() {
        for code in ["AccessDeniedException", "fake-secret-flash-01", "ThrottlingException"] {
            let told = answered(400, code, "fake-secret-flash-02").failure.to_string();
            assert!(!told.contains("fake-secret"), "{told}");
        }
    }

    #[test]
    fn no_answer_is_told_in_our_own_words() {
        for (error, told) in [
            (ConnectorError::io(NoAnswer::Trouble(Trouble::NoConnection).into()), "no connection"),
            (ConnectorError::timeout(NoAnswer::Trouble(Trouble::Timeout).into()), "timeout"),
            (ConnectorError::other("fake-secret".into(), None), "the request cannot be made"),
        ] {
            assert_eq!(unanswered(error), (Unavailable, format!("cannot be fetched: {told}")));
        }
        let late = refusal(&SdkError::timeout_error("fake-secret")).failure;
        assert_eq!(late, too_late());
    }

    #[test]
    fn credentials_may_come_later() {
        let none = CredentialsError::not_loaded("fake-secret");
        let (class, told) = unanswered(ConnectorError::other(none.into(), None));
        assert_eq!(class, Unavailable);
        assert!(told.contains("there are no credentials for AWS: not in AWS_ACCESS_KEY_ID"));
        let none = CredentialsError::provider_error("fake-secret");
        let (_, told) = unanswered(ConnectorError::other(none.into(), None));
        assert!(told.ends_with("the source of the credentials for AWS gave none"), "{told}");
    }

    #[test]
    fn a_version_has_the_secret_and_its_time() {
        let output = GetSecretValueOutput::builder()
            .secret_string(r#"{"value": "fake-secret-flash-01"}"#)
            .created_date(DateTime::from_millis(1_790_000_000_123));
        let version = read(output).unwrap();
        assert_eq!(version.secret.expose(), "fake-secret-flash-01");
        assert_eq!(version.changed_at, Some(WallTime::from_millis(1_790_000_000_123)));
    }

    #[test]
    fn what_is_no_text_is_no_secret() {
        let output = GetSecretValueOutput::builder();
        let binary = output.clone().secret_binary(Blob::new("fake-secret"));
        let told = read(binary).unwrap_err();
        assert_eq!(told, "is binary (SecretBinary), not text (SecretString)");
        assert_eq!(read(output).unwrap_err(), "cannot be fetched: the answer has no secret");
    }
}

//! The stable names of errors, each with its status.

use hyper::StatusCode;

/// The codes: variant, name, status.
macro_rules! codes {
    ($($code:ident $name:literal $status:ident,)*) => {
        /// What an error is called in `code`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Code {
            $($code,)*
        }

        impl Code {
            /// Every code, for the test that `openapi.json` has the same ones.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$code,)*];

            /// The name used in JSON.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }

            /// The status of its answers.
            pub(super) const fn status(self) -> StatusCode {
                match self {
                    $(Self::$code => StatusCode::$status,)*
                }
            }
        }
    };
}

codes! {
    InvalidRequest "invalid_request" BAD_REQUEST,
    Forbidden "forbidden" FORBIDDEN,
    NotFound "not_found" NOT_FOUND,
    NoSuchKey "no_such_key" NOT_FOUND,
    NoSuchModel "no_such_model" NOT_FOUND,
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED,
    TooSlow "too_slow" REQUEST_TIMEOUT,
    AlreadyReported "already_reported" CONFLICT,
    NotRetryable "not_retryable" CONFLICT,
    KeyExists "key_exists" CONFLICT,
    Conflict "conflict" CONFLICT,
    NotEditable "not_editable" CONFLICT,
    NoProbe "no_probe" CONFLICT,
    NotShared "not_shared" CONFLICT,
    MissingSecret "missing_secret" CONFLICT,
    LeaseExpired "lease_expired" GONE,
    TooLarge "too_large" PAYLOAD_TOO_LARGE,
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE,
    Exhausted "exhausted" TOO_MANY_REQUESTS,
    InternalError "internal_error" INTERNAL_SERVER_ERROR,
    NoUsableKey "no_usable_key" SERVICE_UNAVAILABLE,
    RotationOff "rotation_off" SERVICE_UNAVAILABLE,
    ProviderUnavailable "provider_unavailable" SERVICE_UNAVAILABLE,
    Draining "draining" SERVICE_UNAVAILABLE,
    NotWritten "not_written" SERVICE_UNAVAILABLE,
    RedisUnavailable "redis_unavailable" SERVICE_UNAVAILABLE,
}

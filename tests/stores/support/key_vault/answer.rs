//! Answers, and the shapes of errors.

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};

/// An answer to a request.
pub(super) type Answer = Response<Full<Bytes>>;

/// An answer with a body of JSON.
pub(super) fn json_answer(status: u16, body: &Value) -> Answer {
    answer(status, &[("content-type", "application/json; charset=utf-8")], body.to_string())
}

/// Any answer.
pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: String) -> Answer {
    let mut answer = Response::builder().status(status).header("cache-control", "no-cache");
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(Full::from(body)).unwrap()
}

/// Why the vault refuses something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) inner: Option<&'static str>,
    pub(super) message: &'static str,
}

impl Refusal {
    pub(super) const NOT_FOUND: Self = Self {
        status: 404,
        code: "SecretNotFound",
        inner: None,
        message: "A secret with this name/id was not found in this key vault. If you recently \
                  deleted this secret you may be able to recover it using the correct recovery \
                  command.",
    };
    pub(super) const DISABLED: Self = Self {
        status: 403,
        code: "Forbidden",
        inner: Some("SecretDisabled"),
        message: "Operation get is not allowed on a disabled secret.",
    };
    pub(super) const NO_ROLE: Self = Self {
        status: 403,
        code: "Forbidden",
        inner: Some("ForbiddenByRbac"),
        message: "Caller is not authorized to perform action on resource.",
    };
    pub(super) const STILL_DELETED: Self = Self {
        status: 409,
        code: "Conflict",
        inner: Some("ObjectIsDeletedButRecoverable"),
        message: "The secret is currently in a deleted but recoverable state, and its name cannot \
                  be reused; in this state, the secret can only be recovered or purged.",
    };
    pub(super) const NO_SUCH_PATH: Self =
        Self { status: 404, code: "NotFound", inner: None, message: "No such resource." };
    pub(super) const NO_SUCH_METHOD: Self = Self {
        status: 405,
        code: "MethodNotAllowed",
        inner: None,
        message: "The resource does not support this method.",
    };

    pub(super) const fn bad_parameter(message: &'static str) -> Self {
        Self { status: 400, code: "BadParameter", inner: None, message }
    }

    pub(super) fn answer(self) -> Answer {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(inner) = self.inner {
            error["innererror"] = json!({"code": inner});
        }
        json_answer(self.status, &json!({ "error": error }))
    }
}

//! How each provider reads a request and words an answer, as their documentation and real answers
//! have it. Independent of `keypool::provider` on purpose: it is what that is tested with.

use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

/// Whose API a request speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Dialect {
    /// Google's Gemini API.
    Gemini,
    /// `OpenAI`.
    OpenAi,
    /// Anthropic.
    Anthropic,
}

/// What is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// An answer of a model, which counts.
    Generate,
    /// The list of models, which is free.
    Models,
}

impl Dialect {
    /// Whose API `request` speaks, and what it wants; `None` if there is no such path.
    pub(super) fn of<B>(request: &Request<B>) -> Option<(Self, Wish)> {
        let path = request.uri().path();
        let post = request.method() == Method::POST;
        match (post, path) {
            (true, "/v1/chat/completions") => Some((Self::OpenAi, Wish::Generate)),
            (true, "/v1/messages") => Some((Self::Anthropic, Wish::Generate)),
            (true, _) if path.starts_with("/v1beta/models/") => {
                path.ends_with(":generateContent").then_some((Self::Gemini, Wish::Generate))
            }
            (false, "/v1beta/models") => Some((Self::Gemini, Wish::Models)),
            (false, "/v1/models") if request.headers().contains_key("x-api-key") => {
                Some((Self::Anthropic, Wish::Models))
            }
            (false, "/v1/models") => Some((Self::OpenAi, Wish::Models)),
            _ => None,
        }
    }

    /// The path of a request for an answer of `model`.
    pub(crate) fn path(self, model: &str) -> String {
        match self {
            Self::Gemini => format!("/v1beta/models/{model}:generateContent"),
            Self::OpenAi => "/v1/chat/completions".to_owned(),
            Self::Anthropic => "/v1/messages".to_owned(),
        }
    }

    /// The key in `headers`.
    pub(super) fn key(self, headers: &HeaderMap) -> Option<&str> {
        let header = |name: &str| headers.get(name)?.to_str().ok();
        match self {
            Self::Gemini => header("x-goog-api-key"),
            Self::OpenAi => header("authorization")?.strip_prefix("Bearer "),
            Self::Anthropic => header("x-api-key"),
        }
    }

    /// The answer to an admitted request.
    pub(super) fn generated(self) -> Response<Full<Bytes>> {
        respond(
            200,
            &[],
            &match self {
                Self::Gemini => json!({
                    "candidates": [{"content": {"parts": [{"text": "Hello."}], "role": "model"},
                                    "finishReason": "STOP", "index": 0}],
                    "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2,
                                      "totalTokenCount": 6},
                }),
                Self::OpenAi => json!({
                    "object": "chat.completion",
                    "choices": [{"index": 0, "finish_reason": "stop",
                                 "message": {"role": "assistant", "content": "Hello."}}],
                    "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6},
                }),
                Self::Anthropic => json!({
                    "type": "message", "role": "assistant", "stop_reason": "end_turn",
                    "content": [{"type": "text", "text": "Hello."}],
                    "usage": {"input_tokens": 4, "output_tokens": 2},
                }),
            },
        )
    }

    /// The free list of models.
    pub(super) fn models(self) -> Response<Full<Bytes>> {
        respond(
            200,
            &[],
            &match self {
                Self::Gemini => json!({"models": [{"name": "models/simulated"}]}),
                Self::OpenAi | Self::Anthropic => json!({"data": [{"id": "simulated"}]}),
            },
        )
    }

    /// The refusal of a key that nobody has.
    pub(super) fn unknown_key(self) -> Response<Full<Bytes>> {
        match self {
            Self::Gemini => {
                let message = "API key not valid. Please pass a valid API key.";
                let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo",
                                  "reason": "API_KEY_INVALID", "domain": "googleapis.com",
                                  "metadata": {"service": "generativelanguage.googleapis.com"}});
                let error = json!({"code": 400, "message": message, "status": "INVALID_ARGUMENT",
                                   "details": [info]});
                respond(400, &[], &json!({ "error": error }))
            }
            Self::OpenAi => {
                let error = json!({"message": "Incorrect API key provided.", "param": null,
                                   "type": "invalid_request_error", "code": "invalid_api_key"});
                respond(401, &[], &json!({ "error": error }))
            }
            Self::Anthropic => {
                let error = json!({"type": "authentication_error", "message": "invalid x-api-key"});
                respond(401, &[], &json!({"type": "error", "error": error}))
            }
        }
    }

    /// The refusal of a request over the limit of `rpm`, when the next is admitted in `delay`.
    pub(super) fn rate_limited(self, rpm: u64, delay: Duration) -> Response<Full<Bytes>> {
        let seconds = delay.as_secs_f64();
        let whole = delay.as_millis().div_ceil(1000);
        match self {
            // No Retry-After, and the whole seconds of RetryInfo are cut off.
            Self::Gemini => {
                let metric =
                    "generativelanguage.googleapis.com/generate_content_free_tier_requests";
                let message = format!(
                    "You exceeded your current quota, please check your plan and billing details. \
                     \n* Quota exceeded for metric: {metric}, limit: {rpm}\n\
                     Please retry in {seconds:.9}s."
                );
                let violation = json!({"quotaMetric": metric, "quotaValue": rpm.to_string(),
                    "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                    "quotaDimensions": {"location": "global"}});
                let details = json!([
                    {"@type": "type.googleapis.com/google.rpc.QuotaFailure",
                     "violations": [violation]},
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo",
                     "retryDelay": format!("{}s", delay.as_secs())}]);
                let error = json!({"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED",
                                   "details": details});
                respond(429, &[], &json!({ "error": error }))
            }
            Self::OpenAi => {
                let message = format!(
                    "Rate limit reached on requests per min (RPM): Limit {rpm}, Used {rpm}, \
                     Requested 1. Please try again in {seconds:.3}s."
                );
                let error = json!({"message": message, "type": "requests", "param": null,
                                   "code": "rate_limit_exceeded"});
                let headers = [
                    ("retry-after-ms", delay.as_millis().to_string()),
                    ("retry-after", whole.to_string()),
                    ("x-ratelimit-limit-requests", rpm.to_string()),
                    ("x-ratelimit-remaining-requests", "0".to_owned()),
                ];
                respond(429, &headers, &json!({ "error": error }))
            }
            Self::Anthropic => {
                let message = format!(
                    "This request would exceed your organization's rate limit of {rpm} requests \
                     per minute."
                );
                let error = json!({"type": "rate_limit_error", "message": message});
                let headers = [
                    ("retry-after", whole.to_string()),
                    ("anthropic-ratelimit-requests-limit", rpm.to_string()),
                    ("anthropic-ratelimit-requests-remaining", "0".to_owned()),
                ];
                respond(429, &headers, &json!({"type": "error", "error": error}))
            }
        }
    }
}

/// An answer with `headers` and a JSON body.
pub(super) fn respond(
    status: u16,
    headers: &[(&str, String)],
    body: &Value,
) -> Response<Full<Bytes>> {
    let start = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    let with = |response: hyper::http::response::Builder, (name, value): &(&str, String)| {
        response.header(*name, value)
    };
    let response = headers.iter().fold(start, with);
    response.body(Full::new(body.to_string().into())).expect("the headers are plain text")
}

//! Anthropic.
//!
//! Errors are `{"type":"error","error":{"type","message"}}`, also inside a stream that has
//! answered 200. Limits hold per organisation; `retry-after` is exact ("earlier retries will
//! fail"). Facts without another source are from platform.claude.com/docs/en/api/errors and
//! /rate-limits.

use serde_json::Value;

use super::answer::spent;
use super::body::{ErrorBody, documents, error};
use super::{AuthHeader, Classified, FreeProbe, ProviderAnswer, delay};
use crate::pool::{Outcome, RateLimit, Spent};

/// From platform.claude.com/docs/en/api/overview.
pub(super) const AUTH_HEADER: AuthHeader = AuthHeader::fixed("x-api-key", "");

/// From platform.claude.com/docs/en/api/models-list.
pub(super) const PROBE: FreeProbe =
    FreeProbe::fixed("https://api.anthropic.com", "/v1/models?limit=1");

/// Without it every request is refused (platform.claude.com/docs/en/api/versioning).
pub(super) const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// A 429 without `retry-after` that lasts until the month ends, UTC (learn.microsoft.com on
/// Claude in Foundry).
const MONTH_SPENT: &str = "enforced_spend_limit_reached";

/// The limit that the organisation set itself, as 400: "You have reached your specified API usage
/// limits. You will regain access on 2026-04-01 at 00:00 UTC." (anthropics/claude-code#2127).
const MONTH_SPENT_TEXTS: [&str; 3] =
    ["specified api usage limits", "spend limit", "spending limit"];

/// No money left, as 400: "Your credit balance is too low to access the Anthropic API."
const ACCOUNT_SPENT_TEXTS: [&str; 1] = ["credit balance is too low"];

/// 401 "CORS requests are not allowed for this Organization": the caller is a browser.
const PLACE_REFUSED_TEXTS: [&str; 1] = ["cors requests are not allowed"];

/// The request carried no key at all: "x-api-key header is required".
const NO_KEY_TEXTS: [&str; 1] = ["header is required"];

pub(super) fn classify(answer: &ProviderAnswer<'_>) -> Classified {
    let documents = documents(answer.body);
    let retry_after = delay::longest([delay::retry_after(answer)]);
    let Some(error) = error(&documents) else {
        let outcome = answer.outcome_by_status(retry_after);
        return answer.verdict(outcome, []).with_tokens(tokens_used(&documents));
    };
    let details_code = error.details["error_code"].as_str();
    let outcome = match error.kind.unwrap_or_default() {
        "authentication_error" if error.says(&PLACE_REFUSED_TEXTS) => Outcome::EgressRefused,
        "authentication_error" if error.says(&NO_KEY_TEXTS) => Outcome::ClientError,
        "authentication_error" => Outcome::AuthFailed,
        "billing_error" => spent(Spent::Account),
        "permission_error" => Outcome::ModelRefused,
        "not_found_error" if error.message.is_empty() || error.says(&["model"]) => {
            Outcome::ModelRefused
        }
        "rate_limit_error" if details_code == Some(MONTH_SPENT) => spent(Spent::Month),
        "rate_limit_error" => {
            let spent = window(&error, retry_after.is_some());
            Outcome::RateLimited(RateLimit { retry_after, spent, limit: None })
        }
        "invalid_request_error" if error.says(&MONTH_SPENT_TEXTS) => spent(Spent::Month),
        "invalid_request_error" if error.says(&ACCOUNT_SPENT_TEXTS) => spent(Spent::Account),
        "invalid_request_error" | "not_found_error" | "request_too_large" => Outcome::ClientError,
        "api_error" | "overloaded_error" => Outcome::ServerError,
        "timeout_error" => Outcome::Timeout,
        // A type of the future, or another server in between; a stream's own 200 says nothing.
        _ if answer.status < 300 => Outcome::ServerError,
        _ => answer.outcome_by_status(retry_after),
    };
    answer.verdict(outcome, [error.kind, details_code])
}

/// Which limit a rate limit error means. Buckets refill all the time, so a day counts as one only
/// if no delay is given.
fn window(error: &ErrorBody<'_>, has_delay: bool) -> Spent {
    let per_day = error.says(&["daily", "per day"]);
    if per_day && !has_delay {
        Spent::Day
    } else if per_day || error.says(&["per minute", "per-minute"]) {
        Spent::Minute
    } else {
        Spent::Unknown
    }
}

/// What counts towards the input tokens of a minute: not what was read from the cache. A stream
/// says it at its start.
fn tokens_used(documents: &[Value]) -> Option<u64> {
    documents.iter().find_map(|document| {
        let usage = [&document["usage"], &document["message"]["usage"]];
        let usage = usage.into_iter().find(|usage| usage["input_tokens"].is_u64())?;
        let cached = usage["cache_creation_input_tokens"].as_u64().unwrap_or(0);
        Some(usage["input_tokens"].as_u64()?.saturating_add(cached))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::Provider;
    use crate::provider::tests::{answer, limited, with_header};

    fn body(kind: &str, message: &str) -> String {
        let error = serde_json::json!({"type": kind, "message": message});
        serde_json::json!({"type": "error", "error": error, "request_id": "req_1"}).to_string()
    }

    fn anthropic(status: u16, kind: &str, message: &str) -> Classified {
        answer(Provider::Anthropic, status, &body(kind, message))
    }

    #[test]
    fn a_rate_limit_lasts_as_long_as_its_header_says() {
        let message =
            "This request would exceed your organization's rate limit of 50 requests per minute.";
        let error = body("rate_limit_error", message);
        let verdict = with_header(Provider::Anthropic, 429, ("retry-after", "12"), &error);
        let retry_after = Some(Duration::from_secs(12));
        assert_eq!(limited(&verdict), RateLimit { retry_after, spent: Spent::Minute, limit: None });
        assert_eq!(verdict.detail, "429 rate_limit_error");
    }

    #[test]
    fn a_daily_limit_is_a_day_only_without_a_delay() {
        let daily = "Number of request tokens has exceeded your daily rate limit";
        assert_eq!(limited(&anthropic(429, "rate_limit_error", daily)).spent, Spent::Day);
        let error = body("rate_limit_error", daily);
        let verdict = with_header(Provider::Anthropic, 429, ("retry-after", "12"), &error);
        assert_eq!(limited(&verdict).spent, Spent::Minute);
    }

    #[test]
    fn an_enforced_spend_limit_lasts_until_the_month_ends() {
        let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
        let verdict = answer(Provider::Anthropic, 429, body);
        assert_eq!(verdict.outcome, spent(Spent::Month));
        assert_eq!(verdict.detail, "429 rate_limit_error enforced_spend_limit_reached");
    }

    #[test]
    fn an_own_spend_limit_lasts_until_the_month_ends() {
        let message = "You have reached your specified API usage limits. You will regain access on 2026-04-01 at 00:00 UTC.";
        let verdict = anthropic(400, "invalid_request_error", message);
        assert_eq!(verdict.outcome, spent(Spent::Month));
    }

    #[test]
    fn an_empty_account_waits_for_money() {
        assert_eq!(anthropic(402, "billing_error", "").outcome, spent(Spent::Account));
        let message = "Your credit balance is too low to access the Anthropic API.";
        let verdict = anthropic(400, "invalid_request_error", message);
        assert_eq!(verdict.outcome, spent(Spent::Account));
    }

    #[test]
    fn an_overloaded_provider_is_blamed_itself() {
        assert_eq!(anthropic(529, "overloaded_error", "").outcome, Outcome::ServerError);
        assert_eq!(anthropic(500, "api_error", "").outcome, Outcome::ServerError);
        assert_eq!(anthropic(504, "timeout_error", "").outcome, Outcome::Timeout);
        assert_eq!(answer(Provider::Anthropic, 529, "").outcome, Outcome::ServerError);
    }

    #[test]
    fn an_error_inside_a_stream_counts_like_one_outside() {
        let stream = |kind| format!("event: error\ndata: {}\n\n", body(kind, ""));
        let outcome = |kind| answer(Provider::Anthropic, 200, &stream(kind)).outcome;
        assert_eq!(outcome("overloaded_error"), Outcome::ServerError);
        assert_eq!(outcome("rate_limit_error"), spent(Spent::Unknown));
        assert_eq!(outcome("new_error"), Outcome::ServerError);
    }

    #[test]
    fn a_wrong_key_is_blamed_but_not_for_a_browser_or_a_missing_header() {
        let outcome = |message| anthropic(401, "authentication_error", message).outcome;
        assert_eq!(outcome("invalid x-api-key"), Outcome::AuthFailed);
        let cors = "CORS requests are not allowed for this Organization because of a setting";
        assert_eq!(outcome(cors), Outcome::EgressRefused);
        assert_eq!(outcome("x-api-key header is required"), Outcome::ClientError);
    }

    #[test]
    fn a_model_that_the_key_may_not_use_blames_the_pair() {
        assert_eq!(anthropic(403, "permission_error", "").outcome, Outcome::ModelRefused);
        assert_eq!(anthropic(404, "not_found_error", "model: m").outcome, Outcome::ModelRefused);
        assert_eq!(anthropic(404, "not_found_error", "").outcome, Outcome::ModelRefused);
        let file = anthropic(404, "not_found_error", "File not found: file_1");
        assert_eq!(file.outcome, Outcome::ClientError);
    }

    #[test]
    fn the_callers_own_mistakes_blame_the_caller() {
        let wrong = "max_tokens: Field required";
        assert_eq!(anthropic(400, "invalid_request_error", wrong).outcome, Outcome::ClientError);
        assert_eq!(anthropic(413, "request_too_large", "").outcome, Outcome::ClientError);
    }

    #[test]
    fn a_success_gives_its_input_tokens_without_those_read_from_the_cache() {
        let usage = r#"{"input_tokens":5,"cache_creation_input_tokens":10,"cache_read_input_tokens":1000,"output_tokens":3}"#;
        let tokens = |body: &str| answer(Provider::Anthropic, 200, body).tokens_used;
        assert_eq!(tokens(&format!(r#"{{"usage":{usage}}}"#)), Some(15));
        let start = format!(r#"{{"type":"message_start","message":{{"usage":{usage}}}}}"#);
        assert_eq!(tokens(&format!("event: message_start\ndata: {start}\n\n")), Some(15));
        assert_eq!(tokens("{}"), None);
    }
}

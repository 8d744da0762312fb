//! `OpenAI`, and what answers like it.
//!
//! An error's `code` decides, not its status: a 429 is a rate limit or an unpaid bill. Limits hold
//! per organisation and project. The `x-ratelimit-reset-*` headers are no delays: they say when a
//! bucket is full again, not when the next request is served.

use std::time::Duration;

use serde_json::Value;

use super::answer::spent;
use super::body::{ErrorBody, documents, error};
use super::{AuthHeader, Classified, FreeProbe, ProviderAnswer, delay};
use crate::pool::{LearnedLimit, LimitKind, Outcome, RateLimit, Spent};

/// From platform.openai.com/docs/api-reference/authentication.
pub(super) const AUTH_HEADER: AuthHeader = AuthHeader::fixed("Authorization", "Bearer ");

/// From platform.openai.com/docs/api-reference/models/list.
pub(super) const PROBE: FreeProbe = FreeProbe::fixed("https://api.openai.com", "/v1/models");

/// Codes, or types, for which the whole organisation or project is out of money, so that no delay
/// helps (learn.microsoft.com, the dev-proxy pages on `OpenAI` errors; the first is the older one).
const ACCOUNT_SPENT: [&str; 6] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
];

/// 401 "IP not authorized" and 403 "Country, region, or territory not supported"
/// (platform.openai.com/docs/guides/error-codes): another key meets the same wall.
const PLACE_REFUSED_TEXTS: [&str; 4] =
    ["ip not authorized", "ip address", "ip allowlist", "country, region, or territory"];

/// The same as codes.
const PLACE_REFUSED_CODES: [&str; 2] =
    ["ip_not_authorized", "unsupported_country_region_territory"];

/// A restricted key, which may be good for other models or endpoints.
const SCOPE_REFUSED_TEXTS: [&str; 1] = ["missing scopes"];

/// The request carried no key at all.
const NO_KEY_TEXTS: [&str; 1] = ["didn't provide an api key"];

pub(super) fn classify(answer: &ProviderAnswer<'_>) -> Classified {
    let documents = documents(answer.body);
    let Some(error) = error(&documents) else {
        let outcome = answer.outcome_by_status(retry_after(answer, ""));
        return answer.verdict(outcome, []).with_tokens(tokens_used(&documents));
    };
    answer.verdict(outcome(answer, &error), [error.kind, error.code])
}

fn outcome(answer: &ProviderAnswer<'_>, error: &ErrorBody<'_>) -> Outcome {
    let named = |codes: &[&str]| {
        [error.code, error.kind].into_iter().flatten().any(|code| codes.contains(&code))
    };
    // A stream that fails half-way has answered 200 already.
    let status = if answer.status < 300 { 500 } else { answer.status };

    if named(&ACCOUNT_SPENT) {
        spent(Spent::Account)
    } else if named(&["rate_limit_exceeded", "slow_down"]) || status == 429 {
        rate_limit(answer, error)
    } else if named(&PLACE_REFUSED_CODES)
        || (matches!(status, 401 | 403) && error.says(&PLACE_REFUSED_TEXTS))
    {
        Outcome::EgressRefused
    } else if matches!(status, 401 | 403) && error.says(&SCOPE_REFUSED_TEXTS) {
        Outcome::ModelRefused
    } else if status == 401 && error.says(&NO_KEY_TEXTS) {
        Outcome::ClientError
    } else if named(&["model_not_found"]) || (status == 404 && error.says(&["the model"])) {
        Outcome::ModelRefused
    } else if status == 404 {
        Outcome::ClientError
    } else {
        ProviderAnswer { status, ..*answer }.outcome_by_status(None)
    }
}

/// Reads "Rate limit reached for m in organization o on tokens per min (TPM): Limit 10000, Used
/// 8782, Requested 8172. Please try again in 41.724s."
fn rate_limit(answer: &ProviderAnswer<'_>, error: &ErrorBody<'_>) -> Outcome {
    // "Request too large for m ... Limit 30000, Requested 54000": no wait makes it fit.
    if error.says(&["request too large"]) {
        return Outcome::ClientError;
    }
    let retry_after = retry_after(answer, &error.message);
    let per_day = error.says(&["per day"]);
    let spent = if per_day && retry_after.is_none() {
        Spent::Day
    } else if per_day || error.says(&["per min"]) || error.code == Some("slow_down") {
        // Buckets refill all the time, also those of a day, so a stated delay is the truth.
        Spent::Minute
    } else {
        Spent::Unknown
    };
    let kind = if error.says(&["tokens per min"]) {
        Some(LimitKind::Tpm)
    } else if error.says(&["requests per min"]) {
        Some(LimitKind::Rpm)
    } else if error.says(&["requests per day"]) {
        Some(LimitKind::Rpd)
    } else {
        None
    };
    let value = error.limits().next().filter(|limit| *limit > 0);
    let limit = kind.zip(value).map(|(kind, value)| LearnedLimit { kind, value });
    Outcome::RateLimited(RateLimit { retry_after, spent, limit })
}

fn retry_after(answer: &ProviderAnswer<'_>, message: &str) -> Option<Duration> {
    delay::longest([
        delay::retry_after_ms(answer),
        delay::retry_after(answer),
        delay::following(message, "try again in"),
        // The same on Azure: "Please retry after 26 seconds."
        delay::following(message, "retry after"),
    ])
}

/// All tokens count towards the limit of a minute. A stream has them only if the caller asked
/// (`stream_options.include_usage`), in its last chunk.
fn tokens_used(documents: &[Value]) -> Option<u64> {
    documents.iter().rev().find_map(|document| {
        let chat = &document["usage"]["total_tokens"];
        chat.as_u64().or_else(|| document["response"]["usage"]["total_tokens"].as_u64())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Provider;
    use crate::provider::tests::{answer, limited, with_header};

    fn openai(status: u16, kind: &str, code: &str, message: &str) -> Classified {
        let body = serde_json::json!({"error": {
            "message": message, "type": kind, "param": null, "code": code}});
        answer(Provider::OpenAi, status, &body.to_string())
    }

    fn reached(what: &str, numbers: &str) -> RateLimit {
        let message =
            format!("Rate limit reached for gpt-4o in organization org-x on {what}: {numbers}");
        limited(&openai(429, "tokens", "rate_limit_exceeded", &message))
    }

    #[test]
    fn a_rate_limit_gives_its_true_limit_and_delay() {
        let numbers =
            "Limit 10000, Used 8782, Requested 8172. Please try again in 41.724s. Visit https://x";
        let learned = |kind| {
            let limit = Some(LearnedLimit { kind, value: 10000 });
            let retry_after = Some(Duration::from_millis(41_724));
            RateLimit { retry_after, spent: Spent::Minute, limit }
        };
        assert_eq!(reached("tokens per min (TPM)", numbers), learned(LimitKind::Tpm));
        assert_eq!(reached("requests per min (RPM)", numbers), learned(LimitKind::Rpm));
        assert_eq!(reached("requests per day (RPD)", numbers), learned(LimitKind::Rpd));
    }

    #[test]
    fn a_day_without_a_delay_is_a_day() {
        let limit = reached("requests per day (RPD)", "Limit 200, Used 200, Requested 1.");
        assert_eq!((limit.spent, limit.retry_after), (Spent::Day, None));
    }

    #[test]
    fn a_limit_of_something_else_teaches_nothing() {
        let limit = reached("images per min", "Limit: 5 / min. Please try again in 12s.");
        let delay = Some(Duration::from_secs(12));
        assert_eq!(limit, RateLimit { retry_after: delay, spent: Spent::Minute, limit: None });
    }

    #[test]
    fn slowing_down_is_a_rate_limit() {
        let verdict = openai(429, "rate_limit_error", "slow_down", "");
        assert_eq!(limited(&verdict).spent, Spent::Minute);
        assert_eq!(verdict.detail, "429 rate_limit_error slow_down");
    }

    #[test]
    fn an_unpaid_bill_is_no_rate_limit() {
        for code in ACCOUNT_SPENT {
            let verdict =
                openai(429, "insufficient_quota", code, "You exceeded your current quota");
            assert_eq!(verdict.outcome, spent(Spent::Account), "{code}");
        }
        assert_eq!(openai(429, "x", "insufficient_quota", "").outcome, spent(Spent::Account));
        assert_eq!(
            openai(429, "insufficient_quota", "new_code", "").outcome,
            spent(Spent::Account)
        );
        assert_eq!(openai(402, "x", "x", "Insufficient Balance").outcome, spent(Spent::Account));
    }

    #[test]
    fn a_wrong_key_is_blamed_and_never_repeated() {
        let message = "Incorrect API key provided: fake-secret-pro-01.";
        let verdict = openai(401, "invalid_request_error", "invalid_api_key", message);
        assert_eq!(verdict.outcome, Outcome::AuthFailed);
        assert_eq!(verdict.detail, "401 invalid_request_error invalid_api_key");
        let member =
            openai(401, "x", "x", "You must be a member of an organization to use the API");
        assert_eq!(member.outcome, Outcome::AuthFailed);
    }

    #[test]
    fn an_address_or_country_blames_no_key() {
        for (status, code, message) in [
            (401, "ip_not_authorized", ""),
            (401, "x", "Your request IP address does not match the configured IP allowlist"),
            (403, "unsupported_country_region_territory", ""),
            (403, "x", "Country, region, or territory not supported"),
        ] {
            assert_eq!(
                openai(status, "x", code, message).outcome,
                Outcome::EgressRefused,
                "{message}"
            );
        }
    }

    #[test]
    fn a_model_that_the_key_may_not_use_blames_the_pair() {
        let missing = "The model `m` does not exist or you do not have access to it.";
        assert_eq!(openai(404, "x", "model_not_found", missing).outcome, Outcome::ModelRefused);
        assert_eq!(openai(404, "x", "x", missing).outcome, Outcome::ModelRefused);
        assert_eq!(openai(403, "x", "x", "").outcome, Outcome::ModelRefused);
        let scopes = "You have insufficient permissions. Missing scopes: model.request.";
        assert_eq!(openai(401, "x", "x", scopes).outcome, Outcome::ModelRefused);
    }

    #[test]
    fn the_callers_own_mistakes_blame_the_caller() {
        let large =
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 54000.";
        for (status, message) in [
            (429, large),
            (404, "Invalid URL"),
            (401, "You didn't provide an API key."),
            (400, ""),
            (422, ""),
        ] {
            assert_eq!(
                openai(status, "x", "x", message).outcome,
                Outcome::ClientError,
                "{message}"
            );
        }
    }

    #[test]
    fn an_overloaded_provider_is_blamed_itself() {
        let verdict = openai(503, "server_error", "server_is_overloaded", "");
        assert_eq!(verdict.outcome, Outcome::ServerError);
        let half_way =
            "data: {\"choices\":[]}\n\ndata: {\"error\":{\"type\":\"server_error\"}}\n\n";
        assert_eq!(answer(Provider::OpenAi, 200, half_way).outcome, Outcome::ServerError);
    }

    #[test]
    fn delays_are_read_from_headers_but_resets_are_none() {
        let delay = |name, value| {
            limited(&with_header(Provider::OpenAi, 429, (name, value), "")).retry_after
        };
        assert_eq!(delay("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(delay("retry-after-ms", "1500.5"), Some(Duration::from_micros(1_500_500)));
        assert_eq!(delay("x-ratelimit-reset-tokens", "6m0s"), None);
        assert_eq!(delay("x-ratelimit-reset-requests", "1s"), None);
    }

    #[test]
    fn a_success_gives_its_tokens() {
        let tokens = |body: &str| answer(Provider::OpenAi, 200, body).tokens_used;
        assert_eq!(tokens(r#"{"error":null,"usage":{"total_tokens":21}}"#), Some(21));
        assert_eq!(tokens(r#"data: {"response":{"usage":{"total_tokens":22}}}"#), Some(22));
        assert_eq!(tokens("{}"), None);
    }
}

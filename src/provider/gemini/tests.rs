use crate::pool::{LearnedLimit, LimitKind, Outcome, RateLimit, Spent};
use crate::provider::tests::{answer, limited, with_header};
use crate::provider::{Classified, Provider};
use std::time::Duration;

fn gemini(status: u16, body: &str) -> Classified {
    answer(Provider::Gemini, status, body)
}

/// A 429 as the provider writes it: with the violations `(quotaId, quotaValue)` and a delay.
fn quota_body(violations: &[(&str, &str)], message: &str, retry_delay: &str) -> String {
    let violations = violations
        .iter()
        .map(|(id, value)| {
            let metric = if id.contains("Token") { "input_token_count" } else { "requests" };
            serde_json::json!({
                "quotaMetric": format!("generativelanguage.googleapis.com/generate_content_free_tier_{metric}"),
                "quotaId": id,
                "quotaDimensions": {"model": "gemini-3-flash", "location": "global"},
                "quotaValue": value,
            })
        })
        .collect::<Vec<_>>();
    serde_json::json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": message, "details": [
        {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay},
    ]}})
    .to_string()
}

fn error_info(code: u16, status: &str, reason: &str, message: &str) -> String {
    serde_json::json!({"error": {"code": code, "status": status, "message": message, "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason,
         "domain": "googleapis.com", "metadata": {"consumer": "projects/1", "containerInfo": "fake-secret-flash-01"}},
    ]}})
    .to_string()
}

const PER_MINUTE: &str = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";
const PER_DAY: &str = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
const TOKENS: &str = "GenerateContentInputTokensPerModelPerMinute-FreeTier";

fn rate_limit(seconds: f64, spent: Spent, limit: Option<(LimitKind, u64)>) -> Outcome {
    Outcome::RateLimited(RateLimit {
        retry_after: Some(Duration::from_secs_f64(seconds)),
        spent,
        limit: limit.map(|(kind, value)| LearnedLimit { kind, value }),
    })
}

#[test]
fn a_minute_gone_gives_its_limit_and_the_longer_of_its_two_delays() {
    let message = "You exceeded your current quota. \n* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 5, model: gemini-3-flash\nPlease retry in 58.217843437s.";
    let verdict = gemini(429, &quota_body(&[(PER_MINUTE, "5")], message, "58s"));
    assert_eq!(
        limited(&verdict),
        RateLimit {
            retry_after: Some(Duration::from_nanos(58_217_843_437)),
            spent: Spent::Minute,
            limit: Some(LearnedLimit { kind: LimitKind::Rpm, value: 5 }),
        }
    );
    assert_eq!(
        verdict.detail,
        "429 RESOURCE_EXHAUSTED GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
    );
}

#[test]
fn a_fractional_retry_delay_is_read_to_the_nanosecond() {
    let verdict = gemini(429, &quota_body(&[(PER_MINUTE, "5")], "", "45.837906927s"));
    assert_eq!(limited(&verdict).retry_after, Some(Duration::from_nanos(45_837_906_927)));
}

#[test]
fn a_day_gone_is_told_from_a_minute_by_the_quota_id() {
    for id in [PER_DAY, "GenerateRequestsPerDayPerProjectPerModel"] {
        let verdict = gemini(429, &quota_body(&[(id, "20")], "", "36s"));
        assert_eq!(verdict.outcome, rate_limit(36.0, Spent::Day, Some((LimitKind::Rpd, 20))));
    }
}

#[test]
fn tokens_of_a_minute_teach_the_token_limit() {
    let verdict = gemini(429, &quota_body(&[(TOKENS, "250000")], "", "12s"));
    assert_eq!(verdict.outcome, rate_limit(12.0, Spent::Minute, Some((LimitKind::Tpm, 250_000))));
}

#[test]
fn of_several_violations_the_longest_lived_counts() {
    let all = [(TOKENS, "250000"), (PER_MINUTE, "5"), (PER_DAY, "20")];
    let verdict = gemini(429, &quota_body(&all, "", "36s"));
    assert_eq!(verdict.outcome, rate_limit(36.0, Spent::Day, Some((LimitKind::Rpd, 20))));
}

#[test]
fn an_opaque_refusal_says_nothing_but_that_it_is_one() {
    let bare = r#"{"error":{"code":429,"message":"Resource has been exhausted (e.g. check quota).","status":"RESOURCE_EXHAUSTED"}}"#;
    let help = r#"{"error":{"code":429,"message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"Learn more","url":"https://ai.google.dev"}]}]}}"#;
    for body in [bare, help, "", "<html>429</html>"] {
        assert_eq!(limited(&gemini(429, body)), RateLimit::default(), "{body}");
    }
    assert_eq!(gemini(429, bare).detail, "429 RESOURCE_EXHAUSTED");
}

#[test]
fn the_message_gives_the_delay_where_the_details_do_not() {
    let body = r#"{"error":{"code":429,"message":"Quota exceeded. Please retry in 36.429760048s.","status":"RESOURCE_EXHAUSTED"}}"#;
    assert_eq!(limited(&gemini(429, body)).retry_after, Some(Duration::from_nanos(36_429_760_048)));
}

#[test]
fn a_limit_of_zero_means_that_the_model_is_not_offered() {
    let verdict = gemini(429, &quota_body(&[(PER_DAY, "0")], "", "36s"));
    assert_eq!(verdict.outcome, Outcome::ModelRefused);
    let message = "* Quota exceeded for metric: x/requests, limit: 0, model: gemini-3-pro";
    let body = serde_json::json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": message}});
    assert_eq!(gemini(429, &body.to_string()).outcome, Outcome::ModelRefused);
}

#[test]
fn the_older_error_info_names_its_quota_too() {
    let body = serde_json::json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED", "metadata": {
            "quota_limit": "GenerateRequestsPerMinutePerProjectPerRegion", "quota_limit_value": "60", "consumer": "projects/1"}},
    ]}});
    let verdict = gemini(429, &body.to_string());
    let limit = LearnedLimit { kind: LimitKind::Rpm, value: 60 };
    assert_eq!(
        limited(&verdict),
        RateLimit { retry_after: None, spent: Spent::Minute, limit: Some(limit) }
    );
    assert_eq!(
        verdict.detail,
        "429 RESOURCE_EXHAUSTED RATE_LIMIT_EXCEEDED GenerateRequestsPerMinutePerProjectPerRegion"
    );
}

#[test]
fn the_flat_shape_of_the_interactions_api_is_read() {
    for code in ["quota_exceeded", "rate_limit_exceeded", "too_many_requests"] {
        let body = serde_json::json!({"error": {"code": code, "message": "m"}}).to_string();
        assert_eq!(gemini(429, &body).outcome, Outcome::RateLimited(RateLimit::default()));
        assert_eq!(gemini(429, &body).detail, format!("429 {code}"));
    }
}

#[test]
fn a_key_that_is_invalid_suspended_leaked_or_misused_is_blamed() {
    let key = "fake-secret-flash-01";
    let invalid = "API key not valid. Please pass a valid API key.";
    let suspended = format!("Permission denied: Consumer 'api_key:{key}' has been suspended.");
    let leaked = "Your API key was reported as leaked. Please use another API key.";
    for (status, body) in [
        (400, error_info(400, "INVALID_ARGUMENT", "API_KEY_INVALID", invalid)),
        (400, error_info(400, "INVALID_ARGUMENT", "API_KEY_INVALID", "API key expired.")),
        (400, serde_json::json!([{"error": {"code": 400, "message": invalid}}]).to_string()),
        (403, error_info(403, "PERMISSION_DENIED", "CONSUMER_SUSPENDED", &suspended)),
        (403, serde_json::json!({"error": {"code": 403, "message": leaked}}).to_string()),
        (401, error_info(401, "UNAUTHENTICATED", "ACCESS_TOKEN_TYPE_UNSUPPORTED", "")),
        (401, String::new()),
    ] {
        let verdict = gemini(status, &body);
        assert_eq!(verdict.outcome, Outcome::AuthFailed, "{body}");
        assert!(!verdict.detail.contains(key) && !verdict.detail.contains("Permission"));
    }
}

#[test]
fn what_a_key_may_not_use_blames_the_pair() {
    let gone = "models/gemini-1.0 is not found for API version v1beta";
    for (status, body) in [
        (403, error_info(403, "PERMISSION_DENIED", "SERVICE_DISABLED", "Enable it")),
        (403, error_info(403, "PERMISSION_DENIED", "API_KEY_SERVICE_BLOCKED", "")),
        (403, String::new()),
        (
            404,
            serde_json::json!({"error": {"code": 404, "status": "NOT_FOUND", "message": gone}})
                .to_string(),
        ),
    ] {
        assert_eq!(gemini(status, &body).outcome, Outcome::ModelRefused, "{body}");
    }
}

#[test]
fn a_place_or_address_blames_no_key() {
    let place = r#"{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}"#;
    assert_eq!(gemini(400, place).outcome, Outcome::EgressRefused);
    let address = error_info(403, "PERMISSION_DENIED", "API_KEY_IP_ADDRESS_BLOCKED", "");
    assert_eq!(gemini(403, &address).outcome, Outcome::EgressRefused);
}

#[test]
fn the_callers_own_mistakes_blame_the_caller() {
    let unregistered = r#"{"error":{"code":403,"message":"Method doesn't allow unregistered callers (callers without established identity).","status":"PERMISSION_DENIED"}}"#;
    let file = r#"{"error":{"code":404,"message":"File x not found","status":"NOT_FOUND"}}"#;
    let argument = r#"{"error":{"code":400,"message":"Invalid value at 'contents'","status":"INVALID_ARGUMENT"}}"#;
    for (status, body) in [(403, unregistered), (404, file), (400, argument), (413, "")] {
        assert_eq!(gemini(status, body).outcome, Outcome::ClientError, "{body}");
    }
}

#[test]
fn an_empty_purse_parks_the_account() {
    assert_eq!(limited(&gemini(402, "")).spent, Spent::Account);
}

#[test]
fn an_overloaded_provider_is_blamed_itself() {
    let overloaded =
        r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
    assert_eq!(gemini(503, overloaded).outcome, Outcome::ServerError);
    assert_eq!(gemini(504, "").outcome, Outcome::Timeout);
    let full = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"reason":"MODEL_CAPACITY_EXHAUSTED"}]}}"#;
    assert_eq!(gemini(429, full).outcome, Outcome::ServerError);
    let half_way = "data: {\"candidates\":[]}\n\ndata: {\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\"}}\n\n";
    assert_eq!(gemini(200, half_way).outcome, Outcome::ServerError);
}

#[test]
fn a_success_gives_its_input_tokens() {
    let body = r#"{"candidates":[],"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":30,"totalTokenCount":37}}"#;
    assert_eq!(gemini(200, body).tokens_used, Some(7));
    assert_eq!(gemini(200, body).outcome, Outcome::Success);
    let stream = "data: {\"usageMetadata\":{\"promptTokenCount\":6}}\r\n\r\ndata: {\"usageMetadata\":{\"promptTokenCount\":8}}\r\n\r\n";
    assert_eq!(gemini(200, stream).tokens_used, Some(8));
    let array =
        r#"[{"usageMetadata":{"promptTokenCount":6}},{"usageMetadata":{"promptTokenCount":9}}]"#;
    assert_eq!(gemini(200, array).tokens_used, Some(9));
    assert_eq!(gemini(200, "").tokens_used, None);
}

#[test]
fn a_retry_after_header_counts_where_a_proxy_adds_one() {
    let verdict = with_header(Provider::Gemini, 429, ("Retry-After", "7"), "");
    assert_eq!(limited(&verdict).retry_after, Some(Duration::from_secs(7)));
}

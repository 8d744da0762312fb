use proptest::prelude::*;

use super::delay::LONGEST;
use super::{Classified, Provider, ProviderAnswer};
use crate::pool::{Outcome, RateLimit};

const ALL: [Provider; 4] =
    [Provider::Gemini, Provider::OpenAi, Provider::Anthropic, Provider::Generic];

pub(super) fn answer(provider: Provider, status: u16, body: &str) -> Classified {
    provider.classify(&ProviderAnswer { status, headers: &[], body })
}

pub(super) fn with_header(
    provider: Provider,
    status: u16,
    (name, value): (&str, &str),
    body: &str,
) -> Classified {
    let headers = [(name.to_owned(), value.to_owned())];
    provider.classify(&ProviderAnswer { status, headers: &headers, body })
}

pub(super) fn limited(verdict: &Classified) -> RateLimit {
    let Outcome::RateLimited(limit) = verdict.outcome else { panic!("{verdict:?} is no limit") };
    limit
}

#[test]
fn each_provider_has_its_header_and_its_midnight() {
    let header = |name: &str| {
        let header = Provider::named(name).auth_header();
        (header.name.clone(), header.value("fake-secret-flash-01"))
    };
    let plain = "fake-secret-flash-01".to_owned();
    let bearer = format!("Bearer {plain}");
    assert_eq!(header("gemini"), ("x-goog-api-key".into(), plain.clone()));
    assert_eq!(header("openai"), ("Authorization".into(), bearer.clone()));
    assert_eq!(header("anthropic"), ("x-api-key".into(), plain));
    assert_eq!(header("mistral"), ("Authorization".into(), bearer));
    let zone = |name| Provider::named(name).default_reset_zone().name().to_owned();
    assert_eq!(zone("gemini"), "America/Los_Angeles");
    assert_eq!(zone("openai"), "UTC");
}

#[test]
fn a_huge_or_bottomless_body_is_an_answer_like_any_other() {
    let bodies = [
        "[".repeat(1 << 20),
        r#"{"error":"#.repeat(100_000),
        format!(
            r#"{{"error":{{"code":429,"message":"{}"}}}}"#,
            "limit: 1 please retry in 1s ".repeat(40_000)
        ),
        format!("[{}1]", "1,".repeat(500_000)),
        "data: {}\n".repeat(100_000),
        format!(r#"{{"error":{{"message":"{}"}}}}"#, "é".repeat(100_000)),
    ];
    for body in &bodies {
        for provider in ALL {
            assert!(answer(provider, 429, body).outcome.name() == "rate_limited");
        }
    }
}

/// Texts that mean something somewhere in an answer, and texts that do not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "RESOURCE_EXHAUSTED",
            "API_KEY_INVALID",
            "type.googleapis.com/google.rpc.RetryInfo",
            "type.googleapis.com/google.rpc.QuotaFailure",
            "type.googleapis.com/google.rpc.ErrorInfo",
            "GenerateRequestsPerDayPerProject",
            "99999999999999999999s",
            "1.5s",
            "insufficient_quota",
            "rate_limit_exceeded",
            "rate_limit_error",
            "invalid_request_error",
            "on tokens per min",
            "Limit 99999999999999999999999, try again in 9999999999999999999h",
            "limit: 0",
            "18446744073709551615",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn member() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "error",
        "code",
        "type",
        "status",
        "message",
        "details",
        "@type",
        "retryDelay",
        "violations",
        "quotaId",
        "quotaValue",
        "quotaMetric",
        "reason",
        "metadata",
        "quota_limit",
        "usage",
        "usageMetadata",
        "promptTokenCount",
        "input_tokens",
        "cache_creation_input_tokens",
        "total_tokens",
        "error_code",
    ])
    .prop_map(str::to_owned)
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        text().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(member(), inner, 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An answer's body: sensible JSON with senseless values, a stream of it, or anything.
fn body() -> impl Strategy<Value = String> {
    prop_oneof![
        json().prop_map(|error| serde_json::json!({"error": error}).to_string()),
        json().prop_map(|any| any.to_string()),
        json().prop_map(|any| format!("event: x\ndata: {any}\n\n")),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn whatever_a_provider_answers_there_is_a_bounded_verdict(
        status in prop_oneof![any::<u16>(), Just(429), Just(400), Just(200)],
        header in prop::sample::select(vec!["retry-after", "Retry-After-Ms", "x"]),
        value in prop_oneof![any::<String>(), "[0-9]{0,30}(\\.[0-9]{0,30})?"],
        body in body(),
    ) {
        for provider in ALL {
            let verdict = with_header(provider, status, (header, &value), &body);
            if let Outcome::RateLimited(limit) = verdict.outcome {
                prop_assert!(limit.retry_after.is_none_or(|delay| delay <= LONGEST && !delay.is_zero()));
                prop_assert!(limit.limit.is_none_or(|limit| limit.value > 0));
            }
            let shown = |c: char| c.is_ascii_alphanumeric() || " _.-".contains(c);
            prop_assert!(verdict.detail.len() <= 300 && verdict.detail.chars().all(shown));
        }
    }
}

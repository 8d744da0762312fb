//! Google's Gemini API (generativelanguage.googleapis.com).
//!
//! Errors are `google.rpc.Status` in JSON; the newer Interactions API has a flat shape instead,
//! with a word for `error.code`. Limits hold per project and model, and there is no `Retry-After`.

use std::time::Duration;

use serde_json::Value;

use super::answer::number;
use super::body::{ErrorBody, documents, error};
use super::{AuthHeader, Classified, FreeProbe, ProviderAnswer, delay};
use crate::pool::{LearnedLimit, LimitKind, Outcome, RateLimit, Spent};

/// The only place where keys of both kinds, `AQ.` and `AIza`, are accepted
/// (ai.google.dev/gemini-api/docs/api-key; lingarr#532).
pub(super) const AUTH_HEADER: AuthHeader = AuthHeader::fixed("x-goog-api-key", "");

/// From ai.google.dev/api/models. It takes nothing from the quota of generation.
pub(super) const PROBE: FreeProbe =
    FreeProbe::fixed("https://generativelanguage.googleapis.com", "/v1beta/models?pageSize=1");

/// "Requests per day (RPD) quotas reset at midnight Pacific time"
/// (ai.google.dev/gemini-api/docs/rate-limits).
pub(super) const RESET_ZONE: &str = "America/Los_Angeles";

/// Reasons of `google.rpc.ErrorInfo` for which the key itself is no good
/// (google.api.ErrorReason). Expired keys are `API_KEY_INVALID` too.
const KEY_REFUSED: [&str; 3] =
    ["API_KEY_INVALID", "CONSUMER_SUSPENDED", "ACCESS_TOKEN_TYPE_UNSUPPORTED"];

/// The same without an `ErrorInfo`, and for keys that Google found in public
/// ("Your API key was reported as leaked").
const KEY_REFUSED_TEXTS: [&str; 4] =
    ["api key not valid", "api key expired", "api key not found", "reported as leaked"];

/// The key may be used from some addresses only (google.api.ErrorReason).
const ADDRESS_REFUSED: &str = "API_KEY_IP_ADDRESS_BLOCKED";

/// "User location is not supported for the API use", as 400 `FAILED_PRECONDITION`.
const PLACE_REFUSED_TEXTS: [&str; 2] =
    ["location is not supported", "not available in your country"];

/// The request carried no key at all: "Method doesn't allow unregistered callers".
const NO_KEY_TEXTS: [&str; 1] = ["unregistered callers"];

/// The codes of the Interactions API for a used-up quota.
const FLAT_QUOTA_CODES: [&str; 3] = ["quota_exceeded", "rate_limit_exceeded", "too_many_requests"];

/// A 429 that is no quota: Google's servers are full (google-gemini/gemini-cli#26633).
const SERVERS_FULL: &str = "MODEL_CAPACITY_EXHAUSTED";

pub(super) fn classify(answer: &ProviderAnswer<'_>) -> Classified {
    let documents = documents(answer.body);
    let Some(error) = error(&documents) else {
        let retry_after = delay::longest([delay::retry_after(answer)]);
        // Without Google's own words a 404 is a wrong path, not a missing model.
        let outcome = answer.outcome_by_status(retry_after);
        return answer.verdict(outcome, []).with_tokens(tokens_used(&documents));
    };
    let details = Details::read(error.details);
    let outcome = outcome(answer, &error, &details);
    let ids = details.violations.iter().map(|violation| violation.id);
    answer.verdict(outcome, [error.status, error.code, details.reason].into_iter().chain(ids))
}

fn outcome(answer: &ProviderAnswer<'_>, error: &ErrorBody<'_>, details: &Details<'_>) -> Outcome {
    // A stream that fails half-way has answered 200 already; its error says the status.
    let status = match answer.status {
        200..=299 => error.number.and_then(|code| u16::try_from(code).ok()).unwrap_or(500).max(400),
        status => status,
    };
    let reason = details.reason.unwrap_or_default();
    let place = error.says(&PLACE_REFUSED_TEXTS)
        || (error.status == Some("FAILED_PRECONDITION") && error.says(&["location"]));
    let flat_quota = error.code.is_some_and(|code| FLAT_QUOTA_CODES.contains(&code));

    if KEY_REFUSED.contains(&reason) || error.says(&KEY_REFUSED_TEXTS) {
        Outcome::AuthFailed
    } else if reason == ADDRESS_REFUSED || place {
        Outcome::EgressRefused
    } else if reason == SERVERS_FULL {
        Outcome::ServerError
    } else if status == 429 || error.status == Some("RESOURCE_EXHAUSTED") || flat_quota {
        quota_outcome(answer, error, details)
    } else if error.says(&NO_KEY_TEXTS) {
        Outcome::ClientError
    } else if status == 404 && (error.message.is_empty() || error.says(&["model"])) {
        Outcome::ModelRefused
    } else {
        ProviderAnswer { status, ..*answer }.outcome_by_status(None)
    }
}

/// What a used-up quota says. Of several quotas the one that lasts longest counts
/// (google-gemini/gemini-cli#8437 lists minute and day at once).
fn quota_outcome(
    answer: &ProviderAnswer<'_>,
    error: &ErrorBody<'_>,
    details: &Details<'_>,
) -> Outcome {
    let violations = &details.violations;
    // A limit of zero means that the model is not offered to this project or tier.
    if error.limits().chain(violations.iter().filter_map(|v| v.value)).any(|limit| limit == 0) {
        return Outcome::ModelRefused;
    }
    let longest = |spent: Spent| violations.iter().any(|violation| violation.spent() == spent);
    let spent =
        [Spent::Day, Spent::Minute].into_iter().find(|spent| longest(*spent)).unwrap_or_default();
    let limit = violations.iter().filter(|v| v.spent() == spent).find_map(Violation::limit);
    let retry_after = delay::longest([
        details.retry_delay,
        // "Please retry in 36.429760048s.": the same delay, but not cut to seconds.
        delay::following(&error.message, "please retry in"),
        delay::retry_after(answer),
    ]);
    Outcome::RateLimited(RateLimit { retry_after, spent, limit })
}

/// What `error.details` holds.
#[derive(Default)]
struct Details<'a> {
    /// `google.rpc.ErrorInfo.reason`.
    reason: Option<&'a str>,
    /// `google.rpc.RetryInfo.retryDelay`. When the quota of a day is gone this is no more than
    /// the next minute (OmniRoute#9504, `inspect_ai`#5526).
    retry_delay: Option<Duration>,
    /// The quotas that are used up.
    violations: Vec<Violation<'a>>,
}

/// One used-up quota: an entry of `google.rpc.QuotaFailure`, or the metadata of an older
/// `google.rpc.ErrorInfo`.
struct Violation<'a> {
    id: Option<&'a str>,
    metric: &'a str,
    value: Option<u64>,
}

impl<'a> Details<'a> {
    fn read(details: &'a Value) -> Self {
        let mut read = Self::default();
        for detail in details.as_array().into_iter().flatten() {
            let kind = detail["@type"].as_str().unwrap_or_default();
            match kind.rsplit('.').next() {
                Some("RetryInfo") => {
                    read.retry_delay = detail["retryDelay"].as_str().and_then(delay::parse);
                }
                Some("QuotaFailure") => {
                    let violations = detail["violations"].as_array().into_iter().flatten();
                    read.violations.extend(violations.map(|violation| Violation {
                        id: violation["quotaId"].as_str(),
                        metric: violation["quotaMetric"].as_str().unwrap_or_default(),
                        value: number(&violation["quotaValue"]),
                    }));
                }
                // Details without a type, but with a reason, come from Google's front ends.
                _ => {
                    read.reason = read.reason.or(detail["reason"].as_str());
                    let metadata = &detail["metadata"];
                    if metadata["quota_limit"].is_string() {
                        read.violations.push(Violation {
                            id: metadata["quota_limit"].as_str(),
                            metric: metadata["quota_metric"].as_str().unwrap_or_default(),
                            value: number(&metadata["quota_limit_value"]),
                        });
                    }
                }
            }
        }
        read
    }
}

impl Violation<'_> {
    /// How long the quota is: its id says, as `GenerateRequestsPerDayPerProjectPerModel` does.
    fn spent(&self) -> Spent {
        let id = self.id.unwrap_or_default();
        if id.contains("PerDay") {
            Spent::Day
        } else if id.contains("PerMinute") {
            Spent::Minute
        } else {
            Spent::Unknown
        }
    }

    /// `quotaValue` is the true limit. Tokens of a day have no limit of ours to teach.
    fn limit(&self) -> Option<LearnedLimit> {
        let id = self.id.unwrap_or_default();
        let tokens = id.contains("Token") || self.metric.contains("token");
        let kind = match (self.spent(), tokens) {
            (Spent::Minute, false) => LimitKind::Rpm,
            (Spent::Minute, true) => LimitKind::Tpm,
            (Spent::Day, false) => LimitKind::Rpd,
            (Spent::Day, true) | (Spent::Unknown | Spent::Account | Spent::Month, _) => {
                return None;
            }
        };
        self.value.map(|value| LearnedLimit { kind, value })
    }
}

/// Only input tokens count towards the limit of a minute; of a stream the last chunk holds the
/// total (ai.google.dev/gemini-api/docs/rate-limits).
fn tokens_used(documents: &[Value]) -> Option<u64> {
    documents.iter().rev().find_map(|chunk| chunk["usageMetadata"]["promptTokenCount"].as_u64())
}

#[cfg(test)]
mod tests;

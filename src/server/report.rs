//! `POST /v1/report` and `POST /v1/rotate`: what came of a lease.

use std::fmt;
use std::time::Duration;

use hyper::Response;
use serde_json::Value;

use super::answer::{Body, object};
use super::fields::{Fields, whole};
use super::object::Object;
use super::problem::Problem;
use super::routes::Connection;
use super::select;
use super::selecting::Selecting;
use super::service::Service;
use crate::clock::rfc3339;
use crate::pool::{
    LeaseId, MOST_TOKENS, NoRotation, Now, Outcome, Pool, RateLimit, Report, Reported,
};
use crate::provider::{Provider, ProviderAnswer};

/// What a caller says about a lease.
struct Said {
    lease: LeaseId,
    verdict: Verdict,
    tokens_used: Option<u64>,
    wait: Option<Duration>,
}

enum Verdict {
    /// The caller's own.
    Outcome(Outcome),
    /// Ours, from the provider's answer.
    Answer { status: u16, headers: Vec<(String, String)>, body: String },
}

/// Takes note of a report.
pub(super) async fn report(
    service: &Service,
    connection: &Connection,
    body: &[u8],
) -> Result<Response<Body>, Problem> {
    let said = Said::parse(service, body, false)?;
    let report = said.report(service)?;
    let note = |pool: &mut Pool, now: Now| pool.report(said.lease, &report, now);
    let reported = service.call_among(&connection.turns, note).await;
    reported.map(|reported| noted(&reported)).map_err(Problem::gone)
}

/// Takes note of a failure and selects the next key.
pub(super) async fn rotate(
    service: &Service,
    connection: &Connection,
    body: &[u8],
    mut selecting: Selecting<'_>,
) -> Result<Response<Body>, Problem> {
    let said = Said::parse(service, body, true)?;
    let report = said.report(service)?;
    let rotated = service.call(|pool, now| {
        selecting.asks(now.at);
        pool.rotate(said.lease, &report, said.wait, now)
    });
    match rotated {
        Ok(selection) => {
            selecting.is_select();
            select::granted(service, connection, selection, selecting).await
        }
        Err(NoRotation::Gone(gone)) => Err(Problem::gone(gone)),
        Err(NoRotation::NotRetryable(reported)) => {
            Err(Problem::not_retryable(reported.outcome.name(), &reported.state))
        }
        Err(NoRotation::Refused(refusal)) => Err(selecting.refused(&refusal)),
    }
}

fn noted(reported: &Reported) -> Response<Body> {
    let until = reported.state.until().map(rfc3339);
    let noted = Object::new()
        .text("key_id", reported.key_id.as_str())
        .text("outcome", reported.outcome.name())
        .text("state", reported.state.name())
        .text_or_null("until", until.as_deref())
        .truth("retry", reported.retry);
    object(noted)
}

impl Said {
    fn parse(service: &Service, body: &[u8], may_wait: bool) -> Result<Self, Problem> {
        let mut fields = Fields::parse(body)?;
        let expected = "the lease_id of an answer to select";
        let lease = fields.take("lease_id", expected, |value| LeaseId::parse(value.as_str()?))?;
        let lease =
            lease.ok_or_else(|| Problem::invalid("lease_id", format!("expected {expected}")))?;
        let outcome = fields.take("outcome", NamesOfOutcomes, |value| {
            OUTCOMES.into_iter().find(|outcome| value.as_str() == Some(outcome.name()))
        })?;
        let retry_after = fields.whole("retry_after_ms", u64::MAX)?.map(Duration::from_millis);
        let status = fields.take("status", "an HTTP status", |value| status(&value))?;
        let headers = fields.take("headers", "an object of texts", headers)?;
        let text = fields.take("body", "a text or a JSON value", |value| Some(body_text(value)))?;
        let tokens_used = fields.whole("tokens_used", MOST_TOKENS)?;
        let wait = if may_wait { select::wait(service, &mut fields)? } else { None };
        fields.finish()?;

        if retry_after.is_some() && !matches!(outcome, Some(Outcome::RateLimited(_))) {
            let detail = "goes with the outcome rate_limited alone; a status has headers";
            return Err(Problem::invalid("retry_after_ms", detail));
        }
        let verdict = match (outcome, status) {
            (Some(Outcome::RateLimited(limit)), None) => {
                Verdict::Outcome(Outcome::RateLimited(RateLimit { retry_after, ..limit }))
            }
            (Some(outcome), None) => Verdict::Outcome(outcome),
            (None, Some(status)) => Verdict::Answer {
                status,
                headers: headers.unwrap_or_default(),
                body: text.unwrap_or_default(),
            },
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("outcome", "give outcome or status, not both"));
            }
            (None, None) => {
                let detail = "give outcome, or status with the provider's headers and body";
                return Err(Problem::invalid("outcome", detail));
            }
        };
        Ok(Self { lease, verdict, tokens_used, wait })
    }

    /// The report for the pool: the caller's verdict, or ours on the provider's answer.
    fn report(&self, service: &Service) -> Result<Report, Problem> {
        let (outcome, detail, counted) = match &self.verdict {
            Verdict::Outcome(outcome) => (*outcome, String::new(), None),
            Verdict::Answer { status, headers, body } => {
                let provider = service.call(|pool, _| pool.provider_of(self.lease));
                let provider = provider.map_err(Problem::gone)?;
                let answer = ProviderAnswer { status: *status, headers, body };
                let judged = Provider::named(&provider).classify(&answer);
                (judged.outcome, judged.detail, judged.tokens_used)
            }
        };
        let tokens_used = self.tokens_used.or(counted.map(|counted| counted.min(MOST_TOKENS)));
        // A provider may call a key by its secret.
        let detail = service.keyring.scrub(detail).into();
        Ok(Report { outcome, tokens_used, detail })
    }
}

/// The outcomes a caller can name.
const OUTCOMES: [Outcome; 7] = [
    Outcome::Success,
    Outcome::RateLimited(RateLimit::UNKNOWN),
    Outcome::AuthFailed,
    Outcome::ServerError,
    Outcome::Timeout,
    Outcome::ClientError,
    Outcome::Cancelled,
];

/// What `outcome` can be, in words.
struct NamesOfOutcomes;

impl fmt::Display for NamesOfOutcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = OUTCOMES.iter().map(|outcome| outcome.name()).collect();
        write!(f, "one of {}", names.join(", "))
    }
}

fn status(value: &Value) -> Option<u16> {
    let status = u16::try_from(whole(value)?).ok()?;
    (100..=599).contains(&status).then_some(status)
}

/// Headers as HTTP libraries give them: each a text, a number or a list of texts.
fn headers(value: Value) -> Option<Vec<(String, String)>> {
    let Value::Object(members) = value else { return None };
    let mut headers = Vec::new();
    for (name, value) in members {
        match value {
            Value::String(value) => headers.push((name, value)),
            Value::Number(number) => headers.push((name, number.to_string())),
            Value::Array(values) => {
                for value in values {
                    headers.push((name.clone(), value.as_str()?.to_owned()));
                }
            }
            Value::Null | Value::Bool(_) | Value::Object(_) => return None,
        }
    }
    Some(headers)
}

fn body_text(value: Value) -> String {
    if let Value::String(text) = value { text } else { value.to_string() }
}

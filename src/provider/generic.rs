//! Any provider keypool knows nothing about: the status decides, as HTTP means it.

use super::body::{documents, error};
use super::{AuthHeader, Classified, ProviderAnswer, delay};

/// What most APIs take (RFC 6750).
pub(super) const AUTH_HEADER: AuthHeader = AuthHeader::fixed("Authorization", "Bearer ");

pub(super) fn classify(answer: &ProviderAnswer<'_>) -> Classified {
    let documents = documents(answer.body);
    let retry_after = delay::longest([delay::retry_after(answer)]);
    let outcome = answer.outcome_by_status(retry_after);
    let codes = error(&documents).map(|error| [error.status, error.kind, error.code]);
    // Many providers copy this much of OpenAI's answers.
    let used = documents.iter().rev().find_map(|found| found["usage"]["total_tokens"].as_u64());
    answer.verdict(outcome, codes.into_iter().flatten()).with_tokens(used)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::pool::{Outcome, Spent};
    use crate::provider::Provider;
    use crate::provider::answer::spent;
    use crate::provider::tests::{answer, limited, with_header};

    #[test]
    fn the_status_decides() {
        let outcome = |status| answer(Provider::Generic, status, "").outcome;
        for status in [200, 204] {
            assert_eq!(outcome(status), Outcome::Success);
        }
        for status in [0, 100, 302, 400, 404, 413, 422] {
            assert_eq!(outcome(status), Outcome::ClientError, "{status}");
        }
        for status in [500, 502, 503, 529, 599, 999] {
            assert_eq!(outcome(status), Outcome::ServerError, "{status}");
        }
        assert_eq!(outcome(401), Outcome::AuthFailed);
        assert_eq!(outcome(402), spent(Spent::Account));
        assert_eq!(outcome(403), Outcome::ModelRefused);
        assert_eq!(outcome(408), Outcome::Timeout);
        assert_eq!(outcome(504), Outcome::Timeout);
        assert_eq!(outcome(429), spent(Spent::Unknown));
        assert_eq!(outcome(499), Outcome::Cancelled);
    }

    #[test]
    fn a_retry_after_is_believed() {
        let verdict = with_header(Provider::Generic, 429, ("Retry-After", "30"), "");
        assert_eq!(limited(&verdict).retry_after, Some(Duration::from_secs(30)));
    }

    #[test]
    fn codes_and_tokens_are_read_where_they_are_usual() {
        let verdict = answer(Provider::Generic, 400, r#"{"error":{"type":"t","code":"c"}}"#);
        assert_eq!(verdict.detail, "400 t c");
        let verdict = answer(Provider::Generic, 200, r#"{"usage":{"total_tokens":3}}"#);
        assert_eq!(verdict.tokens_used, Some(3));
    }
}

//! The free request that tells whether a provider accepts a key.
//!
//! It is a GET always: every request that providers bill is a POST. A list of models costs nothing
//! and takes nothing from the quota; it proves the key and says nothing about what is left of it.

use std::borrow::Cow;

use super::{Provider, ProviderAnswer};
use crate::pool::{Outcome, ProbeVerdict};

/// A GET request that costs nothing and tells whether a key is good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreeProbe {
    /// Where the provider is, without a slash at the end.
    pub base_url: Cow<'static, str>,
    /// The path, from its slash on.
    pub path: Cow<'static, str>,
    /// Headers beside the one with the key.
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The one status that a good key gets; any success if absent.
    pub expect: Option<u16>,
}

impl FreeProbe {
    /// A probe of `base_url` and `path`.
    pub(super) const fn fixed(base_url: &'static str, path: &'static str) -> Self {
        let (base_url, path) = (Cow::Borrowed(base_url), Cow::Borrowed(path));
        Self { base_url, path, headers: Vec::new(), expect: None }
    }

    /// The whole URL.
    pub fn url(&self) -> String {
        [&*self.base_url, &*self.path].concat()
    }

    /// What the answer of `provider` says about the key.
    pub fn verdict(&self, provider: Provider, answer: &ProviderAnswer<'_>) -> ProbeVerdict {
        if self.expect == Some(answer.status) {
            return ProbeVerdict::Accepted;
        }
        let classified = provider.classify(answer);
        let detail = classified.detail.into();
        match classified.outcome {
            Outcome::Success if self.expect.is_none() => ProbeVerdict::Accepted,
            Outcome::AuthFailed => ProbeVerdict::Rejected(detail),
            // No model is asked for, so it must be the key. Of the providers that are known, a 403
            // without their own words comes from something in between.
            Outcome::ModelRefused if provider == Provider::Generic && answer.status == 403 => {
                ProbeVerdict::Rejected(detail)
            }
            Outcome::Success
            | Outcome::RateLimited(_)
            | Outcome::ModelRefused
            | Outcome::EgressRefused
            | Outcome::ServerError
            | Outcome::Timeout
            | Outcome::ClientError
            | Outcome::Cancelled => ProbeVerdict::Unknown(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(provider: Provider) -> FreeProbe {
        let any = FreeProbe::fixed("https://api.example.com", "/me");
        provider.free_probe().unwrap_or(any)
    }

    fn verdict(provider: Provider, status: u16, body: &str) -> ProbeVerdict {
        let answer = ProviderAnswer { status, headers: &[], body };
        of(provider).verdict(provider, &answer)
    }

    fn rejected(detail: &str) -> ProbeVerdict {
        ProbeVerdict::Rejected(detail.into())
    }

    fn unknown(detail: &str) -> ProbeVerdict {
        ProbeVerdict::Unknown(detail.into())
    }

    #[test]
    fn the_built_in_probes_are_these_free_endpoints() {
        let known = [Provider::Gemini, Provider::OpenAi, Provider::Anthropic];
        let urls = known.map(|provider| of(provider).url());
        assert_eq!(
            urls,
            [
                "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1",
                "https://api.openai.com/v1/models",
                "https://api.anthropic.com/v1/models?limit=1",
            ]
        );
        let headers = known.map(|provider| of(provider).headers);
        let version = ("anthropic-version".into(), "2023-06-01".into());
        assert_eq!(headers, [vec![], vec![], vec![version]]);
        assert_eq!(Provider::Generic.free_probe(), None);
    }

    #[test]
    fn each_provider_says_in_its_own_way_that_a_key_is_no_good() {
        let gemini = r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"API key not valid.",
            "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#;
        let openai = r#"{"error":{"type":"invalid_request_error","code":"invalid_api_key"}}"#;
        let anthropic = r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;
        for (provider, status, body, detail) in [
            (Provider::Gemini, 400, gemini, "400 INVALID_ARGUMENT API_KEY_INVALID"),
            (Provider::OpenAi, 401, openai, "401 invalid_request_error invalid_api_key"),
            (Provider::Anthropic, 401, anthropic, "401 authentication_error"),
            (Provider::Generic, 401, "", "401"),
            (Provider::Generic, 403, "<html>", "403"),
        ] {
            assert_eq!(verdict(provider, status, body), rejected(detail), "{provider:?}");
        }
    }

    #[test]
    fn a_success_accepts_the_key() {
        for provider in [Provider::Gemini, Provider::OpenAi, Provider::Anthropic] {
            assert_eq!(verdict(provider, 200, r#"{"data":[]}"#), ProbeVerdict::Accepted);
        }
        assert_eq!(verdict(Provider::Generic, 204, ""), ProbeVerdict::Accepted);
    }

    #[test]
    fn what_is_not_about_the_key_says_nothing() {
        for status in [302, 404, 429, 500, 503, 529] {
            for provider in [Provider::Gemini, Provider::OpenAi, Provider::Generic] {
                assert_eq!(verdict(provider, status, ""), unknown(&status.to_string()));
            }
        }
        // A firewall on the way; a key that may not list models, but may use them.
        assert_eq!(verdict(Provider::Gemini, 403, "<html>"), unknown("403"));
        let scopes = r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.model.read."}}"#;
        assert_eq!(verdict(Provider::OpenAi, 403, scopes), unknown("403"));
    }

    #[test]
    fn an_expected_status_is_the_one_that_counts() {
        let probe = FreeProbe { expect: Some(405), ..of(Provider::Generic) };
        let verdict = |status| {
            let answer = ProviderAnswer { status, headers: &[], body: "" };
            probe.verdict(Provider::Generic, &answer)
        };
        assert_eq!(verdict(405), ProbeVerdict::Accepted);
        assert_eq!(verdict(200), unknown("200"));
        assert_eq!(verdict(401), rejected("401"));
    }
}

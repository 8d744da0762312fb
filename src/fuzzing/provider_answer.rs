//! What a provider answers.

use std::time::Duration;

use crate::clock::ManualClock;
use crate::config::Keys;
use crate::pool::{MOST_TOKENS, Outcome, ProbeVerdict, Report, SelectRequest, Selection};
use crate::provider::{Provider, ProviderAnswer};

const PROVIDERS: [Provider; 4] =
    [Provider::Gemini, Provider::OpenAi, Provider::Anthropic, Provider::Generic];

/// The longest delay that any provider is believed.
const LONGEST: Duration = Duration::from_hours(31 * 24);

/// What stands in seeds where a key would: nothing may repeat it.
const KEY: &str = "fake-secret";

/// Reads `bytes` as an answer, its status in the first line and its headers up to an empty one:
/// every provider's verdict is bounded, shows nothing of the texts, and does the pool no harm.
pub fn provider_answer(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or(429);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let answer = ProviderAnswer { status, headers: &headers, body };
    for provider in PROVIDERS {
        judge(provider, &answer);
    }
}

thread_local! {
    /// Read once, because that takes longer than all the rest.
    static KEYS: Keys = {
        let keys = br#"{"keys": [{"key_id": "a", "rpm": 2, "tpm": 9, "rpd": 3}, {"key_id": "b"}]}"#;
        super::usual().keys_of(&super::path("keys.json"), keys, true).unwrap()
    };
}

fn judge(provider: Provider, answer: &ProviderAnswer<'_>) {
    let verdict = provider.classify(answer);
    assert_eq!(verdict, provider.classify(answer), "{provider:?} judges alike twice");
    shown(&verdict.detail);
    if let Outcome::RateLimited(limit) = verdict.outcome {
        assert!(limit.retry_after.is_none_or(|delay| delay <= LONGEST && !delay.is_zero()));
        assert!(limit.limit.is_none_or(|limit| limit.value > 0));
    }
    if let Some(probe) = provider.free_probe() {
        match probe.verdict(provider, answer) {
            ProbeVerdict::Accepted => assert!((200..300).contains(&answer.status)),
            ProbeVerdict::Rejected(detail)
            | ProbeVerdict::Unknown(detail)
            | ProbeVerdict::NotReached(detail) => shown(&detail),
        }
    }
    let now = ManualClock::default().now();
    let mut pool = super::pool();
    let keys = KEYS.with(Keys::clone);
    let with_secrets = keys.secrets.keys().map(|id| (id.clone(), None)).collect();
    pool.reconfigure_with_secrets(keys.pool, &with_secrets, now);
    let tokens_used = verdict.tokens_used.map(|tokens| tokens.min(MOST_TOKENS));
    let report =
        Report { outcome: verdict.outcome, tokens_used, detail: verdict.detail.as_str().into() };
    let Ok(Selection::Granted(lease)) = pool.select(SelectRequest::default(), None, now) else {
        panic!("a fresh pool grants");
    };
    pool.report(lease.id, &report, now).unwrap();
    pool.next_due(now);
}

fn shown(detail: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || " _.-".contains(c);
    assert!(detail.len() <= 300 && detail.chars().all(plain) && !detail.contains(KEY), "{detail}");
}

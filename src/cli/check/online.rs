//! Asking the providers about each key.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;

use super::look::Seen;
use super::progress::Progress;
use crate::config::{Bootstrap, Keys};
use crate::health::ProbeClient;
use crate::pool::{KeyId, KeySettings, ProbeVerdict};
use crate::secrets::Secret;

/// What the provider of a key says about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Answer {
    /// `accepted`, `rejected`, `unknown`, `not_reached` or `no_probe`.
    pub result: &'static str,
    /// What the provider said, or why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Answer {
    fn of(verdict: &ProbeVerdict) -> Self {
        Self { result: verdict.name(), detail: verdict.detail().map(str::to_owned) }
    }

    const NO_PROBE: Self = Self { result: "no_probe", detail: None };

    /// Whether the provider does not accept the key.
    pub fn rejects(&self) -> bool {
        self.result == "rejected"
    }

    /// The same in words.
    pub fn words(&self) -> String {
        let detail = self.detail.as_deref().unwrap_or_default();
        match self.result {
            "rejected" => format!("rejected ({detail})"),
            "unknown" => format!("says nothing about the key ({detail})"),
            "not_reached" => format!("not reached: {detail}"),
            "no_probe" => "no probe for this provider".to_owned(),
            accepted => accepted.to_owned(),
        }
    }
}

/// What there is to ask: a secret, and the keys that have it.
type Questions<'a> = BTreeMap<(&'a str, &'a str), (Secret, Vec<&'a KeySettings>)>;

/// Asks about every key that has a secret and is in service, each secret once. If it takes long,
/// `progress` is told.
pub(super) fn ask(
    built: &Bootstrap,
    keys: &Keys,
    seen: &Seen,
    progress: Option<&mut dyn Write>,
) -> io::Result<BTreeMap<KeyId, Answer>> {
    let mut questions = Questions::new();
    for key in keys.pool.keys.iter().filter(|key| key.active) {
        if let Some(Ok(found)) = seen.secrets.get(&key.id) {
            let question = questions.entry((&key.provider, found.secret.expose()));
            question.or_insert_with(|| (found.secret.clone(), Vec::new())).1.push(key);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask_all(built, keys, &questions, progress))
}

async fn ask_all(
    built: &Bootstrap,
    keys: &Keys,
    questions: &Questions<'_>,
    screen: Option<&mut dyn Write>,
) -> io::Result<BTreeMap<KeyId, Answer>> {
    let mut progress = Progress::new(screen, "asking the providers");
    let probing = built.settings.probing(keys.health_check_interval);
    let client = Arc::new(ProbeClient::new(probing.settings));
    let mut answers = BTreeMap::new();
    let mut waiting = questions.iter();
    let mut under_way: JoinSet<(Vec<KeyId>, Answer)> = JoinSet::new();
    let mut done = 0;
    loop {
        while under_way.len() < probing.settings.concurrency
            && let Some(((provider, _), (secret, keys))) = waiting.next()
        {
            let ids = keys.iter().map(|key| key.id.clone()).collect();
            let (client, secret) = (client.clone(), secret.clone());
            let request = probing.request(provider);
            under_way.spawn(async move {
                let answer = match request {
                    Some(request) => Answer::of(&client.ask(&request, &secret).await),
                    None => Answer::NO_PROBE,
                };
                (ids, answer)
            });
        }
        tokio::select! {
            ended = under_way.join_next() => match ended {
                Some(ended) => {
                    let (ids, answer) = ended.map_err(io::Error::other)?;
                    answers.extend(ids.into_iter().map(|id| (id, answer.clone())));
                    done += 1;
                }
                None => break,
            },
            () = progress.beat() => progress.show(done, questions.len())?,
        }
    }
    progress.end()?;
    Ok(answers)
}

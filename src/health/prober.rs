//! The part of the daemon that probes keys when they are due.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::asking::{AskedProbe, AskedProbes, NotProbed, Probed, Waiter};
use super::client::ProbeClient;
use super::settings::Probing;
use crate::clock::Clock;
use crate::pool::{Instant, Now, Pool, ProbeTarget, ProbeVerdict, SharedPool};
use crate::secrets::{Keyring, Secret};
use crate::telemetry::{Journal, Metrics};

/// Probes the keys of a pool when they are due.
#[derive(Debug)]
pub struct Prober {
    pool: Arc<SharedPool>,
    keyring: Arc<Keyring>,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    clock: Clock,
    probing: watch::Receiver<Arc<Probing>>,
    asked: AskedProbes,
    /// What is due and waits for its turn.
    queue: VecDeque<Due>,
    client: Arc<ProbeClient>,
}

/// A probe that is due, and who waits for it.
#[derive(Debug)]
struct Due {
    target: ProbeTarget,
    waiter: Option<Waiter>,
}

/// A probe that has ended.
struct Ended {
    due: Due,
    /// What was asked about; none if the key has lost its secret meanwhile.
    secret: Option<Secret>,
    verdict: ProbeVerdict,
    took: Duration,
}

impl Prober {
    /// A prober that follows `probing`.
    pub fn new(
        pool: Arc<SharedPool>,
        keyring: Arc<Keyring>,
        journal: Arc<Journal>,
        metrics: Arc<Metrics>,
        clock: Clock,
        probing: watch::Receiver<Arc<Probing>>,
        asked: AskedProbes,
    ) -> Self {
        let client = Arc::new(ProbeClient::new(probing.borrow().settings));
        let queue = VecDeque::new();
        Self { pool, keyring, journal, metrics, clock, probing, asked, queue, client }
    }

    /// Probes until `stopping` is cancelled. What is under way then is given up.
    pub async fn run(mut self, stopping: CancellationToken) -> io::Result<()> {
        let mut under_way: JoinSet<Ended> = JoinSet::new();
        let mut next = Instant::ZERO;
        loop {
            let probing = self.probing.borrow().clone();
            if probing.settings.enabled && next <= self.clock.now().at {
                next = self.begin_round(&probing);
            }
            self.begin_queued(&probing, &mut under_way);
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                changed = self.probing.changed() => {
                    changed.map_err(io::Error::other)?;
                    self.client = Arc::new(ProbeClient::new(self.probing.borrow().settings));
                    next = Instant::ZERO;
                }
                Some(asked) = self.asked.next() => self.queue_asked(asked, &probing),
                Some(ended) = under_way.join_next() => self.end(ended.map_err(io::Error::other)?),
                () = self.pool.probes_moved(), if probing.settings.enabled => next = Instant::ZERO,
                () = self.clock.sleep_until(next), if probing.settings.enabled => {}
            }
        }
    }

    /// Queues what is due, and says when to look again.
    fn begin_round(&mut self, probing: &Probing) -> Instant {
        let asked = |provider: &str| probing.request(provider).is_some();
        let round = self.call(|pool, now| pool.probe_round(probing.every, asked, now));
        self.queue.extend(round.due.into_iter().map(|target| Due { target, waiter: None }));
        round.next
    }

    /// Queues what somebody waits for, before everything else.
    fn queue_asked(&mut self, asked: AskedProbe, probing: &Probing) {
        let AskedProbe { key_id, waiter } = asked;
        let has_secret = self.keyring.secret(&key_id).is_some();
        let begun = self.call(|pool, now| {
            let provider = pool.key(key_id.as_str(), now).map(|key| key.settings.provider.clone());
            let provider = provider.ok_or(NotProbed::NoSuchKey)?;
            if probing.request(&provider).is_none() {
                return Err(NotProbed::NoProbe);
            }
            if !has_secret {
                return Err(NotProbed::NoSecret);
            }
            pool.probe_now(&key_id, probing.every, now).ok_or(NotProbed::NoSuchKey)
        });
        match begun {
            Ok(target) => self.queue.push_front(Due { target, waiter: Some(waiter) }),
            // Who has gone does not want to know.
            Err(why) => drop(waiter.send(Err(why))),
        }
    }

    fn begin_queued(&mut self, probing: &Probing, under_way: &mut JoinSet<Ended>) {
        while under_way.len() < probing.settings.concurrency
            && let Some(due) = self.queue.pop_front()
        {
            let (client, clock) = (self.client.clone(), self.clock.clone());
            let secret = self.keyring.secret(&due.target.key_id);
            let request = probing.request(&due.target.provider);
            under_way.spawn(async move {
                let begun = clock.now().at;
                let verdict = match (&request, &secret) {
                    (Some(request), Some(secret)) => client.ask(request, secret).await,
                    (None, _) => ProbeVerdict::NotReached("no probe for this provider".into()),
                    (_, None) => ProbeVerdict::NotReached("no secret".into()),
                };
                let took = clock.now().at.since(begun);
                Ended { due, secret, verdict, took }
            });
        }
    }

    fn end(&self, ended: Ended) {
        let Ended { due: Due { target, waiter }, secret, verdict, took } = ended;
        tracing::debug!(
            key_id = %target.key_id,
            verdict = verdict.name(),
            detail = verdict.detail(),
            took_ms = took.as_millis(),
            "probed"
        );
        self.metrics.probed(&verdict);
        let present = self.keyring.secret(&target.key_id);
        let replaced = match (&secret, &present) {
            (Some(asked), Some(present)) => asked.expose() != present.expose(),
            (None, _) | (_, None) => false,
        };
        self.call(|pool, now| {
            if replaced {
                pool.probe_again(&target, now);
            } else {
                pool.probed(&target, &verdict, took, now);
            }
        });
        if let Some(waiter) = waiter {
            waiter.send(Ok(Probed { verdict, took })).ok();
        }
    }

    fn call<T>(&self, call: impl FnOnce(&mut Pool, Now) -> T) -> T {
        let (result, transitions) = self.pool.call(self.clock.now(), call);
        self.metrics.changed(&transitions);
        self.journal.record(transitions);
        result
    }
}

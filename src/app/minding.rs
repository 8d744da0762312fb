//! Putting secrets in use as they turn up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::loading::Loader;
use crate::server::Service;

/// How often secrets that are missing are looked for again.
const SECRET_RETRY: Duration = Duration::from_secs(5);

/// Puts secrets in use as they turn up: looks for missing ones again and again, takes what the
/// stores of other machines answer, and has those looked up anew that a provider refuses.
pub(super) async fn mind_the_secrets(loader: Arc<Loader>, service: Arc<Service>) -> io::Result<()> {
    let stopping = service.stopping.clone();
    let mut answers = service.remote_secrets.news();
    let mut events = service.journal.follow();
    let mut retry_at = service.clock.now().at.plus(SECRET_RETRY);
    let mind = async {
        loop {
            let work = tokio::select! {
                () = service.clock.sleep_until(retry_at) => Work::RetryMissing,
                answered = answers.changed() => {
                    answered.map_err(io::Error::other)?;
                    Work::TakeRemote
                }
                event = events.recv() => match event {
                    // Who misses a death learns of the next secret at its usual time.
                    Ok(event) => match (event.event, &event.key_id) {
                        ("dead", Some(key_id)) => Work::Doubt(key_id.to_string()),
                        _ => continue,
                    },
                    Err(_) => continue,
                },
            };
            if let Work::RetryMissing = work {
                retry_at = service.clock.now().at.plus(SECRET_RETRY);
            }
            let (loader, service) = (loader.clone(), service.clone());
            spawn_blocking(move || work.carry_out(&loader, &service)).await?;
        }
    };
    tokio::select! {
        () = stopping.cancelled() => Ok(()),
        ended = mind => ended,
    }
}

/// What there is to do about secrets.
enum Work {
    RetryMissing,
    TakeRemote,
    /// The provider of a key does not accept its secret.
    Doubt(String),
}

impl Work {
    fn carry_out(self, loader: &Loader, service: &Service) {
        match self {
            Self::RetryMissing => loader.retry_missing(service),
            Self::TakeRemote => loader.take_remote(service),
            Self::Doubt(key_id) => loader.doubt(service, &key_id),
        }
    }
}

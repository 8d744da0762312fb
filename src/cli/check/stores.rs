//! Asking the stores on other machines for the secrets of keys, once.

use std::io::{self, Write};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::clock::Clock;
use crate::config::{Bootstrap, Keys};
use crate::secrets::{FailureClass, RemoteRef, RemoteSecrets, RemoteStore, RemoteStores};

/// Asks for every secret once. If it takes long, `screen` is told.
pub(super) fn ask(
    built: &Bootstrap,
    keys: &Keys,
    screen: Option<&mut dyn Write>,
) -> io::Result<Arc<RemoteSecrets>> {
    let remote = Arc::new(RemoteSecrets::new(Clock::System));
    let wanted = keys.remote_secrets();
    if wanted.is_empty() {
        return Ok(remote);
    }
    let local = &built.stores;
    let stores = RemoteStores::new(&local.environment, &local.process, &Clock::System);
    remote.want(wanted, &Arc::new(stores), built.settings.secrets.refresh);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(until_all_tried(&remote, screen))?;
    Ok(remote)
}

async fn until_all_tried(
    remote: &Arc<RemoteSecrets>,
    screen: Option<&mut dyn Write>,
) -> io::Result<()> {
    let mut progress = Progress::new(screen, "asking the stores for secrets");
    let mut news = remote.news();
    let mut fetching = std::pin::pin!(Arc::clone(remote).run(CancellationToken::new()));
    loop {
        let (tried, all) = remote.tried();
        if tried == all {
            return progress.end();
        }
        progress.show(tried, all)?;
        tokio::select! {
            ended = &mut fetching => return ended,
            changed = news.changed() => changed.map_err(io::Error::other)?,
            () = progress.beat() => {}
        }
    }
}

/// What to do about a secret that a store does not give.
pub(super) fn mend(class: Option<FailureClass>, reference: &RemoteRef) -> String {
    let (store, name) = (reference.store, &reference.name);
    match class {
        Some(FailureClass::Gone | FailureClass::Unusable) => match store {
            RemoteStore::Vault => format!("write it with: vault kv put {name} value=-"),
            RemoteStore::Aws => format!(
                "write it with: aws secretsmanager create-secret --name {name} --secret-string \
                 file:///dev/stdin"
            ),
            RemoteStore::Azure => format!(
                "write it with: az keyvault secret set --name {name} --file /dev/stdin --vault-name …"
            ),
        },
        Some(FailureClass::Denied) => match store {
            RemoteStore::Vault => "let the token's policy read it".to_owned(),
            RemoteStore::Aws => "allow secretsmanager:GetSecretValue on it".to_owned(),
            RemoteStore::Azure => "give the role Key Vault Secrets User on the vault".to_owned(),
        },
        Some(FailureClass::Unset | FailureClass::Unavailable) | None => {
            "see that the store can be reached from here".to_owned()
        }
    }
}

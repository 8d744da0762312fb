//! Looking up the names of vaults and login services.
//!
//! By the system, but for the names under `localhost`, which RFC 6761 wants to be this machine and
//! many a system does not know. What stands in for a vault on this machine needs such a name: the
//! SDK logs in for a vault only if the name of the vault is under that of the resource.

use std::net::{Ipv4Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Finds the addresses of a name.
#[derive(Debug)]
pub(super) struct Lookup;

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            if name.as_str().ends_with(".localhost") {
                let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                return Ok(Box::new(std::iter::once(here)) as Addrs);
            }
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_under_localhost_are_this_machine() {
        for name in ["localhost", "pool.vault.localhost"] {
            let found = Lookup.resolve(name.parse().unwrap()).await.unwrap();
            let addresses: Vec<_> = found.collect();
            assert!(!addresses.is_empty(), "{name}");
            assert!(addresses.iter().all(|address| address.ip().is_loopback()), "{name}");
        }
    }
}

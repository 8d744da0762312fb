//! One request to the vault and its answer, within its time and bounds.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Client, RequestBuilder, StatusCode};
use url::Url;
use zeroize::Zeroizing;

use super::super::super::{Content, Process, Secret, read_protected};
use super::super::Failure;
use super::reply::Reply;
use super::settings::Settings;
use crate::https::{self, Trouble};

/// The longest a request may take, as in Vault's own agents.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an unused connection is kept: for the other secrets of one round, and shorter than any
/// server would.
const IDLE: Duration = Duration::from_secs(15);

/// The longest answer. A vault takes no secret that is longer.
const MOST_READ: usize = 1024 * 1024;

/// Speaks to the vault. It costs nothing until it is first used.
#[derive(Debug, Default)]
pub(super) struct Wire {
    client: Mutex<Option<Client>>,
}

impl Wire {
    /// Asks for what is at `path`.
    pub(super) async fn get(
        &self,
        settings: &Settings,
        path: &[&str],
        token: &Secret,
    ) -> Result<Reply, Failure> {
        let request = self.client(settings)?.get(url(settings, path));
        exchange(settings, request, Some(token)).await
    }

    /// Sends the JSON `body` to `path`.
    pub(super) async fn post(
        &self,
        settings: &Settings,
        path: &[&str],
        token: Option<&Secret>,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Reply, Failure> {
        let request = self.client(settings)?.post(url(settings, path));
        let request = request.header(CONTENT_TYPE, "application/json");
        exchange(settings, request.body(Bytes::from_owner(body)), token).await
    }

    fn client(&self, settings: &Settings) -> Result<Client, Failure> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let client = build(settings.authorities.as_deref(), &settings.process)?;
        Ok(kept.insert(client).clone())
    }
}

fn build(authorities: Option<&Path>, process: &Process) -> Result<Client, Failure> {
    let mut builder = https::client()
        .timeout(TIMEOUT)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(2);
    if let Some(path) = authorities {
        builder = builder.tls_certs_only(certificates(path, process)?);
    }
    builder.build().map_err(|_| {
        Failure::unset(match authorities {
            Some(_) => NO_CERTIFICATE,
            None => "no TLS: are there CA certificates (package ca-certificates)?",
        })
    })
}

const NO_CERTIFICATE: &str = "the file of VAULT_CACERT is no PEM certificate";

fn certificates(path: &Path, process: &Process) -> Result<Vec<Certificate>, Failure> {
    let file = read_protected(path, Content::Configuration, process);
    let file =
        file.map_err(|refusal| Failure::unset(format!("the file of VAULT_CACERT: {refusal}")))?;
    let certificates = Certificate::from_pem_bundle(&file.bytes).unwrap_or_default();
    if certificates.is_empty() { Err(Failure::unset(NO_CERTIFICATE)) } else { Ok(certificates) }
}

/// The address of the API at `path`, whose segments may hold anything.
fn url(settings: &Settings, path: &[&str]) -> Url {
    let mut url = settings.address.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push("v1").extend(path);
    }
    url
}

async fn exchange(
    settings: &Settings,
    mut request: RequestBuilder,
    token: Option<&Secret>,
) -> Result<Reply, Failure> {
    // An agent or proxy of Vault may insist on it, to tell programs from tricked browsers.
    request = request.header("x-vault-request", "true");
    if let Some(namespace) = &settings.namespace {
        request = request.header("x-vault-namespace", namespace);
    }
    if let Some(token) = token {
        let value = HeaderValue::from_str(token.expose());
        let mut value = value.map_err(|_| unavailable("the token has a control character"))?;
        value.set_sensitive(true);
        request = request.header("x-vault-token", value);
    }
    let told = |error| unavailable(&Trouble::of(&error).to_string());
    let mut response = request.send().await.map_err(told)?;
    let status = response.status();
    if status.is_redirection() {
        return Err(unavailable(&redirected(status)));
    }
    let body = https::beginning(&mut response, MOST_READ + 1).await.map_err(told)?;
    if body.len() > MOST_READ {
        return Err(unavailable("the answer is longer than 1 MiB"));
    }
    Ok(Reply { status: status.as_u16(), body })
}

/// A standby sends its callers on to another host, which may be anybody's.
fn redirected(status: StatusCode) -> String {
    format!("the vault sends us elsewhere ({}), and no token goes there", status.as_u16())
}

/// The vault cannot be asked or cannot answer, because of `why`.
pub(super) fn unavailable(why: &str) -> Failure {
    Failure::unavailable(why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::super::super::Environment;
    use super::*;

    fn settings(address: &str) -> Settings {
        let variables = [("VAULT_ADDR", address), ("VAULT_TOKEN", "fake-token")];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let process = Process::new(variables);
        Settings::of(&Environment::new(&process), &process).unwrap()
    }

    #[test]
    fn a_path_is_added_to_the_address_segment_by_segment() {
        let url = |address, path: &[&str]| url(&settings(address), path).to_string();
        assert_eq!(
            url("https://vault.example", &["kv", "data", "a"]),
            "https://vault.example/v1/kv/data/a"
        );
        assert_eq!(url("https://vault.example/in/", &["kv"]), "https://vault.example/in/v1/kv");
        assert_eq!(
            url("https://vault.example", &["kv", "a/../b?c#d %2e é"]),
            "https://vault.example/v1/kv/a%2F..%2Fb%3Fc%23d%20%252e%20%C3%A9"
        );
    }

    #[test]
    fn authorities_that_are_none_are_told() {
        let told = |path: &Path| build(Some(path), &Process::new([])).unwrap_err().to_string();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let missing = "the file of VAULT_CACERT: there is no such file";
        assert_eq!(told(&path), missing);
        let broken = "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n";
        for text in ["", "no certificate", broken] {
            fs::write(&path, text).unwrap();
            assert_eq!(told(&path), NO_CERTIFICATE, "{text}");
        }
    }
}

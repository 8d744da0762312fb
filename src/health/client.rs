//! One probe: a GET to the provider, within its time and bounds.

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, redirect};

use super::endpoint::Endpoint;
use super::lookup::{Lookup, NoAddress};
use super::settings::{ProbeRequest, ProbeSettings};
use crate::pool::ProbeVerdict;
use crate::provider::ProviderAnswer;
use crate::secrets::Secret;

/// The most of an answer that is read: errors are shorter, and of a success only the status counts.
const MOST_READ: usize = 64 * 1024;

/// The longest a connection may take to come about, if the probe has more time.
const CONNECT: Duration = Duration::from_secs(3);

const USER_AGENT: &str = concat!("keypool/", env!("CARGO_PKG_VERSION"));

/// Asks providers about keys. It costs nothing until it is first used.
#[derive(Debug)]
pub struct ProbeClient {
    settings: ProbeSettings,
    client: Mutex<Option<Client>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("{0}")]
    Refused(#[from] super::EndpointRefused),
    #[error("timeout")]
    Timeout,
    #[error("the probe's headers are not valid")]
    Headers,
    #[error("no TLS: are there CA certificates (package ca-certificates)?")]
    NoTls,
    #[error("{}", why(.0))]
    Failed(reqwest::Error),
}

impl ProbeClient {
    /// A client that has not been used.
    pub fn new(settings: ProbeSettings) -> Self {
        Self { settings, client: Mutex::new(None) }
    }

    /// Asks about the key `secret`.
    pub async fn ask(&self, request: &ProbeRequest, secret: &Secret) -> ProbeVerdict {
        let answer = tokio::time::timeout(self.settings.timeout, self.exchange(request, secret));
        match answer.await.unwrap_or(Err(NoAnswer::Timeout)) {
            Ok(verdict) => verdict,
            Err(error) => ProbeVerdict::NotReached(error.to_string().into()),
        }
    }

    async fn exchange(
        &self,
        request: &ProbeRequest,
        secret: &Secret,
    ) -> Result<ProbeVerdict, NoAnswer> {
        let endpoint = Endpoint::parse(&request.probe.url(), self.settings.allow_private)?;
        let headers = headers(request, secret).ok_or(NoAnswer::Headers)?;
        let get = self.client()?.get(endpoint.into_url()).headers(headers);
        let mut response = get.send().await.map_err(NoAnswer::of)?;
        let body = beginning(&mut response).await.map_err(NoAnswer::of)?;
        let headers: Vec<(String, String)> = response.headers().iter().map(text).collect();
        let status = response.status().as_u16();
        let answer =
            ProviderAnswer { status, headers: &headers, body: &String::from_utf8_lossy(&body) };
        Ok(request.probe.verdict(request.provider, &answer))
    }

    fn client(&self) -> Result<Client, NoAnswer> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let client = build(self.settings)?;
        Ok(kept.insert(client).clone())
    }
}

fn build(settings: ProbeSettings) -> Result<Client, NoAnswer> {
    // The only one in the program; another part may have been first.
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .https_only(!settings.allow_private)
        .dns_resolver(Arc::new(Lookup::new(settings.allow_private)))
        .timeout(settings.timeout)
        .connect_timeout(settings.timeout.min(CONNECT))
        // The next probe is far away: a kept connection would be closed by then, and its address
        // would not have been checked again.
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|_| NoAnswer::NoTls)
}

fn headers(request: &ProbeRequest, secret: &Secret) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.probe.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.insert(name, HeaderValue::from_str(value).ok()?);
    }
    let name = HeaderName::from_bytes(request.auth_header.name.as_bytes()).ok()?;
    let value = zeroize::Zeroizing::new(request.auth_header.value(secret.expose()));
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Some(headers)
}

async fn beginning(response: &mut Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        let room = MOST_READ - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if body.len() == MOST_READ {
            break;
        }
    }
    Ok(body)
}

fn text((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
}

impl NoAnswer {
    fn of(error: reqwest::Error) -> Self {
        if error.is_timeout() { Self::Timeout } else { Self::Failed(error.without_url()) }
    }
}

/// What went wrong, in our own words: those of libraries may quote what they choked on.
fn why(error: &reqwest::Error) -> &'static str {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<NoAddress>() {
            Some(NoAddress::Unknown) => return "the name has no address",
            Some(NoAddress::Private) => return "the name has no public address",
            None => {}
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return "no trust: the certificate or the TLS of the other side is not accepted";
        }
        cause = error.source();
    }
    if error.is_connect() { "no connection" } else { "the connection broke" }
}

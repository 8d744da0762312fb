//! How the SDK reaches the vault and the login service: through reqwest, with our bounds.
//!
//! What goes wrong leaves as a [`Failure`] inside of the SDK's error, of a kind that the SDK
//! neither retries nor looks into.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Request};
use azure_core::{Error, Result};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Certificate, Client, Response};
use url::Url;

use super::super::super::{Content, Process, read_protected};
use super::super::Failure;
use super::login;
use super::lookup::Lookup;
use super::settings::{Identity, Settings};
use crate::https::{self, Trouble};

/// The most of an answer that is read: a secret has 25 KB at most, a token a few.
const MOST_READ: usize = 256 * 1024;

/// The longest a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// Servers close a connection that is idle for longer.
const IDLE: Duration = Duration::from_secs(15);

/// Sends the requests of the SDK to one side.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    peer: Peer,
}

/// Who is asked.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// The vault.
    Vault,
    /// Where an application or a pod gets its tokens.
    Login,
    /// Where the machine gets its tokens.
    Metadata {
        /// What answers in the place of the address that all machines know.
        instead: Option<Url>,
    },
}

impl Peer {
    /// In the middle of a sentence.
    const fn name(&self) -> &'static str {
        match self {
            Self::Vault => "the vault",
            Self::Login => "the login service",
            Self::Metadata { .. } => "the managed identity",
        }
    }
}

/// The client for all requests. `limit` bounds each of them.
pub(super) fn client(settings: &Settings, limit: Duration) -> std::result::Result<Client, Failure> {
    let mut builder = https::client()
        // The machine's own metadata service speaks HTTP; for the vault the SDK insists on TLS.
        .https_only(!matches!(settings.identity, Identity::Managed { .. }))
        .dns_resolver(Arc::new(Lookup))
        .timeout(limit)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(2);
    if let Some(path) = &settings.ca_file {
        // Beside those of the machine, which vouch for the login service.
        builder = builder.tls_certs_merge(certificates(path, &settings.process)?);
    }
    builder.build().map_err(|_| {
        Failure::unset(
            "cannot be fetched: no TLS: are there CA certificates (package ca-certificates)?",
        )
    })
}

fn certificates(path: &Path, process: &Process) -> std::result::Result<Vec<Certificate>, Failure> {
    let unset =
        |why: String| Failure::unset(format!("cannot be fetched: the file of AZURE_CA_FILE{why}"));
    let file = read_protected(path, Content::Configuration, process);
    let file = file.map_err(|refusal| unset(format!(": {refusal}")))?;
    let certificates = Certificate::from_pem_bundle(&file.bytes).unwrap_or_default();
    if certificates.is_empty() {
        return Err(unset(" is no PEM certificate".to_owned()));
    }
    Ok(certificates)
}

impl Transport {
    pub(super) fn new(client: Client, peer: Peer) -> Self {
        Self { client, peer }
    }

    async fn exchange(&self, request: &Request) -> std::result::Result<AsyncRawResponse, Failure> {
        let method = request.method();
        let method = reqwest::Method::from_bytes(method.as_str().as_bytes())
            .map_err(|_| self.makes_no_sense())?;
        let headers = headers(request).ok_or_else(|| self.makes_no_sense())?;
        let mut sent = self.client.request(method, self.url(request)).headers(headers);
        if let Body::Bytes(bytes) = request.body() {
            sent = sent.body(bytes.clone());
        }
        let mut response = sent.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status().as_u16();
        let headers = heard(&response);
        let body = https::beginning(&mut response, MOST_READ + 1).await;
        let body = body.map_err(|error| self.broken(&error))?;
        if body.len() > MOST_READ {
            let who = self.peer.name();
            return Err(Failure::unavailable(format!(
                "cannot be fetched: the answer of {who} is longer than 256 KiB"
            )));
        }
        match self.peer {
            Peer::Vault => {}
            Peer::Login | Peer::Metadata { .. } if status == 200 => {
                login::token(&body).ok_or_else(|| self.makes_no_sense())?;
            }
            Peer::Login | Peer::Metadata { .. } => {
                return Err(login::refusal(self.peer.name(), status, &body));
            }
        }
        // Bytes are shared from here on, and freed without being wiped.
        Ok(AsyncRawResponse::from_bytes(status.into(), headers, body.to_vec()))
    }

    fn url(&self, request: &Request) -> Url {
        let mut url = request.url().clone();
        if let Peer::Metadata { instead: Some(instead) } = &self.peer {
            let path = url[url::Position::BeforePath..].to_owned();
            if let Ok(moved) = instead.join(&path) {
                url = moved;
            }
        }
        url
    }

    fn makes_no_sense(&self) -> Failure {
        let who = self.peer.name();
        Failure::unavailable(format!("cannot be fetched: the answer of {who} makes no sense"))
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        let who = self.peer.name();
        Failure::unavailable(format!("cannot be fetched: {who}: {}", Trouble::of(error)))
    }
}

#[async_trait::async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> Result<AsyncRawResponse> {
        let answer = self.exchange(request).await;
        answer.map_err(|failure| Error::new(ErrorKind::Other, failure))
    }
}

fn headers(request: &Request) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers().iter() {
        let name: reqwest::header::HeaderName = name.as_str().parse().ok()?;
        let mut value = reqwest::header::HeaderValue::from_str(value.as_str()).ok()?;
        value.set_sensitive(name == AUTHORIZATION || name == "x-identity-header");
        headers.insert(name, value);
    }
    Some(headers)
}

fn heard(response: &Response) -> Headers {
    let text = response.headers().iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?.to_owned();
        Some((HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value)))
    });
    text.collect::<HashMap<_, _>>().into()
}

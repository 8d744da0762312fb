//! The connections of the SDK, by the HTTP client that the rest of the program uses.
//!
//! It heeds no proxy and follows no redirect, speaks plain HTTP only with this machine and with
//! the link-local addresses where containers and instances ask who they are, and reads no answer
//! beyond its bound. Answers are wiped when the SDK drops them.

use std::time::Duration;

use aws_sdk_secretsmanager::config::{HttpClient, RuntimeComponents};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use hyper::body::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response};
use url::{Host, Url};

use super::settings::is_this_machine;
use crate::https::{self, Trouble};

/// The most of an answer that is read. A secret has 64 KiB at most, six times that if every
/// character of it is escaped.
const MOST_READ: usize = 512 * 1024;

/// The longest a connection may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// How long a connection is kept for the next secret of the same round. Servers keep them longer.
const IDLE: Duration = Duration::from_secs(15);

/// Makes the requests of the SDK.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    client: Client,
    /// For one whole exchange, if the SDK sets it.
    timeout: Option<Duration>,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The request is none that can be sent.
    #[error("the request cannot be sent")]
    NoRequest,
    /// Plain HTTP to elsewhere.
    #[error("the address is not https")]
    NotHttps,
    /// No answer came, or a part of one.
    #[error("{0}")]
    Trouble(#[from] Trouble),
    /// It does not end.
    #[error("the answer is too long")]
    TooLong,
}

/// There are no certificates to check the other side with.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no TLS: are there CA certificates (package ca-certificates)?")]
pub(super) struct NoTls;

impl Connections {
    /// Connections that have not been made yet.
    pub(super) fn new() -> Result<Self, NoTls> {
        let client = https::client()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(2)
            .build()
            .map_err(|_| NoTls)?;
        Ok(Self { client, timeout: None })
    }

    async fn exchange(self, request: HttpRequest) -> Result<HttpResponse, NoAnswer> {
        let request = self.request(&request)?;
        let response = self.client.execute(request).await.map_err(|error| Trouble::of(&error))?;
        answer(response).await
    }

    fn request(&self, request: &HttpRequest) -> Result<reqwest::Request, NoAnswer> {
        let url = Url::parse(request.uri()).map_err(|_| NoAnswer::NoRequest)?;
        if url.scheme() != "https" && !is_this_machine(&url) && !is_metadata(&url) {
            return Err(NoAnswer::NotHttps);
        }
        let method =
            Method::from_bytes(request.method().as_bytes()).map_err(|_| NoAnswer::NoRequest)?;
        let mut sent = reqwest::Request::new(method, url);
        *sent.headers_mut() = headers(request)?;
        *sent.timeout_mut() = self.timeout;
        // All requests are made of values: there is no stream among them.
        let body = request.body().bytes().ok_or(NoAnswer::NoRequest)?;
        *sent.body_mut() = Some(body.to_vec().into());
        Ok(sent)
    }
}

/// Whether a container or an instance asks at `url` who it is.
fn is_metadata(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_link_local(),
        Some(Host::Ipv6(address)) => address.segments()[..2] == [0xfd00, 0x0ec2],
        Some(Host::Domain(_)) | None => false,
    }
}

fn headers(request: &HttpRequest) -> Result<HeaderMap, NoAnswer> {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| NoAnswer::NoRequest)?;
        let mut value = HeaderValue::from_str(value).map_err(|_| NoAnswer::NoRequest)?;
        // Signatures, session tokens and those of the metadata service are among them.
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

async fn answer(mut response: Response) -> Result<HttpResponse, NoAnswer> {
    let status = response.status().as_u16().try_into().map_err(|_| Trouble::Broken)?;
    // One byte more tells an answer that is too long.
    let body = https::beginning(&mut response, MOST_READ + 1).await;
    let body = body.map_err(|error| Trouble::of(&error))?;
    if body.len() > MOST_READ {
        return Err(NoAnswer::TooLong);
    }
    let mut answer = HttpResponse::new(status, SdkBody::from(Bytes::from_owner(body)));
    for (name, value) in response.headers() {
        // What is no text, or is said twice, is nothing that the SDK asks for.
        if let Ok(value) = value.to_str() {
            answer.headers_mut().insert(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(answer)
}

impl HttpClient for Connections {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let timeout = settings.read_timeout();
        SharedHttpConnector::new(Self { client: self.client.clone(), timeout })
    }
}

impl HttpConnector for Connections {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let exchange = self.clone().exchange(request);
        HttpConnectorFuture::new(async { exchange.await.map_err(NoAnswer::into_connector_error) })
    }
}

impl NoAnswer {
    fn into_connector_error(self) -> ConnectorError {
        match self {
            Self::NoRequest | Self::NotHttps => ConnectorError::user(self.into()),
            Self::Trouble(Trouble::Timeout) => ConnectorError::timeout(self.into()),
            Self::Trouble(Trouble::NoConnection | Trouble::Broken) => {
                ConnectorError::io(self.into())
            }
            Self::Trouble(_) | Self::TooLong => ConnectorError::other(self.into(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str) -> Result<reqwest::Request, NoAnswer> {
        let mut request = HttpRequest::empty();
        request.set_uri(url).unwrap();
        request.headers_mut().insert("authorization", "fake-secret-flash-01");
        Connections::new().unwrap().request(&request)
    }

    #[test]
    fn plain_http_goes_to_this_machine_and_to_metadata_alone() {
        for url in [
            "https://secretsmanager.us-east-1.amazonaws.com/",
            "http://127.0.0.1:5055/",
            "http://[::1]:5055/",
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2/v2/credentials",
            "http://[fd00:ec2::254]/latest/api/token",
        ] {
            assert!(request(url).is_ok(), "{url}");
        }
        for url in ["http://sts.amazonaws.com/", "http://10.0.0.1/", "http://[fd00::1]/"] {
            assert_eq!(request(url).unwrap_err(), NoAnswer::NotHttps, "{url}");
        }
    }

    #[test]
    fn headers_are_marked_as_secrets() {
        let shown = format!("{:?}", request("https://localhost/").unwrap());
        assert!(!shown.contains("fake-secret"), "{shown}");
    }
}

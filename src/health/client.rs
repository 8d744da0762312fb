//! One probe: a GET to the provider, within its time and bounds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::endpoint::Endpoint;
use super::lookup::{Lookup, NoAddress};
use super::settings::{ProbeRequest, ProbeSettings};
use crate::https::{self, Trouble};
use crate::pool::ProbeVerdict;
use crate::provider::ProviderAnswer;
use crate::secrets::Secret;

/// The most of an answer that is read: errors are shorter, and of a success only the status counts.
const MOST_READ: usize = 64 * 1024;

/// The longest a connection may take to come about, if the probe has more time.
const CONNECT: Duration = Duration::from_secs(3);

/// Asks providers about keys. It costs nothing until it is first used.
#[derive(Debug)]
pub struct ProbeClient {
    settings: ProbeSettings,
    lookup: Lookup,
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
    #[error("the name has no address")]
    NoAddress,
    #[error("the name has no public address")]
    PrivateAddress,
    #[error("{0}")]
    Failed(Trouble),
}

impl ProbeClient {
    /// A client that has not been used.
    pub fn new(settings: ProbeSettings) -> Self {
        let lookup = Lookup::new(settings.allow_private);
        Self { settings, lookup, client: Mutex::new(None) }
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
        let mut response = get.send().await.map_err(|error| NoAnswer::of(&error))?;
        let body = https::beginning(&mut response, MOST_READ).await;
        let body = body.map_err(|error| NoAnswer::of(&error))?;
        let headers: Vec<(String, String)> = response.headers().iter().map(text).collect();
        let status = response.status().as_u16();
        let answer =
            ProviderAnswer { status, headers: &headers, body: &String::from_utf8_lossy(&body) };
        let verdict = request.probe.verdict(request.provider, &answer);
        // A provider may call a key by its secret.
        Ok(verdict.reworded(|said| secret.scrub(said).into()))
    }

    fn client(&self) -> Result<Client, NoAnswer> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let client = build(self.settings, self.lookup.clone())?;
        Ok(kept.insert(client).clone())
    }
}

fn build(settings: ProbeSettings, lookup: Lookup) -> Result<Client, NoAnswer> {
    https::client()
        .https_only(!settings.allow_private)
        .dns_resolver(Arc::new(lookup))
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

fn text((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
}

impl NoAnswer {
    fn of(error: &reqwest::Error) -> Self {
        match https::causes(error).find_map(|cause| cause.downcast_ref::<NoAddress>()) {
            Some(NoAddress::Unknown) => Self::NoAddress,
            Some(NoAddress::Private) => Self::PrivateAddress,
            None => Self::Failed(Trouble::of(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::provider::FreeProbe;

    const SECRET: &str = "fake-secret-flash-01";

    fn settings(allow_private: bool) -> ProbeSettings {
        let timeout = Duration::from_secs(5);
        ProbeSettings { enabled: true, timeout, concurrency: 1, allow_private }
    }

    /// The verdict on the key of the provider at `base_url`, where every name is this machine's.
    async fn ask(base_url: &str, allow_private: bool) -> ProbeVerdict {
        let here = |_: &str| Some(vec!["127.0.0.1:0".parse().unwrap()]);
        let lookup = Lookup::answering(allow_private, here);
        let client = ProbeClient { lookup, ..ProbeClient::new(settings(allow_private)) };
        let request = ProbeRequest::built_in("gemini").unwrap();
        let probe = FreeProbe { base_url: base_url.to_owned().into(), ..request.probe };
        client.ask(&ProbeRequest { probe, ..request }, &Secret::new(SECRET)).await
    }

    fn not_reached(why: &str) -> ProbeVerdict {
        ProbeVerdict::NotReached(why.into())
    }

    /// Gives one answer, and returns what it was asked, with the port of its address.
    fn serve_one(answer: &'static str) -> (u16, JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).unwrap();
            asked.truncate(length);
            stream.write_all(answer.as_bytes()).unwrap();
            asked
        });
        (port, served)
    }

    #[tokio::test]
    async fn a_name_is_asked_at_exactly_the_addresses_that_were_looked_up() {
        let (port, served) = serve_one("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let verdict = ask(&format!("http://provider.example:{port}"), true).await;
        assert_eq!(verdict, ProbeVerdict::Accepted);
        let asked = String::from_utf8(served.join().unwrap()).unwrap();
        assert!(asked.starts_with("GET /v1beta/models?pageSize=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: provider.example:{port}\r\n")), "{asked}");
        assert!(asked.contains(&format!("x-goog-api-key: {SECRET}\r\n")), "{asked}");
    }

    #[tokio::test]
    async fn a_name_that_turns_out_to_be_private_is_not_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let verdict = ask(&format!("https://provider.example:{port}"), false).await;
        assert_eq!(verdict, not_reached("the name has no public address"));
        assert!(listener.accept().is_err(), "nobody came");
    }

    #[tokio::test]
    async fn private_urls_are_refused_before_anything_is_looked_up() {
        let private = "is not a public address; probe.allow_private = true permits it";
        for url in ["https://[::ffff:169.254.169.254]", "https://0x7f.1", "https://localhost"] {
            assert_eq!(ask(url, false).await, not_reached(private), "{url}");
        }
        let cleartext = "expected https; probe.allow_private = true permits http";
        assert_eq!(ask("http://provider.example", false).await, not_reached(cleartext));
    }

    #[tokio::test]
    async fn who_does_not_speak_tls_is_not_trusted_with_a_key() {
        let (port, served) = serve_one("HTTP/1.1 400 Bad Request\r\n\r\n");
        let verdict = ask(&format!("https://provider.example:{port}"), true).await;
        let told = "no trust: the certificate or the TLS of the other side is not accepted";
        assert_eq!(verdict, not_reached(told));
        let asked = served.join().unwrap();
        assert!(!asked.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
    }

    #[tokio::test]
    async fn a_closed_port_is_told_as_such() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let verdict = ask(&format!("http://provider.example:{port}"), true).await;
        assert_eq!(verdict, not_reached("no connection"));
    }

    #[test]
    fn the_key_is_marked_as_a_secret() {
        let request = ProbeRequest::built_in("openai").unwrap();
        let headers = headers(&request, &Secret::new(SECRET)).unwrap();
        assert!(!format!("{headers:?}").contains(SECRET));
    }
}

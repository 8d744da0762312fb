//! The connection to the simulated provider.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use keypool::provider::{Classified, Provider, ProviderAnswer};
use tokio::net::{TcpListener, TcpStream};

use super::keys::Key;
use super::provider::{Dialect, SimulatedProvider};

/// One connection that is kept open.
#[derive(Debug)]
pub(crate) struct Wire {
    sender: SendRequest<Full<Bytes>>,
}

impl Wire {
    /// Starts `provider` on the present runtime and connects to it.
    pub(crate) async fn to(provider: &SimulatedProvider) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        runtime.spawn(provider.clone().serve(listener));

        let stream = TcpStream::connect(address).await.expect("the provider listens");
        stream.set_nodelay(true).expect("TCP has no delay");
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.expect("an HTTP/1 handshake sends nothing");
        runtime.spawn(connection);
        Self { sender }
    }

    /// Asks the provider for an answer with `key`; what keypool makes of it.
    pub(crate) async fn generate(&mut self, key: &Key) -> Classified {
        let dialect = key.account.dialect;
        let secret = key.account.secret.as_str();
        let request = Request::post(dialect.path(&key.model)).header("host", "localhost");
        let (provider, request) = match dialect {
            Dialect::Gemini => (Provider::Gemini, request.header("x-goog-api-key", secret)),
            Dialect::OpenAi => {
                (Provider::OpenAi, request.header("authorization", format!("Bearer {secret}")))
            }
            Dialect::Anthropic => (Provider::Anthropic, request.header("x-api-key", secret)),
        };
        let request = request.body(Full::from("{}")).expect("paths and keys are plain");

        self.sender.ready().await.expect("the provider keeps the connection");
        let response = self.sender.send_request(request).await.expect("the provider answers");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("the answer is whole").to_bytes();
        let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let headers: Vec<(String, String)> = head.headers.iter().map(header).collect();
        provider.classify(&ProviderAnswer {
            status: head.status.as_u16(),
            headers: &headers,
            body: std::str::from_utf8(&body).expect("JSON is UTF-8"),
        })
    }
}

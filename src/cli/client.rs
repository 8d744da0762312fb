//! One HTTP request to the daemon over its Unix socket, and what may go wrong with it.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixStream;

use super::event_stream::EventStream;
use super::problem::Problem;
use crate::pool::KeyId;

/// How long the daemon may take to answer; it takes microseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client of the daemon at one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// A daemon's answer. It may hold a secret, so that it has no `Debug`.
pub struct Answer {
    text: String,
    json: Value,
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no daemon at {}; start it with `keypool serve`, or name its socket with --socket",
        .0.display()
    )]
    NoDaemon(PathBuf),
    /// The socket is not for us.
    #[error(
        "not allowed to use the socket {}; its owner, group and mode say who is, \
         and so may the daemon's allow_uids and allow_gids",
        .0.display()
    )]
    Denied(PathBuf),
    /// The socket cannot be reached for another reason.
    #[error("cannot connect to {}: {source}", .socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The daemon refused.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// No answer came in time.
    #[error("the daemon at {} did not answer within {} s", .socket.display(), .waited.as_secs())]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// How long we waited.
        waited: Duration,
    },
    /// The connection broke, or somebody else answered.
    #[error(
        "no answer of keypool from {}: the connection broke, or something else listens there",
        .0.display()
    )]
    Garbled(PathBuf),
    /// The configuration that the daemon was to take is not valid.
    #[error(
        "the configuration is not taken; what was in use stays in use:\n{}",
        .errors.join("\n")
    )]
    NotTaken {
        /// Every error with its place.
        errors: Vec<String>,
    },
    /// A provider that was asked did not accept the key.
    #[error("the provider does not accept {0}, or cannot be asked")]
    NotAccepted(KeyId),
    /// A file that a flag names cannot be read.
    #[error("cannot read {}: {source}", .file.display())]
    Input {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The answer cannot be shown.
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
}

impl ClientError {
    /// Adds to a refusal the known name that is nearest to one of those `asked` for.
    #[must_use]
    pub(super) fn near<'a>(self, asked: impl IntoIterator<Item = &'a str>) -> Self {
        match self {
            Self::Refused(problem) => Self::Refused(Box::new(problem.near(asked))),
            error @ (Self::NoDaemon(_)
            | Self::Denied(_)
            | Self::Connect { .. }
            | Self::Silent { .. }
            | Self::Garbled(_)
            | Self::NotTaken { .. }
            | Self::NotAccepted(_)
            | Self::Input { .. }
            | Self::Output(_)) => error,
        }
    }

    /// What the process exits with: 3 for an exhausted pool, 4 without a daemon, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(problem) if problem.code == "exhausted" => 3,
            Self::NoDaemon(_) => 4,
            Self::Refused(_)
            | Self::Denied(_)
            | Self::Connect { .. }
            | Self::Silent { .. }
            | Self::Garbled(_)
            | Self::NotTaken { .. }
            | Self::NotAccepted(_)
            | Self::Input { .. }
            | Self::Output(_) => 1,
        }
    }
}

impl Answer {
    /// The JSON as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The JSON as a value.
    pub fn json(&self) -> &Value {
        &self.json
    }
}

impl Client {
    /// A client of the daemon that listens at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The answer to `GET path`.
    pub async fn ask(&self, path: &str) -> Result<Answer, ClientError> {
        let request = request(Method::GET, path, "application/json", Bytes::new());
        self.exchange(request, PATIENCE).await
    }

    /// The answer to `POST path` with `body`, which the daemon may withhold for `wait`.
    pub async fn send(
        &self,
        path: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        self.send_as(Method::POST, path, body, wait).await
    }

    /// The same with another method.
    pub async fn send_as(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        let request = request(method, path, "application/json", body.to_string().into());
        self.exchange(request, PATIENCE.saturating_add(wait)).await
    }

    /// Hands the data of each event of the stream at `path` to `show`, until the stream ends.
    pub async fn follow(
        &self,
        path: &str,
        mut show: impl FnMut(&str) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let request = request(Method::GET, path, "text/event-stream", Bytes::new());
        let read = async |response: Response<Incoming>| {
            let mut events = EventStream::default();
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                let data = frame.map_err(|_| self.garbled())?.into_data().unwrap_or_default();
                events.push(&data).iter().try_for_each(|event| show(event))?;
            }
            Ok(())
        };
        self.connect(request, read).await
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Answer, ClientError> {
        let read = async |response: Response<Incoming>| {
            let text = self.text(response).await?;
            let json = serde_json::from_str(&text).map_err(|_| self.garbled())?;
            Ok(Answer { text, json })
        };
        let silent = |_| ClientError::Silent { socket: self.socket.clone(), waited: patience };
        tokio::time::timeout(patience, self.connect(request, read)).await.map_err(silent)?
    }

    /// Sends `request` on a connection of its own, and has `read` read what is no error.
    async fn connect<T>(
        &self,
        request: Request<Full<Bytes>>,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.unreachable(e))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|_| self.garbled())?;
        let mut exchange = pin!(async move {
            let response = sender.send_request(request).await.map_err(|_| self.garbled())?;
            if !response.status().is_success() {
                let status = response.status().as_u16();
                let body = self.text(response).await?;
                return Err(ClientError::Refused(Box::new(Problem::read(status, &body))));
            }
            read(response).await
        });
        tokio::select! {
            done = &mut exchange => done,
            // What went wrong with the connection, the exchange is told too.
            _ = connection => exchange.await,
        }
    }

    async fn text(&self, response: Response<Incoming>) -> Result<String, ClientError> {
        let body = response.into_body().collect().await.map_err(|_| self.garbled())?;
        String::from_utf8(body.to_bytes().into()).map_err(|_| self.garbled())
    }

    fn garbled(&self) -> ClientError {
        ClientError::Garbled(self.socket.clone())
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
        let socket = self.socket.clone();
        let kind = source.kind();
        if kind == PermissionDenied {
            ClientError::Denied(socket)
        } else if kind == NotFound || kind == ConnectionRefused {
            // A socket without a listener is what a killed daemon leaves.
            ClientError::NoDaemon(socket)
        } else {
            ClientError::Connect { socket, source }
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

fn request(method: Method, path: &str, accept: &str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    // Paths are made of constants and key ids, whose characters need no escape.
    *request.uri_mut() = path.parse().unwrap_or_default();
    if method == Method::POST {
        let json = hyper::header::HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
    }
    *request.method_mut() = method;
    let host = hyper::header::HeaderValue::from_static("localhost");
    request.headers_mut().insert(HOST, host);
    if let Ok(accept) = accept.parse() {
        request.headers_mut().insert(ACCEPT, accept);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::{Daemon, block_on, problem};

    fn error(daemon: &Daemon) -> ClientError {
        block_on(daemon.client.ask("/v1/status")).err().unwrap()
    }

    #[test]
    fn a_request_is_http_with_json() {
        let daemon = Daemon::answering(r#"{"ok":true}"#);
        let body = serde_json::json!({"tokens": 5});
        let answer = block_on(daemon.client.send("/v1/select", &body, Duration::ZERO)).unwrap();
        assert_eq!(answer.text(), r#"{"ok":true}"#);
        let request = daemon.request();
        assert!(request.starts_with("POST /v1/select HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: localhost\r\n"), "{request}");
        assert!(request.contains("content-type: application/json\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"tokens\":5}"), "{request}");
    }

    #[test]
    fn without_a_daemon_the_error_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("keypool.sock");
        let error = || block_on(Client::new(&socket).ask("/v1/status")).err().unwrap();
        let expected = format!(
            "no daemon at {}; start it with `keypool serve`, or name its socket with --socket",
            socket.display()
        );
        assert_eq!((error().to_string(), error().exit_code()), (expected.clone(), 4));
        // A socket that its daemon left behind.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert_eq!((error().to_string(), error().exit_code()), (expected, 4));
    }

    #[test]
    fn a_socket_that_is_not_ours_is_told_plainly() {
        let client = Client::new("run/keypool.sock");
        let error = client.unreachable(io::ErrorKind::PermissionDenied.into());
        assert!(error.to_string().starts_with("not allowed to use the socket run/keypool.sock;"));
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn an_exhausted_pool_has_its_own_exit_code() {
        let daemon = Daemon::refusing(429, &problem("exhausted", "Exhausted", "free in 12 s"));
        assert_eq!(error(&daemon).exit_code(), 3);
    }

    #[test]
    fn somebody_else_at_the_socket_is_noticed() {
        for answer in [
            "SSH-2.0-OpenSSH\r\n",
            "",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
        ] {
            let daemon = Daemon::raw(answer);
            assert!(matches!(error(&daemon), ClientError::Garbled(_)), "{answer}");
        }
    }
}

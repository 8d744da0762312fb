//! The ports, and which part a request is for.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, answer, json_answer};
use super::directory::Mark;
use super::vault::{Asked, challenge};
use super::{LOGIN, Mood, Seen, State, now};

/// The thread that serves. It ends, and its connections break, with this value.
pub(super) struct Running {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// What every connection has to know.
#[derive(Clone)]
struct Host {
    state: Arc<Mutex<State>>,
    /// The port of HTTPS.
    port: u16,
}

impl Running {
    /// Serves HTTPS and HTTP at `ports` of this machine, or at free ones for 0.
    pub(super) fn start(
        (https, http): (u16, u16),
        tls: Arc<rustls::ServerConfig>,
        state: Arc<Mutex<State>>,
    ) -> (Self, (u16, u16)) {
        let bind = |port: u16| {
            let listener = StdListener::bind(("127.0.0.1", port)).unwrap();
            listener.set_nonblocking(true).unwrap();
            let port = listener.local_addr().unwrap().port();
            (listener, port)
        };
        let (secure, clear) = (bind(https), bind(http));
        let ports = (secure.1, clear.1);
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stopped = stop.clone();
        let host = Host { state, port: ports.0 };
        let thread = thread::spawn(move || {
            runtime.block_on(async move {
                let https = TcpListener::from_std(secure.0).unwrap();
                let http = TcpListener::from_std(clear.0).unwrap();
                let serving = host.serve(&https, &http, TlsAcceptor::from(tls));
                stopped.run_until_cancelled(serving).await;
            });
        });
        (Self { stop, thread: Some(thread) }, ports)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Host {
    async fn serve(self, https: &TcpListener, http: &TcpListener, tls: TlsAcceptor) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = https.accept() => {
                    let (host, tls) = (self.clone(), tls.clone());
                    connections.spawn(async move {
                        if let Ok((stream, _)) = accepted
                            && let Ok(stream) = tls.accept(stream).await
                        {
                            host.converse(stream, true).await;
                        }
                    });
                }
                accepted = http.accept() => {
                    let host = self.clone();
                    connections.spawn(async move {
                        if let Ok((stream, _)) = accepted {
                            host.converse(stream, false).await;
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin, is_secure: bool) {
        let answer = service_fn(|request| {
            let host = self.clone();
            async move { Ok::<_, Infallible>(host.answer(request, is_secure).await) }
        });
        // A client that goes away in the middle is nothing to a server.
        http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
    }

    async fn answer(self, request: Request<Incoming>, is_secure: bool) -> Answer {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return answer(400, &[], String::new()) };
        let body = body.to_bytes();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let called = header("host").unwrap_or_default();
        let name = called.split(':').next().unwrap_or_default();
        let path = head.uri.path();
        let token = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let mood = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let with_token = token.is_some();
            state.seen.push(Seen { host: name.to_owned(), path: path.to_owned(), with_token });
            state.mood.clone()
        };
        let authority = format!("https://{LOGIN}:{}", self.port);
        match mood {
            Mood::Silent(host) if host == name => std::future::pending().await,
            Mood::Always(host, status, header, body) if host == name => {
                let header = header.as_ref().map(|(name, value)| (*name, value.as_str()));
                return answer(status, header.as_slice(), body);
            }
            Mood::Challenges(resource) if is_secure && name != LOGIN => {
                return challenge(&authority, resource, "AKV10000");
            }
            Mood::Faithful | Mood::Silent(_) | Mood::Always(..) | Mood::Challenges(_) => {}
        }
        let query = fields(head.uri.query().unwrap_or_default().as_bytes());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let method = head.method.as_str();
        if !is_secure {
            let mark = Mark { metadata: header("metadata"), identity: header("x-identity-header") };
            return state.directory.vouch(path, &query, mark, now());
        }
        if name == LOGIN {
            return state.directory.log_in((method, path), &fields(&body), &authority, now());
        }
        if !name.ends_with(".vault.localhost") {
            return json_answer(404, &serde_json::Value::Null);
        }
        let url = format!("https://{called}");
        let (query, body, url, authority) = (&query, &body[..], &*url, &*authority);
        state.ask(&Asked { method, path, query, token, body, url, authority }, now())
    }
}

fn fields(text: &[u8]) -> HashMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

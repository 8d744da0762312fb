//! The servers that keypool is compared with: one that does nothing, one that does nothing but HTTP,
//! and one that does no more than any server must that hands out something countable.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::event::epoll;

/// As many as keypool has.
const WORKERS: usize = 2;

/// Sends back what it gets: one thread, and of the kernel what it takes.
pub(crate) fn echo(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let flags = epoll::EventFlags::IN;
    epoll::add(&ready, &listener, epoll::EventData::new_u64(u64::MAX), flags).unwrap();
    let mut open: Vec<Option<UnixStream>> = Vec::new();
    let mut events = Vec::with_capacity(64);
    let mut buffer = [0; 4096];
    loop {
        events.clear();
        epoll::wait(&ready, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        for event in &events {
            if event.data.u64() == u64::MAX {
                let (stream, _) = listener.accept().unwrap();
                let data = epoll::EventData::new_u64(open.len() as u64);
                epoll::add(&ready, &stream, data, flags).unwrap();
                open.push(Some(stream));
                continue;
            }
            let place = &mut open[usize::try_from(event.data.u64()).unwrap()];
            let Some(stream) = place else { continue };
            match stream.read(&mut buffer) {
                Ok(0) => *place = None,
                Ok(length) => stream.write_all(&buffer[..length]).unwrap(),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => *place = None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// What is done with a request before it is answered.
type Work = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Nothing.
pub(crate) fn no_work() -> Work {
    Arc::new(|_| {})
}

/// Finds out what it asks for, and appends a record of as many bytes as keypool writes for a grant
/// to the file `log`.
pub(crate) fn record(log: &Path) -> Work {
    const RECORD: [u8; 79] = [7; 79];
    let log = Mutex::new(File::create(log).unwrap());
    Arc::new(move |request| {
        let asked: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(request).unwrap();
        assert!(!asked.is_empty());
        log.lock().unwrap().write_all(&RECORD).unwrap();
    })
}

/// Reads requests, does some work and gives each the answer in the file `answer`: hyper as it is
/// written down first.
#[allow(clippy::disallowed_methods, reason = "only the product has a place for its tasks")]
pub(crate) fn hyper(socket: &Path, answer: &Path, work: &Work) {
    let body = Bytes::from(fs::read(answer).unwrap());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WORKERS).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (body, work) = (body.clone(), work.clone());
            tokio::spawn(async move {
                let answer = service_fn(|request| respond(request, &work, body.clone()));
                // A client that goes ends it.
                http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
            });
        }
    });
}

async fn respond(
    request: Request<Incoming>,
    work: &Work,
    body: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let request = request.into_body().collect().await.unwrap();
    work(&request.to_bytes());
    let response = Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .header(CACHE_CONTROL, "no-store")
        .body(Full::new(body));
    Ok(response.unwrap())
}

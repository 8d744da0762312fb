//! Answers: JSON bodies, empty ones, and live streams.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

use super::object::Object;
use super::problem::Problem;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Body {
    /// It is there at once.
    Whole(Full<Bytes>),
    /// It is there at once, in pieces.
    Pieces(VecDeque<Bytes>),
    /// It comes piece by piece.
    Live(mpsc::Receiver<Bytes>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::Whole(body) => return Pin::new(body).poll_frame(context),
            Self::Pieces(pieces) => Poll::Ready(pieces.pop_front()),
            Self::Live(pieces) => pieces.poll_recv(context),
        };
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Pieces(pieces) => pieces.is_empty(),
            Self::Live(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces(pieces) => {
                SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum())
            }
            Self::Live(_) => SizeHint::default(),
        }
    }
}

/// A body that is there at once.
pub(super) fn full(content: impl Into<Bytes>) -> Body {
    Body::Whole(Full::new(content.into()))
}

/// The same, where it is in pieces.
pub(super) fn in_pieces(pieces: impl IntoIterator<Item = String>) -> Body {
    Body::Pieces(pieces.into_iter().map(Bytes::from).collect())
}

/// `status` without a word.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// 200 with `value` as JSON.
pub(super) fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(text) => json_text(text),
        Err(_) => Problem::internal().response(),
    }
}

/// 200 with `object`.
pub(super) fn object(object: Object) -> Response<Body> {
    json_text(object.end())
}

fn json_text(text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Every answer is of this moment, and some hold a secret.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

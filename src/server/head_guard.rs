//! Refuses what two HTTP implementations read differently in the head of a request: a line feed
//! without a carriage return, and a length beside a transfer coding.
//!
//! hyper takes both without a word, and two readings of one request are what smuggling lives on.
//! The byte at fault is replaced by a NUL, which hyper answers with 400.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whether the next bytes of a connection begin a head.
#[derive(Clone, Debug)]
pub(super) struct HeadExpected(Arc<AtomicBool>);

impl HeadExpected {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// A request has been read to its end.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether nothing has been read since the last request.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection whose heads are looked at on the way.
#[derive(Debug)]
pub(super) struct HeadGuard<S> {
    stream: S,
    expected: HeadExpected,
    scan: Scan,
}

/// Where in a head the reading is.
#[derive(Clone, Debug, Default)]
struct Scan {
    inside: bool,
    after_return: bool,
    line_is_empty: bool,
    /// The beginning of the line in lower case, up to its first colon.
    name: Option<Vec<u8>>,
    /// The header that says how long the body is.
    framing: Option<Vec<u8>>,
}

/// The headers that say how long a body is. A head has one of them at most.
const FRAMING: [&[u8]; 2] = [b"content-length", b"transfer-encoding"];

/// No name that matters is longer.
const LONGEST_NAME: usize = 32;

impl Scan {
    /// Looks at one byte of a head; false if it must not be there.
    fn accept(&mut self, byte: u8) -> bool {
        match byte {
            b'\n' if !self.after_return => return false,
            b'\n' => {
                self.inside = !self.line_is_empty;
                self.line_is_empty = true;
                self.name = Some(Vec::new());
            }
            b'\r' => {}
            b':' => {
                self.line_is_empty = false;
                if let Some(name) = self.name.take().filter(|name| FRAMING.contains(&&**name)) {
                    let other = self.framing.replace(name.clone());
                    return other.is_none_or(|other| other == name);
                }
            }
            _ => {
                self.line_is_empty = false;
                if let Some(name) = &mut self.name
                    && name.len() < LONGEST_NAME
                {
                    name.push(byte.to_ascii_lowercase());
                }
            }
        }
        self.after_return = byte == b'\r';
        true
    }
}

impl<S> HeadGuard<S> {
    pub(super) fn new(stream: S, expected: HeadExpected) -> Self {
        Self { stream, expected, scan: Scan::default() }
    }

    fn look(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if !self.scan.inside {
                if !self.expected.0.swap(false, Ordering::Relaxed) {
                    return;
                }
                self.scan = Scan { inside: true, ..Scan::default() };
            }
            if !self.scan.accept(*byte) {
                *byte = 0;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.look(&mut buffer.filled_mut()[before..]);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(parts: &[&str]) -> String {
        let mut guard = HeadGuard::new((), HeadExpected::new());
        let mut seen = String::new();
        for part in parts {
            let mut bytes = part.as_bytes().to_vec();
            guard.look(&mut bytes);
            seen.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        seen
    }

    #[test]
    fn leaves_a_sound_head_and_any_body_alone() {
        let request = "POST / HTTP/1.1\r\nHost: x\r\n\r\n{\n\"a\": 1\n}\n";
        assert_eq!(guarded(&[request]), request);
        let (first, second) = request.split_at(17);
        assert_eq!(guarded(&[first, second]), request);
    }

    #[test]
    fn spoils_a_line_feed_that_stands_alone() {
        assert_eq!(guarded(&["GET / HTTP/1.1\nHost: x\n\n"]), "GET / HTTP/1.1\0Host: x\0\0");
        assert_eq!(guarded(&["GET / HTTP/1.1\r", "\nA: b\n"]), "GET / HTTP/1.1\r\nA: b\0");
    }

    #[test]
    fn spoils_a_length_beside_a_transfer_coding() {
        let coding = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(guarded(&[coding]), coding);
        let both = guarded(&[coding, "content-length: 2\r\n\r\n"]);
        assert!(both.ends_with("content-length\0 2\r\n\r\n"), "{both:?}");
    }

    #[test]
    fn looks_at_the_next_head_once_a_request_has_been_read() {
        let expected = HeadExpected::new();
        let mut guard = HeadGuard::new((), expected.clone());
        let mut look = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            guard.look(&mut bytes);
            bytes.contains(&0)
        };
        assert!(!look("GET / HTTP/1.1\r\n\r\n"));
        assert!(!look("a body\n"));
        expected.set();
        assert!(look("GET / HTTP/1.1\n\n"));
    }
}

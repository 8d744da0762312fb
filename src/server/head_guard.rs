//! Refuses what two HTTP implementations read differently in the head of a request, and in the
//! trailers of one: a line feed without a carriage return, and a length beside a transfer coding.
//!
//! hyper takes both without a word, and two readings of one request are what smuggling lives on.
//! The line feed of the line at fault is replaced by a NUL, which hyper answers with 400.
//!
//! Clients send the next request before the last one is answered, and bytes come in pieces that
//! end anywhere. So the guard follows the bodies as well: it knows of each byte whether it is of
//! a head.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whether a connection is between two requests: nothing of the next one has been read.
#[derive(Clone, Debug)]
pub(super) struct BetweenRequests(Arc<AtomicBool>);

impl BetweenRequests {
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection whose heads are looked at on the way.
#[derive(Debug)]
pub(super) struct HeadGuard<S> {
    stream: S,
    part: Part,
    between: BetweenRequests,
}

/// What the next byte is of.
#[derive(Clone, Debug)]
enum Part {
    /// A head, or the empty lines before one.
    Head(Head),
    /// A body, or a chunk with the line end after it, of which so many bytes are to come.
    Body { left: u64, chunked: bool },
    /// The line before a chunk.
    ChunkSize { size: u64, over: bool },
    /// The lines after the last chunk.
    Trailers { line_is_empty: bool, after_return: bool },
    /// Nobody can tell: hyper refuses what came before.
    Lost,
}

/// How far a head has been read, line by line.
#[derive(Clone, Debug, Default)]
struct Head {
    /// Whether there was a line that is not empty.
    begun: bool,
    /// The beginning of a line whose end has not come yet. hyper reads no more than its buffer has
    /// room for.
    line: Vec<u8>,
    /// What the head says about the length of its body.
    framing: Option<Framing>,
}

/// How long a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    /// So many bytes; none if that is no number.
    Length(Option<u64>),
    /// Its chunks tell.
    Chunked,
}

/// What a line of a head comes to.
enum Line {
    Sound,
    /// It must not be there.
    Spoilt,
    /// It is the last one.
    Last,
}

impl Head {
    /// Reads a line of which `rest` is what has come last, without its line feed.
    fn end_line(&mut self, rest: &[u8]) -> Line {
        if self.line.is_empty() {
            return self.read(rest);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(rest);
        self.read(&line)
    }

    fn read(&mut self, line: &[u8]) -> Line {
        let begun = self.begun;
        self.begun |= line != b"\r";
        match line.strip_suffix(b"\r") {
            None => Line::Spoilt,
            Some(b"") if begun => Line::Last,
            Some(header) if begun => self.read_header(header),
            // The first line is no header, and those before it are empty.
            Some(_) => Line::Sound,
        }
    }

    /// A head has one kind of framing at most.
    fn read_header(&mut self, line: &[u8]) -> Line {
        let (name, value) = line.split_at(memchr::memchr(b':', line).unwrap_or(line.len()));
        let framing = if name.eq_ignore_ascii_case(b"content-length") {
            Framing::Length(value.get(1..).and_then(length))
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            Framing::Chunked
        } else {
            return Line::Sound;
        };
        let other = self.framing.replace(framing);
        let chunked = |framing| framing == Framing::Chunked;
        if other.is_none_or(|other| chunked(other) == chunked(framing)) {
            Line::Sound
        } else {
            Line::Spoilt
        }
    }

    /// What comes after it.
    fn body(&self) -> Part {
        match self.framing {
            None | Some(Framing::Length(Some(0))) => Part::next(),
            Some(Framing::Length(Some(left))) => Part::Body { left, chunked: false },
            Some(Framing::Length(None)) => Part::Lost,
            Some(Framing::Chunked) => Part::CHUNK,
        }
    }

    /// Whether nothing of it has come but empty lines.
    fn is_to_come(&self) -> bool {
        !self.begun && matches!(&*self.line, b"" | b"\r")
    }
}

/// The number of bytes that `value` tells, if it is a number.
fn length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Part {
    /// The beginning of a chunk.
    const CHUNK: Self = Self::ChunkSize { size: 0, over: false };

    /// The next request.
    fn next() -> Self {
        Self::Head(Head::default())
    }

    /// Looks at some of `bytes`, of which there are any; how many.
    fn look(&mut self, bytes: &mut [u8]) -> usize {
        match self {
            Self::Head(head) => {
                let Some(end) = memchr::memchr(b'\n', bytes) else {
                    head.line.extend_from_slice(bytes);
                    return bytes.len();
                };
                match head.end_line(&bytes[..end]) {
                    Line::Sound => {}
                    Line::Spoilt => bytes[end] = 0,
                    Line::Last => *self = head.body(),
                }
                return end + 1;
            }
            Self::Body { left, chunked } => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= here as u64;
                if *left == 0 {
                    *self = if *chunked { Self::CHUNK } else { Self::next() };
                }
                return here;
            }
            Self::ChunkSize { size: 0, .. } if bytes[0] == b'\n' => {
                *self = Self::Trailers { line_is_empty: true, after_return: false };
            }
            Self::ChunkSize { size, .. } if bytes[0] == b'\n' => {
                let line_end = 2;
                *self = Self::Body { left: size.saturating_add(line_end), chunked: true };
            }
            Self::ChunkSize { size, over } => match char::from(bytes[0]).to_digit(16) {
                Some(digit) if !*over => match size.checked_mul(16) {
                    Some(larger) => *size = larger | u64::from(digit),
                    None => *self = Self::Lost,
                },
                Some(_) | None => *over = true,
            },
            Self::Trailers { line_is_empty, after_return } => {
                let byte = bytes[0];
                match byte {
                    b'\n' if !*after_return => bytes[0] = 0,
                    b'\n' if *line_is_empty => {
                        *self = Self::next();
                        return 1;
                    }
                    b'\n' => *line_is_empty = true,
                    b'\r' => {}
                    _ => *line_is_empty = false,
                }
                *after_return = byte == b'\r';
            }
            Self::Lost => return bytes.len(),
        }
        1
    }
}

impl<S> HeadGuard<S> {
    pub(super) fn new(stream: S) -> Self {
        let between = BetweenRequests(Arc::new(AtomicBool::new(true)));
        Self { stream, part: Part::next(), between }
    }

    pub(super) fn between_requests(&self) -> BetweenRequests {
        self.between.clone()
    }

    fn look(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let seen = self.part.look(bytes);
            bytes = &mut bytes[seen..];
        }
        let between = matches!(&self.part, Part::Head(head) if head.is_to_come());
        self.between.0.store(between, Ordering::Relaxed);
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
        let mut guard = HeadGuard::new(());
        let mut seen = String::new();
        for part in parts {
            let mut bytes = part.as_bytes().to_vec();
            guard.look(&mut bytes);
            seen.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        seen
    }

    const SOUND: [&str; 6] = [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n{\n\"a\": 1\n}\n",
        "GET /a:b HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n\r\nPOST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
         a;b=c\r\n\n\n\n\n\n\n\n\n\n\n\r\n1\r\n\n\r\n0\r\nA: b\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:0\r\n\r\n",
        "POST / HTTP/1.1\r\nCONTENT-LENGTH: \t 1 \r\n\r\n\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];

    #[test]
    fn leaves_sound_requests_alone_wherever_their_pieces_end() {
        let requests = SOUND.concat();
        for at in 0..requests.len() {
            let (first, second) = requests.split_at(at);
            assert_eq!(guarded(&[first, second]), requests, "{at}");
        }
        let bytes: Vec<&str> = requests.split("").collect();
        assert_eq!(guarded(&bytes), requests);
    }

    #[test]
    fn spoils_a_line_feed_that_stands_alone() {
        assert_eq!(guarded(&["GET / HTTP/1.1\nHost: x\n\n"]), "GET / HTTP/1.1\0Host: x\0\0");
        assert_eq!(guarded(&["GET / HTTP/1.1\r", "\nA: b\n"]), "GET / HTTP/1.1\r\nA: b\0");
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b";
        let next = "\r\nPOST / HTTP/1.1\r\nContent-Length: 99\r\n\r\nGET / HTTP/1.1\n";
        let expected = format!("{chunked}\0{}", next.replace("1.1\n", "1.1\0"));
        assert_eq!(guarded(&[chunked, "\n", next]), expected);
    }

    #[test]
    fn spoils_a_length_beside_a_transfer_coding() {
        let coding = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(guarded(&[coding]), coding);
        let both = guarded(&[coding, "content-length: 2\r\n\r\n"]);
        assert!(both.ends_with("content-length: 2\r\0\r\n"), "{both:?}");
    }

    #[test]
    fn looks_at_the_head_after_every_body() {
        for before in SOUND {
            let both = guarded(&[&format!("{before}GET / HTTP/1.1\n\n")]);
            assert_eq!(both, format!("{before}GET / HTTP/1.1\0\0"));
        }
    }

    #[test]
    fn a_length_that_is_no_number_is_for_hyper_to_refuse() {
        for length in ["x", "1x", "-1", "99999999999999999999999"] {
            let request = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n\n\n");
            assert_eq!(guarded(&[&request]), request);
        }
    }
}

//! Long answers, piece by piece.
//!
//! Who sends megabytes and who reads them need a processor each for as long as that takes, and a
//! kernel has everybody else wait for milliseconds. So there is a pause after each piece.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::time::{Sleep, sleep};

/// The most that is sent at a stretch: about what a kernel takes of one at a time.
pub(super) const PIECE: usize = 256 * 1024;

/// How long others have the processor between two pieces.
const PAUSE: Duration = Duration::from_millis(1);

/// What is left of a long answer.
#[derive(Debug)]
pub(super) struct Pieces {
    left: VecDeque<Bytes>,
    rest: Rest,
}

/// Whether there is a pause before the next piece.
#[derive(Debug)]
enum Rest {
    None,
    /// As soon as somebody asks for the next piece: then the last one has been written.
    Due,
    Now(Pin<Box<Sleep>>),
}

impl Pieces {
    /// The whole of `content`.
    pub(super) fn of(mut content: Bytes) -> Self {
        let mut left = VecDeque::with_capacity(content.len() / PIECE + 1);
        while content.len() > PIECE {
            left.push_back(content.split_to(PIECE));
        }
        left.push_back(content);
        Self { left, rest: Rest::None }
    }

    /// The next piece, after a pause; none after the last one.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if matches!(self.rest, Rest::Due) {
            self.rest = Rest::Now(Box::pin(sleep(PAUSE)));
        }
        if let Rest::Now(pause) = &mut self.rest {
            ready!(pause.as_mut().poll(context));
        }
        self.rest = Rest::Due;
        Poll::Ready(self.left.pop_front())
    }

    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// How many bytes are left.
    pub(super) fn bytes(&self) -> u64 {
        self.left.iter().map(|piece| piece.len() as u64).sum()
    }
}

impl FromIterator<String> for Pieces {
    fn from_iter<I: IntoIterator<Item = String>>(pieces: I) -> Self {
        Self { left: pieces.into_iter().map(Bytes::from).collect(), rest: Rest::None }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use super::*;

    #[tokio::test]
    async fn all_of_it_is_sent_with_pauses() {
        let content: Vec<u8> = (0..=255).cycle().take(2 * PIECE + 1).collect();
        let mut pieces = Pieces::of(content.clone().into());
        let (mut sent, mut left) = (Vec::new(), Vec::new());
        while !pieces.is_over() {
            left.push(pieces.bytes());
            sent.extend(poll_fn(|context| pieces.poll_next(context)).await.unwrap());
            let at_once = pieces.poll_next(&mut Context::from_waker(Waker::noop()));
            assert!(at_once.is_pending(), "there is no pause");
        }
        assert!(sent == content);
        assert_eq!(left, [2 * PIECE as u64 + 1, PIECE as u64 + 1, 1]);
    }
}

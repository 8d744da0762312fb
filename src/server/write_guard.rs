//! Ends a connection whose client asks and does not take the answers, and writes what is long a
//! stretch at a time, between which others have their turn.
//!
//! hyper keeps little for a client that does not read, and asks no further; but it waits for ever,
//! and so would the connection's place. And as long as a client takes what is written, hyper goes
//! on: who sends megabytes and who reads them need a processor each for as long as that takes, and a
//! kernel has everybody else wait for milliseconds.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Clock;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Cut;

/// How long no byte of an answer may be taken.
const DEADLINE: Duration = Duration::from_secs(5);

/// The most bytes that are written before others have their turn: about what a kernel takes of one
/// at a time.
pub(super) const AT_A_STRETCH: usize = 256 * 1024;

/// How long others have the processor then.
const PAUSE: Duration = Duration::from_millis(1);

/// A connection that ends when its client takes nothing for long.
pub(super) struct WriteGuard<S> {
    stream: S,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Since a write had to wait.
    stalled: Option<Wait>,
    /// While it is the turn of others.
    rest: Option<Wait>,
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<S> WriteGuard<S> {
    pub(super) fn new(stream: S, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { stream, clock, metrics, stalled: None, rest: None }
    }

    /// Waits for the turns of others after a stretch.
    fn rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        Poll::Ready(())
    }

    /// What a write has come to, which is an error if it has waited for too long.
    fn unless_stalled(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let clock = &self.clock;
        let stalled = self.stalled.get_or_insert_with(|| {
            let clock = clock.clone();
            Box::pin(async move { clock.sleep(DEADLINE).await })
        });
        ready!(stalled.as_mut().poll(context));
        self.stalled = None;
        self.metrics.cut(Cut::SlowReader);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "its client takes no answers")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.rest(context));
        let bytes = &bytes[..bytes.len().min(AT_A_STRETCH)];
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if bytes.len() == AT_A_STRETCH && written.is_ready() {
            self.rest = Some(Box::pin(tokio::time::sleep(PAUSE)));
        }
        self.unless_stalled(context, written)
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
        if slices.iter().map(|slice| slice.len()).sum::<usize>() > AT_A_STRETCH {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        ready!(self.rest(context));
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.unless_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::clock::ManualClock;
    use crate::pool::WallTime;

    /// A client that takes what it likes, and a guarded connection to it that holds ten bytes.
    fn guarded(clock: &ManualClock) -> (DuplexStream, WriteGuard<DuplexStream>) {
        let (client, stream) = tokio::io::duplex(10);
        let metrics = Arc::new(Metrics::new(WallTime::default()));
        (client, WriteGuard::new(stream, Clock::Manual(clock.clone()), metrics))
    }

    #[tokio::test]
    async fn who_takes_nothing_is_cut() {
        let clock = ManualClock::default();
        let (_client, mut guard) = guarded(&clock);
        let time_passes = async {
            loop {
                clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        };
        let written: io::Result<()> = tokio::select! {
            written = guard.write_all(&[0; 11]) => written,
            () = time_passes => Ok(()),
        };
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn between_the_stretches_of_a_long_answer_others_have_their_turn() {
        let (mut client, stream) = tokio::io::duplex(4 * AT_A_STRETCH);
        let metrics = Arc::new(Metrics::new(WallTime::default()));
        let clock = Clock::Manual(ManualClock::default());
        let mut guard = WriteGuard::new(stream, clock, metrics);
        let answer: Vec<u8> = (0..=255).cycle().take(2 * AT_A_STRETCH + 1).collect();
        let mut writing = std::pin::pin!(guard.write_all(&answer));
        let mut taken = vec![0; 4 * AT_A_STRETCH];
        let first = std::future::poll_fn(|context| {
            assert!(writing.as_mut().poll(context).is_pending(), "there is no pause");
            Poll::Ready(())
        });
        first.await;
        assert_eq!(client.read(&mut taken).await.unwrap(), AT_A_STRETCH);
        writing.await.unwrap();
        client.read_exact(&mut taken[AT_A_STRETCH..=2 * AT_A_STRETCH]).await.unwrap();
        assert!(taken[..answer.len()] == answer);
    }

    #[tokio::test]
    async fn who_takes_a_little_now_and_then_is_served() {
        let clock = ManualClock::default();
        let (mut client, mut guard) = guarded(&clock);
        let taking = async {
            for _ in 0..100 {
                client.read_exact(&mut [0]).await.unwrap();
                tokio::task::yield_now().await;
                clock.advance(DEADLINE / 2);
            }
        };
        let (written, ()) = tokio::join!(guard.write_all(&[0; 100]), taking);
        written.unwrap();
    }
}

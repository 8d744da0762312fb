//! A line that says how far a slow step is, so that nobody waits in silence.

use std::io::{self, Write};
use std::time::Duration;

use tokio::time::{Interval, interval};

/// How long there is silence before progress is shown, and how often it is shown.
const SILENCE: Duration = Duration::from_secs(2);
const BEAT: Duration = Duration::from_millis(250);

/// Shows on `screen`, if there is one, how far a step is.
pub(super) struct Progress<'a> {
    screen: Option<&'a mut dyn Write>,
    what: &'static str,
    beat: Interval,
    silence: Duration,
}

impl<'a> Progress<'a> {
    /// Nothing is shown yet. `what` is done: "asking the providers".
    pub(super) fn new(screen: Option<&'a mut dyn Write>, what: &'static str) -> Self {
        Self { screen, what, beat: interval(BEAT), silence: Duration::ZERO }
    }

    /// Waits for the time to say something.
    pub(super) async fn beat(&mut self) {
        self.beat.tick().await;
        self.silence += BEAT;
    }

    /// Shows that `done` of `all` is done, if it has taken long already.
    pub(super) fn show(&mut self, done: usize, all: usize) -> io::Result<()> {
        let Some(screen) = self.screen.as_mut().filter(|_| self.silence > SILENCE) else {
            return Ok(());
        };
        write!(screen, "\r{}: {done} of {all}", self.what)?;
        screen.flush()
    }

    /// Takes the line away.
    pub(super) fn end(self) -> io::Result<()> {
        match self.screen.filter(|_| self.silence > SILENCE) {
            // Back to the beginning of the line, and nothing more on it.
            Some(screen) => write!(screen, "\r\x1b[K"),
            None => Ok(()),
        }
    }
}

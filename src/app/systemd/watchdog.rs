//! The watchdog: systemd kills a daemon that does not say in time that it is alive.
//!
//! It says so only after the serving loop has answered. A loop that is stuck, or a pool that does
//! not answer it, keeps the daemon silent.

use std::time::Duration;

use super::notify::{Notifier, State};
use crate::clock::Clock;
use crate::secrets::Process;
use crate::server::Pulse;

/// Says that the daemon is alive, as often as systemd wants to hear it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watchdog {
    /// Half the time after which systemd loses patience.
    every: Duration,
}

impl Watchdog {
    /// The watchdog that `process` was given, if it was given one.
    pub(crate) fn new(process: &Process) -> Option<Self> {
        let number = |name| process.variable(name).and_then(|text| text.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let patience = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0)?;
        Some(Self { every: Duration::from_micros(patience) / 2 })
    }

    /// Speaks until the serving loop has ended. `status` makes the sentence for people.
    pub(crate) async fn run<S: Future<Output = String>>(
        self,
        pulse: Pulse,
        clock: &Clock,
        notifier: &Notifier,
        status: impl Fn() -> S,
    ) {
        while pulse.felt().await {
            let next = clock.now().at.plus(self.every);
            notifier.tell(&State::Alive, &status().await);
            clock.sleep_until(next).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(variables: &[(&str, &str)]) -> Option<Duration> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Watchdog::new(&Process::new(variables)).map(|watchdog| watchdog.every)
    }

    #[test]
    fn it_speaks_twice_in_the_time_that_systemd_waits() {
        let own = std::process::id().to_string();
        let ten = ("WATCHDOG_USEC", "20000000");
        assert_eq!(every(&[ten]), Some(Duration::from_secs(10)));
        assert_eq!(every(&[ten, ("WATCHDOG_PID", &own)]), Some(Duration::from_secs(10)));
    }

    #[test]
    fn it_is_silent_unless_it_is_asked_for() {
        assert_eq!(every(&[]), None);
        assert_eq!(every(&[("WATCHDOG_USEC", "soon")]), None);
        assert_eq!(every(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(every(&[("WATCHDOG_USEC", "20000000"), ("WATCHDOG_PID", "1")]), None);
    }
}

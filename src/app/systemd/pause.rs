//! The pause of a daemon that dies soon after each start.
//!
//! systemd starts it again at once as long as a client waits in the socket, and its own limits
//! would end in a socket that nobody can connect to. So the daemon paces itself, before it says
//! that it is ready: meanwhile systemd starts nothing, and clients wait.
//!
//! A file in the state directory says how often it died in a row. An orderly stop removes it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::pool::WallTime;
use crate::secrets::Process;

/// A daemon that lived for less has died soon.
const SOON: Duration = Duration::from_secs(1);

/// The first pause; each further one in a row is twice as long.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause, well below `TimeoutStartSec=`.
const LONGEST: Duration = Duration::from_secs(5);

/// The name of the file: the time of the last start in Unix milliseconds, and how many there were
/// in a row.
const STAMP: &str = "last-start";

/// Blocks for as long as a daemon that started as often and as lately as the file in `state_dir`
/// says has to, and notes this start there. Without systemd it does nothing: nobody would start
/// the daemon again.
pub fn pause_after_a_crash(
    state_dir: Option<&Path>,
    process: &Process,
    now: impl Fn() -> WallTime,
    sleep: impl FnOnce(Duration),
) {
    let given = process.variable("STATE_DIRECTORY").and_then(|list| list.split(':').next());
    let (Some(_), Some(dir)) =
        (process.variable("NOTIFY_SOCKET"), state_dir.or(given.map(Path::new)))
    else {
        return;
    };
    let in_a_row = deaths_in_a_row(dir, now());
    let pause = pause(in_a_row);
    if !pause.is_zero() {
        tracing::warn!(
            "the last start was less than a second before this one; {} ms of pause",
            pause.as_millis()
        );
        sleep(pause);
    }
    // The state has its own words for a directory that cannot be written.
    fs::write(dir.join(STAMP), format!("{} {in_a_row}\n", now().as_millis())).ok();
}

/// Has the next start not wait: this one ends in order.
pub(crate) fn forget_start(state_dir: &Path) {
    fs::remove_file(state_dir.join(STAMP)).ok();
}

/// How many starts in a row lived for less than a second, up to the one before `now`.
fn deaths_in_a_row(dir: &Path, now: WallTime) -> u32 {
    let stamp = fs::read_to_string(dir.join(STAMP)).unwrap_or_default();
    let mut numbers = stamp.split_whitespace();
    let started = numbers.next().and_then(|text| text.parse().ok()).map(WallTime::from_millis);
    let before = numbers.next().and_then(|text| text.parse().ok()).unwrap_or(0_u32);
    match started {
        // A clock that was set back tells nothing.
        Some(started) if started <= now && now.since(started) < SOON => before.saturating_add(1),
        Some(_) | None => 0,
    }
}

/// The pause after so many deaths in a row.
fn pause(in_a_row: u32) -> Duration {
    match in_a_row {
        0 => Duration::ZERO,
        more => FIRST.saturating_mul(1 << (more - 1).min(10)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The pauses of starts that come so many milliseconds after the end of the pause before.
    fn pauses(after: &[u64]) -> Vec<u128> {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::new([("NOTIFY_SOCKET".into(), "/run/notify".into())]);
        let time = Cell::new(1_000_000);
        let start = |after: &u64| {
            time.set(time.get() + after);
            let slept = Cell::new(Duration::ZERO);
            let sleep = |pause: Duration| {
                slept.set(pause);
                time.set(time.get() + u64::try_from(pause.as_millis()).unwrap());
            };
            let now = || WallTime::from_millis(time.get());
            pause_after_a_crash(Some(dir.path()), &process, now, sleep);
            slept.get().as_millis()
        };
        after.iter().map(start).collect()
    }

    #[test]
    fn each_death_in_a_row_has_a_longer_pause_up_to_five_seconds() {
        let pauses = pauses(&[0, 200, 200, 200, 999, 0, 1, 200, 200]);
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn a_daemon_that_lived_for_a_second_starts_at_once() {
        assert_eq!(pauses(&[0, 200, 1000, 200]), [0, 100, 0, 100]);
    }

    #[test]
    fn an_orderly_stop_and_a_damaged_file_cost_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let now = WallTime::from_millis(5000);
        fs::write(dir.path().join(STAMP), "4999 3\n").unwrap();
        assert_eq!(deaths_in_a_row(dir.path(), now), 4);
        fs::write(dir.path().join(STAMP), "5001 3\n").unwrap();
        assert_eq!(deaths_in_a_row(dir.path(), now), 0);
        fs::write(dir.path().join(STAMP), "what 3\n").unwrap();
        assert_eq!(deaths_in_a_row(dir.path(), now), 0);
        fs::write(dir.path().join(STAMP), "4999 3\n").unwrap();
        forget_start(dir.path());
        assert_eq!(deaths_in_a_row(dir.path(), now), 0);
    }

    #[test]
    fn without_systemd_there_is_no_pause_and_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let now = || WallTime::from_millis(0);
        pause_after_a_crash(Some(dir.path()), &Process::new([]), now, |_| unreachable!());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

//! Times and counts as people say them.

use std::time::Duration;

use crate::clock::{parse_rfc3339, rfc3339};
use crate::pool::WallTime;
use crate::telemetry::span;

/// `time`, in RFC 3339, as seen from `now`: `in 12 s`, `3 min 5 s ago`.
pub(super) fn relative(time: &str, now: WallTime) -> Option<String> {
    let time = parse_rfc3339(time)?;
    Some(if time > now {
        let left = time.since(now);
        // Who comes back a little late is served, a little early is not.
        let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        format!("in {}", span(Duration::from_secs(whole)))
    } else if now.since(time) < Duration::from_secs(1) {
        "just now".to_owned()
    } else {
        format!("{} ago", span(now.since(time)))
    })
}

/// `count` with its noun: `1 key`, `8 keys`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// `time`, in RFC 3339, to the second of the year, in UTC: `11-21 12:00:00Z`.
pub(super) fn short(time: &str) -> Option<String> {
    let time = rfc3339(parse_rfc3339(time)?);
    Some(format!("{} {}Z", time.get(5..10)?, time.get(11..19)?))
}

/// `count` in at most five characters: `1500`, `25k`, `1.2M`.
pub(super) fn count(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    if count < 10_000 {
        return count.to_string();
    }
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| count >= *unit).unwrap_or((1, ""));
    let tenths = count / (unit / 10).max(1);
    match tenths % 10 {
        0 => format!("{}{name}", tenths / 10),
        _ if tenths >= 1000 => format!("{}{name}", tenths / 10),
        tenth => format!("{}.{tenth}{name}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now = parse_rfc3339("2026-11-21T12:00:00Z").unwrap();
        let told = |time| relative(time, now).unwrap_or_default();
        assert_eq!(told("2026-11-21T12:00:12Z"), "in 12 s");
        assert_eq!(told("2026-11-21T12:00:00.100Z"), "in 1 s");
        assert_eq!(told("2026-11-21T11:56:55Z"), "3 min 5 s ago");
        assert_eq!(told("2026-11-21T11:59:59.5Z"), "just now");
        assert_eq!(told("2026-11-25T13:00:30Z"), "in 4 d 1 h");
        assert_eq!(told("2026-11-21T14:00:00Z"), "in 2 h");
        assert_eq!(told("soon"), "");
    }

    #[test]
    fn a_short_time_is_utc() {
        assert_eq!(short("2026-11-21T14:00:00.5+02:00").unwrap(), "11-21 12:00:00Z");
        assert_eq!(short("soon"), None);
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "key")), ["0 keys", "1 key", "2 keys"]);
    }

    #[test]
    fn counts_are_short() {
        let counts = [0, 15, 1_500, 9_999, 10_000, 25_400, 250_000, 999_950, 1_234_567, u64::MAX];
        let expected =
            ["0", "15", "1500", "9999", "10k", "25.4k", "250k", "999k", "1.2M", "18446744073G"];
        assert_eq!(counts.map(count), expected);
    }
}

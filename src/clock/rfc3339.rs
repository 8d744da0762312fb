//! Times as text.

use jiff::Timestamp;

use crate::pool::WallTime;

/// `wall` as in `2026-11-21T12:00:00Z`, with milliseconds only if there are any.
pub fn rfc3339(wall: WallTime) -> String {
    let timestamp = timestamp(wall);
    if wall.as_millis().is_multiple_of(1000) {
        format!("{timestamp:.0}")
    } else {
        format!("{timestamp:.3}")
    }
}

/// The time that `text` spells, in any offset; none before 1970.
pub fn parse_rfc3339(text: &str) -> Option<WallTime> {
    let timestamp: Timestamp = text.parse().ok()?;
    u64::try_from(timestamp.as_millisecond()).ok().map(WallTime::from_millis)
}

/// `wall` for jiff, whose time ends with the year 9999.
pub(super) fn timestamp(wall: WallTime) -> Timestamp {
    let millis = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_shown_only_if_there_are_any() {
        let text = |millis| rfc3339(WallTime::from_millis(millis));
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_795_262_400_000), "2026-11-21T12:00:00Z");
        assert_eq!(text(1_795_262_400_120), "2026-11-21T12:00:00.120Z");
        assert!(text(u64::MAX).starts_with("9999-12-30T"));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let wall = WallTime::from_millis(1_795_262_400_120);
        assert_eq!(parse_rfc3339(&rfc3339(wall)), Some(wall));
        assert_eq!(parse_rfc3339("2026-11-21T13:00:00.12+01:00"), Some(wall));
        assert_eq!(parse_rfc3339("1969-01-01T00:00:00Z"), None);
        assert_eq!(parse_rfc3339("noon"), None);
    }
}

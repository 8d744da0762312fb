//! Times as text.

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::pool::WallTime;

/// `wall` as in `2026-11-21T12:00:00Z`, with milliseconds only if there are any.
pub fn rfc3339(wall: WallTime) -> String {
    let time = Offset::UTC.to_datetime(timestamp(wall));
    let mut text = String::with_capacity("1970-01-01T00:00:00.000Z".len());
    // Every answer to a select has one: digits are written as they are, without a formatter.
    let mut number = |before: &str, number: i32, width: usize| {
        text.push_str(before);
        for place in (0..width).rev() {
            let digit = number.unsigned_abs() / 10_u32.pow(u32::try_from(place).unwrap_or(0)) % 10;
            text.push(char::from_digit(digit, 10).unwrap_or('0'));
        }
    };
    number("", time.year().into(), 4);
    number("-", time.month().into(), 2);
    number("-", time.day().into(), 2);
    number("T", time.hour().into(), 2);
    number(":", time.minute().into(), 2);
    number(":", time.second().into(), 2);
    if time.millisecond() != 0 {
        number(".", time.millisecond().into(), 3);
    }
    text.push('Z');
    text
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

//! The delays that providers ask for, in headers and in words.

use std::time::Duration;

use super::ProviderAnswer;

/// The longest delay that is believed: no limit of any provider outlives a month, and a delay
/// without bound would be a way to take a key out of service for ever.
pub(super) const LONGEST: Duration = Duration::from_hours(31 * 24);

/// The longest of `delays`, bounded by [`LONGEST`]. An answer may give its delay several times,
/// rounded in different ways, and who comes too early is refused again. A delay of zero, which
/// providers send too, says nothing.
pub(super) fn longest(delays: impl IntoIterator<Item = Option<Duration>>) -> Option<Duration> {
    let delays = delays.into_iter().flatten().filter(|delay| !delay.is_zero());
    delays.max().map(|delay| delay.min(LONGEST))
}

/// The delay in the `Retry-After` header, in seconds. A date there is left out: the pool is told
/// delays, and the provider's clock is not ours.
pub(super) fn retry_after(answer: &ProviderAnswer<'_>) -> Option<Duration> {
    scaled(answer.header("retry-after")?, 1_000_000_000)
}

/// The delay in the `retry-after-ms` header.
pub(super) fn retry_after_ms(answer: &ProviderAnswer<'_>) -> Option<Duration> {
    scaled(answer.header("retry-after-ms")?, 1_000_000)
}

/// The duration that `text` spells, as protobuf (`45.837906927s`) and Go (`6m0s`, `12ms`) do.
pub(super) fn parse(text: &str) -> Option<Duration> {
    leading(text).filter(|(_, rest)| rest.is_empty()).map(|(delay, _)| delay)
}

/// The duration that follows `phrase` in `message`, both in lower case.
pub(super) fn following(message: &str, phrase: &str) -> Option<Duration> {
    let (_, after) = message.split_once(phrase)?;
    leading(after.trim_start()).map(|(delay, _)| delay)
}

/// The duration at the start of `text`, and what follows it.
fn leading(text: &str) -> Option<(Duration, &str)> {
    let mut rest = text;
    let mut total: Option<Duration> = None;
    while rest.starts_with(|c: char| c.is_ascii_digit()) {
        let (count, after) = split_number(rest);
        let after = after.strip_prefix(' ').unwrap_or(after);
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let Some(part) = unit_nanos(&after[..end]).and_then(|nanos| scaled(count, nanos)) else {
            break;
        };
        total = Some(total.unwrap_or_default().saturating_add(part));
        rest = &after[end..];
    }
    total.map(|total| (total, rest))
}

/// The number at the start of `text`, with its fraction, and what follows it.
fn split_number(text: &str) -> (&str, &str) {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(text);
    let fraction = text[whole..].strip_prefix('.').map_or(0, digits);
    text.split_at(if fraction == 0 { whole } else { whole + 1 + fraction })
}

fn unit_nanos(unit: &str) -> Option<u64> {
    match unit {
        "ms" | "millisecond" | "milliseconds" => Some(1_000_000),
        "s" | "sec" | "second" | "seconds" => Some(1_000_000_000),
        "m" | "min" | "minute" | "minutes" => Some(60_000_000_000),
        "h" | "hour" | "hours" => Some(3_600_000_000_000),
        "d" | "day" | "days" => Some(86_400_000_000_000),
        _ => None,
    }
}

/// `number`, decimal digits with or without a fraction, times `unit` nanoseconds, rounded up.
/// More than [`LONGEST`] is as good as any other.
fn scaled(number: &str, unit: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_decimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_decimal(whole) || !is_decimal(fraction) {
        return None;
    }
    // A number too long for 64 bits is long enough.
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX);
    let mut nanos = u128::from(whole) * u128::from(unit);
    let mut place = u128::from(unit) * 1_000_000_000;
    let mut billionths = 0;
    for digit in fraction.bytes().take(18) {
        place /= 10;
        billionths += u128::from(digit - b'0') * place;
    }
    nanos += billionths.div_ceil(1_000_000_000);
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Option<u128> {
        parse(text).map(|delay| delay.as_nanos())
    }

    #[test]
    fn protobuf_and_go_durations_are_read() {
        assert_eq!(nanos("58s"), Some(58_000_000_000));
        assert_eq!(nanos("45.837906927s"), Some(45_837_906_927));
        assert_eq!(nanos("0.5s"), Some(500_000_000));
        assert_eq!(nanos("6m0s"), Some(360_000_000_000));
        assert_eq!(nanos("12ms"), Some(12_000_000));
        assert_eq!(nanos("1h2m3.5s"), Some(3_723_500_000_000));
        assert_eq!(nanos("26 seconds"), Some(26_000_000_000));
    }

    #[test]
    fn what_is_no_duration_is_left_out() {
        for text in ["", "s", "5", "-5s", "5x", "5s later", "1e9s", ".5s", "5.s", "NaN", "５s"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_delay_beyond_reason_is_bounded() {
        for text in
            ["99999999999999999999999999s", "18446744073709551615d", "400d", "9999999h9999999h"]
        {
            assert_eq!(longest([parse(text)]), Some(LONGEST), "{text}");
        }
    }

    #[test]
    fn fractions_round_up() {
        assert_eq!(nanos("0.0000000001s"), Some(1));
        assert_eq!(nanos("1.999999999999999999999s"), Some(2_000_000_000));
    }

    #[test]
    fn a_delay_is_found_in_a_sentence() {
        let after =
            |message: &str| following(message, "try again in").map(|delay| delay.as_millis());
        assert_eq!(after("please try again in 41.724s. visit us"), Some(41_724));
        assert_eq!(after("try again in 7m12s"), Some(432_000));
        assert_eq!(after("try again in a while"), None);
        assert_eq!(after("try again"), None);
    }

    #[test]
    fn a_retry_after_is_a_number_of_seconds() {
        let after = |value: &str| {
            let headers = [("Retry-After".to_owned(), value.to_owned())];
            retry_after(&ProviderAnswer { status: 429, headers: &headers, body: "" })
        };
        assert_eq!(after("12"), Some(Duration::from_secs(12)));
        assert_eq!(after("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(after("99999999999999999999"), Some(LONGEST));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn the_longest_delay_counts_and_zero_does_not() {
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(longest([seconds(2), None, seconds(3)]), seconds(3));
        assert_eq!(longest([seconds(0)]), None);
    }
}

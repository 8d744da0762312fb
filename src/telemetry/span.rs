//! Spans of time as people say them.

use std::time::Duration;

/// `span` in its two largest units: `12 s`, `3 min 5 s`, `2 h`, `4 d 1 h`.
pub fn span(span: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = span.as_secs();
    if seconds == 0 {
        return format!("{} ms", span.as_millis());
    }
    let largest = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(0);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS.iter().skip(largest).take(2) {
        if left / unit > 0 {
            parts.push(format!("{} {name}", left / unit));
        }
        left %= unit;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        let told = |seconds| span(Duration::from_secs(seconds));
        assert_eq!([12, 185, 7_200, 349_300].map(told), ["12 s", "3 min 5 s", "2 h", "4 d 1 h"]);
        assert_eq!(span(Duration::from_millis(250)), "250 ms");
    }
}

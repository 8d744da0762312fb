//! One value of a setting, typed by TOML or untyped from a variable or flag, and what it can be
//! read as. A reader's error says what was expected and never what was there.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::text::did_you_mean;
use crate::pool::ResetZone;
use crate::secrets::Secret;
use crate::server::RequiredHeader;

/// The largest number a limit can be: far above every provider's, far below overflow.
pub(super) const LARGEST: u64 = 1_000_000_000_000;

const SECOND: Duration = Duration::from_secs(1);

/// One value of a setting. Texts are kept as secrets, because some are.
#[derive(Debug)]
pub(super) enum Value {
    /// From a variable or a flag, where everything is text.
    Untyped(Secret),
    /// A string of TOML.
    Text(Secret),
    /// A number of TOML, as it is written, without `_`; none if it is beyond measure.
    Number(Option<f64>),
    /// A whole number of TOML that is not negative.
    Whole(u64),
    /// A boolean of TOML.
    Switch(bool),
    /// A list, table or time of TOML.
    Other,
}

type Read<T> = Result<T, String>;

impl Value {
    pub(super) fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(Secret::new(text)),
            DeValue::Integer(number) => {
                let whole = u64::from_str_radix(number.as_str(), number.radix());
                whole.map_or(Self::Number(number.as_str().parse().ok()), Self::Whole)
            }
            DeValue::Float(number) => Self::Number(number.as_str().parse().ok()),
            DeValue::Boolean(switch) => Self::Switch(*switch),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => Self::Other,
        }
    }

    /// Any text that is not empty and has no control characters.
    pub(super) fn text(&self) -> Read<&str> {
        let text = self.written().filter(|text| !text.is_empty());
        text.filter(|text| !text.chars().any(char::is_control))
            .ok_or_else(|| "expected a text that is not empty".to_owned())
    }

    pub(super) fn path(&self) -> Read<PathBuf> {
        self.text().map(PathBuf::from).map_err(|_| "expected a path".to_owned())
    }

    /// A path, or nothing where the text is empty.
    pub(super) fn optional_path(&self) -> Read<Option<PathBuf>> {
        let expected = |_| "expected a path, or \"\" for none".to_owned();
        if self.is_empty_text() { Ok(None) } else { self.path().map(Some).map_err(expected) }
    }

    pub(super) fn optional_address(&self) -> Read<Option<SocketAddr>> {
        if self.is_empty_text() {
            return Ok(None);
        }
        let address = self.text().ok().and_then(|text| text.parse().ok()).map(Some);
        address.ok_or_else(|| "expected an address such as \"127.0.0.1:9464\", or \"\"".to_owned())
    }

    pub(super) fn whole(&self, range: RangeInclusive<u64>) -> Read<u64> {
        let number = match self {
            Self::Whole(number) => Some(*number),
            Self::Untyped(text) => text.expose().parse().ok(),
            Self::Text(_) | Self::Number(_) | Self::Switch(_) | Self::Other => None,
        };
        let (least, most) = (range.start(), range.end());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("expected a whole number from {least} to {most}"))
    }

    pub(super) fn count(&self, range: RangeInclusive<u64>) -> Read<usize> {
        self.whole(range).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    pub(super) fn id(&self) -> Read<u32> {
        self.whole(0..=u64::from(u32::MAX)).map(|id| u32::try_from(id).unwrap_or(u32::MAX))
    }

    /// A number in (0, 1].
    pub(super) fn part(&self) -> Read<f64> {
        let number = match self {
            Self::Whole(number) => (*number == 1).then_some(1.0),
            Self::Number(number) => *number,
            Self::Untyped(text) => text.expose().parse().ok(),
            Self::Text(_) | Self::Switch(_) | Self::Other => None,
        };
        number
            .filter(|number| *number > 0.0 && *number <= 1.0)
            .ok_or_else(|| "expected a number above 0 and at most 1".to_owned())
    }

    pub(super) fn switch(&self) -> Read<bool> {
        let switch = match self {
            Self::Switch(switch) => Some(*switch),
            Self::Untyped(text) => switch(text.expose()),
            Self::Text(_) | Self::Number(_) | Self::Whole(_) | Self::Other => None,
        };
        switch.ok_or_else(|| "expected true or false".to_owned())
    }

    /// A length of time in `range`, written as `"500ms"`.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Read<Duration> {
        let expected = "expected a time such as \"500ms\", \"30s\", \"10m\", \"24h\" or \"1d\"";
        let duration = self.text().ok().and_then(duration).ok_or_else(|| expected.to_owned())?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let (least, most) = (range.start(), range.end());
        Err(format!("expected a time from {} to {}", written(*least), written(*most)))
    }

    /// A time; a bare number is seconds, as others write it in variables.
    pub(super) fn duration_or_seconds(&self, range: RangeInclusive<Duration>) -> Read<Duration> {
        let seconds = self.text().ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
        match seconds.filter(|seconds| range.contains(seconds)) {
            Some(seconds) => Ok(seconds),
            None => self.duration(range),
        }
    }

    /// One of `all`, by name.
    pub(super) fn one_of<T: Copy>(&self, all: &[T], name: impl Fn(T) -> &'static str) -> Read<T> {
        let text = self.text().unwrap_or_default();
        all.iter().copied().find(|one| name(*one) == text).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
            let hint = did_you_mean(text, names.iter().copied());
            format!("expected one of {}{hint}", names.join(", "))
        })
    }

    /// The mode of a file, written as `"0660"`.
    pub(super) fn mode(&self) -> Read<u32> {
        let mode = self.text().ok().and_then(|text| u32::from_str_radix(text, 8).ok());
        mode.filter(|mode| *mode <= 0o777)
            .ok_or_else(|| "expected a file mode such as \"0660\"".to_owned())
    }

    /// Levels of logging: one for all, or some by module.
    pub(super) fn log_levels(&self) -> Read<String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let text = self.text().unwrap_or_default();
        let level_of =
            |directive: &str| directive.rsplit('=').next().unwrap_or_default().to_owned();
        match text.split(',').map(level_of).find(|level| !LEVELS.contains(&level.as_str())) {
            None => Ok(text.to_owned()),
            Some(level) => {
                let hint = did_you_mean(&level, LEVELS);
                Err(format!(
                    "expected one of {}, or levels by module such as \
                     \"info,keypool::pool=debug\"{hint}",
                    LEVELS.join(", ")
                ))
            }
        }
    }

    pub(super) fn zone(&self) -> Read<ResetZone> {
        let text = self.text().unwrap_or_default();
        let zone = jiff::tz::db().get(text);
        let zone = zone.map(|_| ResetZone::new(text));
        zone.map_err(|_| "expected a time zone such as \"America/Los_Angeles\"".to_owned())
    }

    pub(super) fn required_header(&self) -> Read<RequiredHeader> {
        let header = self.text().ok().and_then(|text| {
            let (name, value) = text.split_once(':')?;
            let name = header_name(name)?;
            let value = Secret::new(value.trim_ascii());
            value.usable().is_ok().then_some(RequiredHeader { name, value })
        });
        header.ok_or_else(|| "expected a header such as \"x-keypool: a-word\"".to_owned())
    }

    pub(super) fn header_name(&self) -> Read<String> {
        let name = self.text().ok().and_then(header_name);
        name.ok_or_else(|| "expected the name of a header such as \"x-api-key\"".to_owned())
    }

    /// What may stand before a secret in a header: visible ASCII and spaces, or nothing.
    pub(super) fn header_prefix(&self) -> Read<String> {
        let text = if self.is_empty_text() { "" } else { self.text()? };
        let fits = text.is_ascii() && !text.starts_with(' ');
        let expected = || "expected what stands before the key, such as \"Bearer \"".to_owned();
        fits.then(|| text.to_owned()).ok_or_else(expected)
    }

    pub(super) fn base_url(&self) -> Read<String> {
        let url = self.text().ok().filter(|text| {
            text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).is_some_and(
                |rest| {
                    !rest.is_empty()
                        && !rest.contains(['@', ' ', '?', '#'])
                        && !rest.starts_with('/')
                },
            )
        });
        let expected = || "expected a URL such as \"https://api.example.com\"".to_owned();
        url.map(|url| url.trim_end_matches('/').to_owned()).ok_or_else(expected)
    }

    fn is_empty_text(&self) -> bool {
        self.written() == Some("")
    }

    fn written(&self) -> Option<&str> {
        match self {
            Self::Untyped(text) | Self::Text(text) => Some(text.expose()),
            Self::Number(_) | Self::Whole(_) | Self::Switch(_) | Self::Other => None,
        }
    }
}

/// `true`, `1`, `yes`, `on` and their opposites, in any case.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.trim_ascii().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn header_name(text: &str) -> Option<String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!text.is_empty() && text.bytes().all(token)).then(|| text.to_ascii_lowercase())
}

/// A length of time: a whole number and its unit.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match text[digits..].trim_ascii_start() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        "d" => seconds(24 * 60 * 60),
        _ => None,
    }
}

/// A length of time as it would be written.
fn written(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match () {
        () if duration < SECOND => format!("{}ms", duration.as_millis()),
        () if seconds.is_multiple_of(24 * 60 * 60) => format!("{}d", seconds / (24 * 60 * 60)),
        () if seconds.is_multiple_of(60 * 60) => format!("{}h", seconds / (60 * 60)),
        () if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        () => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(Secret::new(text))
    }

    #[test]
    fn a_time_is_a_whole_number_and_a_unit() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("10m", 600_000),
            ("24h", 86_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5s", "1 fortnight", "99999999999999999999s", "1e3s"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration("18446744073709551615d"), None, "no overflow");
    }

    #[test]
    fn a_time_out_of_range_is_told_with_the_range() {
        let range = SECOND..=Duration::from_hours(1);
        let told = text("2h").duration(range).unwrap_err();
        assert_eq!(told, "expected a time from 1s to 1h");
    }

    #[test]
    fn a_switch_from_a_variable_has_many_spellings() {
        for text in ["true", "1", "yes", "on", "TRUE", "On"] {
            assert_eq!(switch(text), Some(true), "{text}");
        }
        for text in ["false", "0", "no", "off", "False"] {
            assert_eq!(switch(text), Some(false), "{text}");
        }
        assert_eq!(switch("maybe"), None);
        assert!(text("true").switch().is_err(), "TOML has booleans of its own");
    }

    #[test]
    fn a_part_is_above_zero_and_at_most_one() {
        for (text, fits) in [
            ("1", true),
            ("0.5", true),
            ("0", false),
            ("1.1", false),
            ("nan", false),
            ("-1", false),
        ] {
            assert_eq!(Value::Untyped(Secret::new(text)).part().is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn log_levels_may_be_given_by_module() {
        assert!(text("info,keypool::pool=debug").log_levels().is_ok());
        let told = text("inof").log_levels().unwrap_err();
        assert!(told.ends_with("did you mean info?"), "{told}");
    }

    #[test]
    fn a_required_header_is_a_name_and_a_value() {
        let header = text("X-Keypool: word").required_header().unwrap();
        assert_eq!((header.name.as_str(), header.value.expose()), ("x-keypool", "word"));
        assert!(text("X Keypool: word").required_header().is_err());
        assert!(text("x-keypool").required_header().is_err());
    }
}

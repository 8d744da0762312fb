//! JSON for people, whatever its members: what the daemon adds is shown without a change here.

use std::time::Duration;

use serde_json::Value;

use super::table::{Table, printable};
use super::units::{count, relative, span};
use crate::pool::WallTime;

/// The members of `object`, one a line, those named in `first` before the others. The members of
/// an inner object stand under the name of the outer.
pub(super) fn list(object: &Value, first: &[&str], now: WallTime) -> String {
    let mut lines = Vec::new();
    for (name, value) in leaves(object, first) {
        let title = title(&name);
        match value.as_array().filter(|items| items.iter().any(Value::is_object)) {
            // A line for each object, the first of them with the title.
            Some(objects) => {
                let titles = std::iter::once(title).chain(std::iter::repeat(String::new()));
                lines.extend(titles.zip(objects.iter().map(|object| summary(object, now))));
            }
            None => lines.push((title, text(&name, &value, now))),
        }
    }
    let width = lines.iter().map(|(title, _)| title.chars().count()).max().unwrap_or(0);
    let line = |(title, text)| format!("{title:<width$}  {text}").trim_end().to_owned() + "\n";
    lines.into_iter().map(line).collect()
}

/// The members of `object` in one line: `key_id=pro_01 reason=429`.
pub(super) fn summary(object: &Value, now: WallTime) -> String {
    if !object.is_object() {
        return text("", object, now);
    }
    let part = |(name, value): (String, Value)| format!("{name}={}", text(&name, &value, now));
    let parts = leaves(object, &[]).into_iter().filter(|(_, value)| !value.is_null());
    parts.map(part).collect::<Vec<_>>().join(" ")
}

/// A table with a row for each of `objects` and a column for each member that one of them has.
pub(super) fn table(objects: &[Value], first: &[&str], now: WallTime) -> String {
    let rows = objects.iter().map(|object| leaves(object, first)).collect::<Vec<_>>();
    let mut names = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let is_number = |name: &String| {
        rows.iter().flatten().any(|(found, value)| found == name && value.is_number())
    };
    let mut table = Table::new(
        names
            .iter()
            .map(|name| title(name).to_uppercase() + if is_number(name) { ">" } else { "" }),
    );
    for row in &rows {
        table.row(names.iter().map(|name| {
            let value = row.iter().find(|(found, _)| found == name).map(|(_, value)| value);
            value
                .filter(|value| !value.is_null())
                .map_or_else(String::new, |value| text(name, value, now))
        }));
    }
    table.render()
}

/// The members of `object` that are no objects, under names like `last_reload.at`.
fn leaves(object: &Value, first: &[&str]) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let inner = self::leaves(value, &[]);
        if inner.is_empty() {
            leaves.push((name.clone(), value.clone()));
        } else {
            let outer = |(inner, value)| (format!("{name}.{inner}"), value);
            leaves.extend(inner.into_iter().map(outer));
        }
    }
    let rank = |name: &str| {
        let outer = name.split('.').next().unwrap_or(name);
        first.iter().position(|first| *first == outer).unwrap_or(first.len())
    };
    leaves.sort_by_key(|(name, _)| rank(name));
    leaves
}

/// The suffixes that name a unit of time, with its milliseconds.
const UNITS: [(&str, u64); 2] = [("_ms", 1), ("_seconds", 1000)];

fn title(name: &str) -> String {
    let unit = UNITS.iter().find_map(|(suffix, _)| name.strip_suffix(suffix));
    printable(&unit.unwrap_or(name).replace(['_', '.'], " "))
}

fn text(name: &str, value: &Value, now: WallTime) -> String {
    match value {
        Value::Null | Value::Object(_) => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => {
            let time = relative(text, now).map(|relative| format!("{text} ({relative})"));
            printable(time.as_ref().unwrap_or(text))
        }
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => match UNITS.iter().find(|(suffix, _)| name.ends_with(suffix)) {
                Some((_, unit)) => span(Duration::from_millis(whole.saturating_mul(*unit))),
                None if is_share(name) => format!("{} %", whole.saturating_mul(100)),
                None => count(whole),
            },
            (None, Some(share)) if is_share(name) => format!("{:.1} %", share * 100.0),
            (None, _) => number.to_string(),
        },
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => {
            items.iter().map(|item| summary(item, now)).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Whether the number called `name` is a share of one.
fn is_share(name: &str) -> bool {
    ["rate", "share", "ratio"].iter().any(|word| name.ends_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse_rfc3339;

    fn noon() -> WallTime {
        parse_rfc3339("2026-11-21T12:00:00Z").unwrap()
    }

    #[test]
    fn members_are_listed_in_words_and_units() {
        let status = serde_json::json!({
            "uptime_seconds": 3725, "rotation": true, "empty": {}, "nothing": null,
            "last_reload": {"at": "2026-11-21T11:59:48Z", "errors": [], "share": 0.5},
            "problems": [{"key_id": "a", "n": 1}, {"key_id": "b", "n": null}], "names": ["x", "y"],
        });
        assert_eq!(
            list(&status, &["rotation"], noon()),
            "rotation            yes\n\
             empty               -\n\
             last reload at      2026-11-21T11:59:48Z (12 s ago)\n\
             last reload errors  -\n\
             last reload share   50.0 %\n\
             names               x, y\n\
             nothing             -\n\
             problems            key_id=a n=1\n\
             \x20                   key_id=b\n\
             uptime              1 h 2 min\n"
        );
    }

    #[test]
    fn rows_have_a_column_for_every_member() {
        let rows = [
            serde_json::json!({"model": "m", "day": {"grants": 12_345, "success_rate": 1}}),
            serde_json::json!({"model": "longer", "day": {"grants": 7}, "wait_ms": 20}),
        ];
        assert_eq!(
            table(&rows, &["model"], noon()),
            "MODEL   DAY GRANTS  DAY SUCCESS RATE   WAIT\n\
             m            12.3k             100 %\n\
             longer           7                    20 ms\n"
        );
    }

    #[test]
    fn control_characters_are_not_shown() {
        let object = serde_json::json!({"a\u{1b}": "b\u{7}"});
        assert_eq!(list(&object, &[], noon()), "a\u{fffd}  b\u{fffd}\n");
    }
}

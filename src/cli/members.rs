//! Members of the daemon's answers as words. A member that is not there, or is of another shape
//! than we know, is a blank and never an error: the daemon may be newer than this command.

use serde_json::Value;

use super::units::{count, relative};
use crate::pool::WallTime;

/// The items of a list.
pub(super) fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// A word, or several.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Array(words) => {
            words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

/// The models of a key. One without a list of them takes any.
pub(super) fn models(value: &Value) -> String {
    match value.as_array() {
        Some(models) if models.is_empty() => "any".to_owned(),
        Some(_) | None => words(value),
    }
}

/// A count, in short.
pub(super) fn number(value: &Value) -> String {
    value.as_u64().map(count).unwrap_or_default()
}

/// A share of one, in percent.
pub(super) fn percent(value: &Value) -> String {
    value.as_f64().map_or_else(String::new, |share| format!("{:.1} %", share * 100.0))
}

/// A time as seen from `now`.
pub(super) fn time(value: &Value, now: WallTime) -> String {
    value.as_str().and_then(|time| relative(time, now)).unwrap_or_default()
}

/// A line for each member of `object` that is not among `shown`: what a newer daemon adds. What is
/// nothing or off is left out.
pub(super) fn others(object: &Value, shown: &[&str]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let members = object.as_object().into_iter().flatten();
    members
        .filter(|(name, value)| !shown.contains(&name.as_str()) && !is_nothing(value))
        .map(|(name, value)| (name.replace('_', " "), text(value)))
        .collect()
}

fn is_nothing(value: &Value) -> bool {
    let empty = match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    empty || value["on"] == false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_known_is_shown_as_it_is() {
        let object = json!({"known": 1, "new_part": {"on": true, "n": 2}, "text": "a b", "n": 1500,
            "off": {"on": false}, "none": null, "list": [], "empty": {}});
        let others = others(&object, &["known"]);
        let others: Vec<_> = others.iter().map(|(name, text)| format!("{name}: {text}")).collect();
        assert_eq!(others, ["n: 1500", "new part: {\"n\":2,\"on\":true}", "text: a b"]);
    }

    #[test]
    fn what_has_another_shape_is_a_blank() {
        let now = WallTime::default();
        assert_eq!(words(&json!(["a", "b"])), "a, b");
        for odd in [json!(null), json!({"a": 1}), json!([1]), json!(true)] {
            assert_eq!((words(&odd), number(&odd), percent(&odd)), Default::default(), "{odd}");
            assert_eq!((time(&odd, now), items(&odd["x"])), Default::default(), "{odd}");
        }
    }
}

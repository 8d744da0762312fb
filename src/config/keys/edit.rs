//! Editing the text of keys.json: what is not touched stays as it is written.

use serde_json::Value;

use super::entry::FIELDS;
use super::json::{Kind, Member, Node, parse};
use crate::config::text::did_you_mean_or_list;

/// Members of an entry and their new values; null takes a member away.
pub type Members = [(String, Value)];

/// Why a text is not edited.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotEdited {
    /// It is no keys file.
    NoKeysFile,
    /// No entry has the `key_id`.
    NoSuchKey,
    /// An entry has the `key_id` already.
    KeyExists,
    /// Entries have no such field.
    UnknownField {
        /// What it was called.
        name: String,
        /// What it was meant to be called, or could be.
        hint: String,
    },
}

/// `text` with an entry of `members` after the entries it has, written as the last of them is.
pub fn with_entry(text: &str, key_id: &str, members: &Members) -> Result<String, NotEdited> {
    known(members)?;
    let root = parse(text).map_err(|_| NotEdited::NoKeysFile)?;
    let items = entries(&root).ok_or(NotEdited::NoKeysFile)?;
    if items.iter().any(|item| is_of(item, key_id)) {
        return Err(NotEdited::KeyExists);
    }
    let style = items.last().map_or_else(Style::default, |last| Style::of(text, last));
    let id = ("key_id".to_owned(), Value::from(key_id));
    let place = |name: &str| FIELDS.iter().position(|field| *field == name);
    let mut members: Vec<_> = members.iter().filter(|(_, value)| !value.is_null()).collect();
    members.sort_by_key(|(name, _)| place(name));
    let written: Vec<String> =
        [&id].into_iter().chain(members).map(|(name, value)| style.member(name, value)).collect();
    let Style { open, separator, close, .. } = style;
    let entry = format!("{{{open}{}{close}}}", written.join(separator));
    with_entries(text, &[entry]).ok_or(NotEdited::NoKeysFile)
}

/// `text` with `members` changed in the entry of `key_id`; those it does not have come last.
pub fn with_changes(text: &str, key_id: &str, members: &Members) -> Result<String, NotEdited> {
    known(members)?;
    // One after another: each leaves a text whose places are another's.
    members.iter().try_fold(text.to_owned(), |text, (name, value)| {
        let root = parse(&text).map_err(|_| NotEdited::NoKeysFile)?;
        let items = entries(&root).ok_or(NotEdited::NoKeysFile)?;
        let entry = items.iter().find(|item| is_of(item, key_id)).ok_or(NotEdited::NoSuchKey)?;
        Ok(with_member(&text, entry, name, value))
    })
}

/// `text` without the entry of `key_id`, which leaves `fallback_order` as well.
pub fn without_entry(text: &str, key_id: &str) -> Result<String, NotEdited> {
    let root = parse(text).map_err(|_| NotEdited::NoKeysFile)?;
    let items = entries(&root).ok_or(NotEdited::NoKeysFile)?;
    let index = items.iter().position(|item| is_of(item, key_id)).ok_or(NotEdited::NoSuchKey)?;
    let mut edited = without_item(text, items, index);
    loop {
        let root = parse(&edited).map_err(|_| NotEdited::NoKeysFile)?;
        let order = list(&root, "fallback_order").unwrap_or_default();
        let named = |node: &Node<'_>| matches!(&node.kind, Kind::Text(text) if text == key_id);
        let Some(index) = order.iter().position(named) else { return Ok(edited) };
        edited = without_item(&edited, order, index);
    }
}

/// `text` of a keys file with `entries`, each a JSON object, after the keys it has. None if it is
/// no such file.
pub fn with_entries(text: &str, entries: &[String]) -> Option<String> {
    let root = parse(text).ok()?;
    let Kind::Object(members) = root.kind else { return None };
    let keys = members.into_iter().find(|member| member.name == "keys")?.value;
    let Kind::List(items) = &keys.kind else { return None };
    let (at, separator) = match items.last() {
        Some(last) => (last.end, format!(",{}", indent(text, last))),
        None => (keys.offset + 1, String::new()),
    };
    let mut edited = text[..at].to_owned();
    for (index, entry) in entries.iter().enumerate() {
        edited.push_str(if index == 0 && items.is_empty() { "" } else { &separator });
        if items.is_empty() && index > 0 {
            edited.push_str(", ");
        }
        edited.push_str(entry);
    }
    edited.push_str(&text[at..]);
    Some(edited)
}

/// What stands before `node`: a line break and the white space of its line, or one space.
fn indent<'t>(text: &'t str, node: &Node<'_>) -> &'t str {
    let before = &text[..node.offset];
    match before.rfind('\n') {
        Some(line) if before[line..].trim_ascii().is_empty() => &before[line..],
        Some(_) | None => " ",
    }
}

/// Every name is one that entries have.
fn known(members: &Members) -> Result<(), NotEdited> {
    match members.iter().find(|(name, _)| !FIELDS.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => {
            let hint = did_you_mean_or_list(name, "field", &FIELDS);
            Err(NotEdited::UnknownField { name: name.clone(), hint })
        }
    }
}

fn list<'n, 't>(root: &'n Node<'t>, name: &str) -> Option<&'n [Node<'t>]> {
    let Kind::Object(members) = &root.kind else { return None };
    match &members.iter().find(|member| member.name == name)?.value.kind {
        Kind::List(items) => Some(items),
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Object(_) => None,
    }
}

fn entries<'n, 't>(root: &'n Node<'t>) -> Option<&'n [Node<'t>]> {
    list(root, "keys")
}

fn members<'n, 't>(entry: &'n Node<'t>) -> &'n [Member<'t>] {
    if let Kind::Object(members) = &entry.kind { members } else { &[] }
}

fn is_of(entry: &Node<'_>, key_id: &str) -> bool {
    let id = members(entry).iter().find(|member| member.name == "key_id");
    id.is_some_and(|id| matches!(&id.value.kind, Kind::Text(text) if text == key_id))
}

fn without_item(text: &str, items: &[Node<'_>], index: usize) -> String {
    let (from, to) = match (index.checked_sub(1), items.get(index + 1)) {
        (Some(before), _) => (items[before].end, items[index].end),
        (None, Some(next)) => (items[index].offset, next.offset),
        (None, None) => (items[index].offset, items[index].end),
    };
    spliced(text, from, to, "")
}

/// `text` with the member `name` of `entry` as `value`, or without it if that is null.
fn with_member(text: &str, entry: &Node<'_>, name: &str, value: &Value) -> String {
    let members = members(entry);
    let index = members.iter().position(|member| member.name == name);
    match (index, members.last()) {
        (Some(index), _) if value.is_null() => {
            let begin = members[index].offset;
            let end = members[index].value.end;
            match (index.checked_sub(1), members.get(index + 1)) {
                (Some(before), _) => spliced(text, members[before].value.end, end, ""),
                (None, Some(next)) => spliced(text, begin, next.offset, ""),
                (None, None) => spliced(text, begin, end, ""),
            }
        }
        (Some(index), _) => {
            let Node { offset, end, .. } = members[index].value;
            spliced(text, offset, end, &written(value))
        }
        (None, _) if value.is_null() => text.to_owned(),
        (None, Some(last)) => {
            let style = Style::of(text, entry);
            let member = format!("{}{}", style.separator, style.member(name, value));
            spliced(text, last.value.end, last.value.end, &member)
        }
        (None, None) => {
            let member = Style::default().member(name, value);
            spliced(text, entry.offset + 1, entry.offset + 1, &member)
        }
    }
}

fn spliced(text: &str, from: usize, to: usize, with: &str) -> String {
    [&text[..from], with, &text[to..]].concat()
}

/// `value` as people write JSON: with a space after each comma and colon.
fn written(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Array(items) => format!("[{}]", join(items.iter().map(written).collect())),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}: {}", Value::from(name.as_str()), written(value))
            };
            format!("{{{}}}", join(members.iter().map(member).collect()))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// The white space in which an entry is written.
struct Style<'t> {
    /// After the brace that begins it.
    open: &'t str,
    /// Between two members, with the comma.
    separator: &'t str,
    /// Between a name and its value, with the colon.
    colon: &'t str,
    /// Before the brace that ends it.
    close: &'t str,
}

impl Default for Style<'_> {
    fn default() -> Self {
        Self { open: "", separator: ", ", colon: ": ", close: "" }
    }
}

impl<'t> Style<'t> {
    /// That of `entry`, by its first two members and its last.
    fn of(text: &'t str, entry: &Node<'_>) -> Self {
        let usual = Self::default();
        let members = members(entry);
        let (Some(first), Some(last)) = (members.first(), members.last()) else { return usual };
        let between = |from: usize, member: &Member<'_>| text.get(from..member.offset);
        let name = format!("\"{}\"", first.name);
        Self {
            open: between(entry.offset + 1, first).unwrap_or(usual.open),
            separator: members
                .get(1)
                .and_then(|second| between(first.value.end, second))
                .unwrap_or(usual.separator),
            colon: text[first.offset..first.value.offset]
                .strip_prefix(&name)
                .unwrap_or(usual.colon),
            close: &text[last.value.end..entry.end - 1],
        }
    }

    fn member(&self, name: &str, value: &Value) -> String {
        format!("{}{}{}", Value::from(name), self.colon, written(value))
    }
}

#[cfg(test)]
mod tests;

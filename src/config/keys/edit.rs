//! Editing the text of keys.json: what is not touched stays as it is written.

use super::json::{Kind, Node, parse};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn add(text: &str) -> String {
        with_entries(text, &["{\"key_id\": \"x\"}".into(), "{\"key_id\": \"y\"}".into()]).unwrap()
    }

    #[test]
    fn entries_are_added_and_all_else_is_kept() {
        let text = "{\n  \"comment\": 1,\n  \"keys\": [\n    {\"key_id\": \"a\", \"mine\": [ 1 ]}\n  ],\n  \
                    \"fallback_order\": [\"a\"]}";
        assert_eq!(
            add(text),
            "{\n  \"comment\": 1,\n  \"keys\": [\n    {\"key_id\": \"a\", \"mine\": [ 1 ]},\n    \
             {\"key_id\": \"x\"},\n    {\"key_id\": \"y\"}\n  ],\n  \"fallback_order\": [\"a\"]}"
        );
        let inline = "{\"keys\": [{\"key_id\": \"a\"}]}";
        let added = "{\"keys\": [{\"key_id\": \"a\"}, {\"key_id\": \"x\"}, {\"key_id\": \"y\"}]}";
        assert_eq!(add(inline), added);
        let none = "{\"keys\": []}";
        assert_eq!(add(none), "{\"keys\": [{\"key_id\": \"x\"}, {\"key_id\": \"y\"}]}");
    }

    #[test]
    fn what_is_no_keys_file_is_not_edited() {
        for text in ["", "[]", "{}", "{\"keys\": 5}", "{\"keys\": [}"] {
            assert_eq!(with_entries(text, &[]), None, "{text}");
        }
    }
}

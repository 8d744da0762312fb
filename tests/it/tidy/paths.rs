//! The paths that a piece of code names, those in braces written out.

/// A path and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Found {
    pub(super) path: String,
    pub(super) line: usize,
}

/// Every path of `code`: `use a::{b, c::d};` names `a::b` and `a::c::d`.
pub(super) fn paths(code: &str) -> Vec<Found> {
    let mut reader = Reader { rest: code, line: 1, found: Vec::new() };
    while !reader.rest.is_empty() {
        if !reader.path("") {
            reader.skip();
        }
    }
    reader.found
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    found: Vec<Found>,
}

impl Reader<'_> {
    /// Reads a path that goes on from `outer`, if one begins here.
    fn path(&mut self, outer: &str) -> bool {
        let mut path = outer.to_owned();
        let line = self.line;
        loop {
            if path.ends_with("::") && self.take("{") {
                self.group(&path);
                return true;
            }
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
            let (name, rest) = if self.rest.starts_with('*') && path.ends_with("::") {
                self.rest.split_at(1)
            } else {
                self.rest.split_at(end)
            };
            if name.is_empty() {
                // `a::b::<C>` names `a::b`; the braces' outer path alone names nothing.
                let found = path != outer;
                if let Some(path) = path.strip_suffix("::").filter(|_| found) {
                    self.found.push(Found { path: path.to_owned(), line });
                }
                return found;
            }
            self.rest = rest;
            path += name;
            if !self.take("::") {
                self.found.push(Found { path, line });
                return true;
            }
            path += "::";
        }
    }

    /// Reads what is left of the braces after `outer`.
    fn group(&mut self, outer: &str) {
        while !self.rest.is_empty() && !self.take("}") {
            if self.take("as ") {
                self.path("");
            } else if !self.path(outer) {
                self.skip();
            }
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Goes on by one character.
    fn skip(&mut self) {
        let mut chars = self.rest.chars();
        self.line += usize::from(chars.next() == Some('\n'));
        self.rest = chars.as_str();
    }
}

#[test]
fn braces_are_written_out() {
    let code = "use a::{b, c::{self,\n d as e}, f::*};\nfn g() { h::i::<J>(k) }";
    let found: Vec<_> = paths(code).into_iter().map(|found| (found.path, found.line)).collect();
    let expected = [
        ("use", 1),
        ("a::b", 1),
        ("a::c::self", 1),
        ("a::c::d", 2),
        ("e", 2),
        ("a::f::*", 2),
        ("fn", 3),
        ("g", 3),
        ("h::i", 3),
        ("J", 3),
        ("k", 3),
    ];
    let expected = expected.map(|(path, line)| (path.to_owned(), line));
    assert_eq!(found, expected);
}

//! Where a setting comes from: a flag, else a variable, else keypool.toml.
//!
//! Every setting is asked for by its path, `quota.share`, and has the variable
//! `KEYPOOL_QUOTA_SHARE`. What was asked for is what is known: the rest of the file is unknown, and
//! told with the nearest known name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::text::{Position, did_you_mean};
use super::value::Value;
use crate::secrets::{Environment, Secret, Source};

/// keypool.toml, parsed.
#[derive(Debug)]
pub(super) struct Document<'t> {
    path: Arc<Path>,
    text: &'t str,
    root: DeTable<'t>,
}

/// The sources of settings in their order, and what was wrong with them so far.
#[derive(Debug)]
pub(super) struct Sources<'t> {
    flags: Vec<(&'static str, &'static str, String)>,
    environment: &'t Environment,
    document: Option<Document<'t>>,
    known: BTreeSet<Vec<String>>,
    variables: BTreeSet<String>,
    /// What was wrong so far.
    pub(super) problems: Vec<Problem>,
}

/// What a source says, and a problem of its place without a message.
struct Given {
    value: Value,
    place: Problem,
}

impl<'t> Document<'t> {
    /// Parses the text of keypool.toml.
    pub(super) fn parse(path: &Arc<Path>, text: &'t str) -> Result<Self, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self { path: Arc::clone(path), text, root: root.into_inner() });
        }
        let problem = |error: &toml::de::Error| {
            // The messages of the parser are not shown: some of them quote the text.
            let what = match error.message() {
                message if message.starts_with("duplicate key") => "this is set twice",
                _ => "expected TOML: a [section] or a line such as socket = \"/run/my.sock\"",
            };
            let offset = error.span().map_or(text.len(), |span| span.start);
            Problem::error(what).in_file(path).at(Position::of(text, offset))
        };
        let mut problems: Vec<_> = errors.iter().map(problem).collect();
        problems.dedup();
        Err(problems)
    }

    fn node(&self, path: &[&str]) -> Option<&Spanned<DeValue<'t>>> {
        let (first, rest) = path.split_first()?;
        let mut node = find(&self.root, first)?;
        for name in rest {
            node = find(node.get_ref().as_table()?, name)?;
        }
        Some(node)
    }

    fn place(&self, offset: usize) -> Problem {
        Problem::error("").in_file(&self.path).at(Position::of(self.text, offset))
    }
}

fn find<'a, 't>(table: &'a DeTable<'t>, name: &str) -> Option<&'a Spanned<DeValue<'t>>> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
}

impl<'t> Sources<'t> {
    pub(super) fn new(
        flags: Vec<(&'static str, &'static str, String)>,
        environment: &'t Environment,
        document: Option<Document<'t>>,
    ) -> Self {
        let (known, variables) = (BTreeSet::new(), BTreeSet::new());
        Self { flags, environment, document, known, variables, problems: Vec::new() }
    }

    /// The same file under `flags` and `environment`.
    pub(super) fn with<'e>(
        self,
        flags: Vec<(&'static str, &'static str, String)>,
        environment: &'e Environment,
    ) -> Sources<'e>
    where
        't: 'e,
    {
        let Self { document, known, variables, problems, .. } = self;
        Sources { flags, environment, document, known, variables, problems }
    }

    /// The setting at `path`, if a source gives it and it is right.
    pub(super) fn read<T>(
        &mut self,
        path: &str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let names: Vec<&str> = path.split('.').collect();
        self.know(&names);
        self.variables.insert(variable_of(path));
        let Given { value, place } = self.given(path)?;
        parse(&value).map_err(|message| self.problems.push(Problem { message, ..place })).ok()
    }

    /// What keypool.toml alone says at `path`. For lists, tables and sections with free names.
    pub(super) fn read_file<T>(
        &mut self,
        path: &[&str],
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.know(path);
        let Given { value, place } = self.in_file(path)?;
        parse(&value).map_err(|message| self.problems.push(Problem { message, ..place })).ok()
    }

    /// Each item of the list at `path` of keypool.toml.
    pub(super) fn read_list<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&Value) -> Result<T, String>,
    ) -> Vec<T> {
        let names: Vec<&str> = path.split('.').collect();
        self.know(&names);
        let Some(document) = &self.document else { return Vec::new() };
        let Some(node) = document.node(&names) else { return Vec::new() };
        let at = |node: &Spanned<DeValue<'_>>| document.place(node.span().start).about(path);
        let Some(items) = node.get_ref().as_array() else {
            let message = "expected a list: [\"…\", \"…\"]".to_owned();
            self.problems.push(Problem { message, ..at(node) });
            return Vec::new();
        };
        let mut list = Vec::new();
        for item in items {
            match parse(&Value::of(item.get_ref())) {
                Ok(value) => list.push(value),
                Err(message) => self.problems.push(Problem { message, ..at(item) }),
            }
        }
        list
    }

    /// Each entry of the table with free names at `path` of keypool.toml.
    pub(super) fn read_map<T>(
        &mut self,
        path: &[&str],
        parse: impl Fn(&str, &Value) -> Result<T, String>,
    ) -> BTreeMap<String, T> {
        self.know(path);
        let mut map = BTreeMap::new();
        let Some(document) = &self.document else { return map };
        let Some(node) = document.node(path) else { return map };
        let field = path.join(".");
        let Some(entries) = node.get_ref().as_table() else {
            let message = "expected a table: {name = \"…\"}".to_owned();
            let place = document.place(node.span().start).about(field);
            self.problems.push(Problem { message, ..place });
            return map;
        };
        for (name, value) in entries {
            match parse(name.get_ref(), &Value::of(value.get_ref())) {
                Ok(parsed) => {
                    map.insert(name.get_ref().to_string(), parsed);
                }
                Err(message) => {
                    let place = document.place(value.span().start).about(field.clone());
                    self.problems.push(Problem { message, ..place });
                }
            }
        }
        map
    }

    /// The names of the tables in the section `name`.
    pub(super) fn sections(&self, name: &str) -> Vec<String> {
        let table = self.document.as_ref().and_then(|file| file.node(&[name]));
        let table = table.and_then(|node| node.get_ref().as_table());
        table.map_or_else(Vec::new, |table| {
            table.keys().map(|name| name.get_ref().to_string()).collect()
        })
    }

    /// Whether keypool.toml says anything at `path`.
    pub(super) fn has(&self, path: &[&str]) -> bool {
        self.document.as_ref().is_some_and(|document| document.node(path).is_some())
    }

    /// Makes the section `name` known, whatever is in it.
    pub(super) fn know_section(&mut self, name: &str) {
        self.know(&[name, ""]);
    }

    /// A problem at the place where keypool.toml sets `path`.
    pub(super) fn complain_in_file(&mut self, path: &[&str], problem: Problem) {
        let Problem { severity, message, .. } = problem;
        let place = self.in_file(path).map(|given| given.place);
        self.problems.push(Problem { severity, message, ..place.unwrap_or(Problem::error("")) });
    }

    /// A problem at the place where `path` is set.
    pub(super) fn complain(&mut self, path: &str, problem: Problem) {
        let Problem { severity, message, .. } = problem;
        let place = self.given(path).map(|given| given.place);
        let place = place.unwrap_or_else(|| Problem::error("").about(path));
        self.problems.push(Problem { severity, message, ..place });
    }

    /// Reports what nobody asked for: in keypool.toml as errors, in variables as warnings.
    pub(super) fn report_unknown(&mut self) {
        let mut unknown = Vec::new();
        if let Some(document) = &self.document {
            self.unknown_in(document, &document.root, &mut Vec::new(), &mut unknown);
        }
        let known = self.variables.iter().map(String::as_str).chain(["KEYPOOL_CONFIG"]);
        for name in self.environment.names_with("KEYPOOL_") {
            let place = self.variable_place(name);
            if !known.clone().any(|known| known == name) {
                let hint = did_you_mean(name, known.clone());
                let message = format!("there is no such setting, so this has no effect{hint}");
                unknown.push(Problem { message, ..place.as_warning() });
            } else if name == "KEYPOOL_CONFIG" && place.file.is_some() {
                let message = "is read from the process environment alone, so this has no effect";
                unknown.push(Problem { message: message.to_owned(), ..place.as_warning() });
            }
        }
        self.problems.extend(unknown);
    }

    fn unknown_in(
        &self,
        document: &Document<'t>,
        table: &DeTable<'t>,
        path: &mut Vec<String>,
        unknown: &mut Vec<Problem>,
    ) {
        for (name, value) in table {
            path.push(name.get_ref().to_string());
            let place = document.place(name.span().start);
            if self.known.contains(path) {
                // A setting; what is in it was judged when it was read.
            } else if self.known.iter().any(|known| known.starts_with(path)) {
                if let Some(inner) = value.get_ref().as_table() {
                    self.unknown_in(document, inner, path, unknown);
                } else {
                    let field = path.join(".");
                    let message =
                        format!("is a section: expected [{field}] and its settings below");
                    unknown.push(Problem { message, ..place.about(field) });
                }
            } else {
                unknown.push(Problem { message: self.unknown_setting(path), ..place });
            }
            path.pop();
        }
    }

    /// What to say of an unknown setting, without its name, which may be a secret.
    fn unknown_setting(&self, path: &[String]) -> String {
        let Some((name, section)) = path.split_last() else { return String::new() };
        let siblings = || {
            let below = self.known.iter().filter_map(|known| known.strip_prefix(section));
            below.filter_map(|rest| rest.first().map(String::as_str))
        };
        let hint = did_you_mean(name, siblings());
        if !hint.is_empty() {
            return format!("unknown setting{hint}");
        }
        match self.known.iter().find(|known| known.last() == Some(name)) {
            Some(known) if known.len() == 1 => {
                format!("unknown setting; {name} belongs at the top, before the first [section]")
            }
            Some(known) => {
                format!(
                    "unknown setting; {name} belongs in [{}]",
                    known[..known.len() - 1].join(".")
                )
            }
            None => {
                let siblings: BTreeSet<&str> = siblings().filter(|name| !name.is_empty()).collect();
                let siblings = Vec::from_iter(siblings).join(", ");
                format!("unknown setting; those of its place are {siblings}")
            }
        }
    }

    fn know(&mut self, path: &[&str]) {
        self.known.insert(path.iter().map(|name| (*name).to_owned()).collect());
    }

    fn given(&self, path: &str) -> Option<Given> {
        if let Some((_, flag, text)) = self.flags.iter().find(|(setting, ..)| *setting == path) {
            let place = Problem::error("").about(*flag);
            return Some(Given { value: Value::Untyped(Secret::new(text)), place });
        }
        // An empty variable is as good as none, except where "" means off.
        let off = ["state_dir", "metrics_addr"].contains(&path);
        for name in [variable_of(path)].into_iter().chain(alias_of(path).map(str::to_owned)) {
            if let Some(found) = self.environment.lookup(&name)
                && (off || !found.value.expose().is_empty())
            {
                let value = Value::Untyped(found.value.clone());
                return Some(Given { value, place: self.variable_place(&name) });
            }
        }
        self.in_file(&path.split('.').collect::<Vec<_>>())
    }

    fn in_file(&self, path: &[&str]) -> Option<Given> {
        let document = self.document.as_ref()?;
        let node = document.node(path)?;
        let place = document.place(node.span().start).about(path.join("."));
        Some(Given { value: Value::of(node.get_ref()), place })
    }

    fn variable_place(&self, name: &str) -> Problem {
        variable_place(self.environment, name)
    }
}

/// A problem without a message at the place where a variable is set.
pub(super) fn variable_place(environment: &Environment, name: &str) -> Problem {
    let place = Problem::error("").about(name);
    match environment.lookup(name).map(|found| found.source) {
        Some(Source::File { path, line }) => place.in_file(path).at(Position::line(*line)),
        Some(Source::Process) | None => place,
    }
}

/// `quota.share` is `KEYPOOL_QUOTA_SHARE`.
fn variable_of(path: &str) -> String {
    format!("KEYPOOL_{}", path.replace('.', "_").to_ascii_uppercase())
}

/// The variable of a setting that others know by another name.
fn alias_of(path: &str) -> Option<&'static str> {
    match path {
        "secrets.store" => Some("SECRET_STORE_TYPE"),
        "shared.redis_url" => Some("REDIS_URL"),
        "shared.redis_timeout" => Some("REDIS_TIMEOUT"),
        _ => None,
    }
}

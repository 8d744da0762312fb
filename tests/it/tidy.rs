//! The rules of the code that no compiler knows: who may import whom, what the pure core must not
//! touch, how long a file may be, and that the code map is whole.

use std::fs;
use std::path::Path;

mod paths;

use self::paths::{Found, paths};

/// The modules that are told everything and touch nothing.
const PURE: [&str; 2] = ["pool", "provider"];

/// What a pure module must not use.
const IMPURE: [&str; 10] = [
    "std::io",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "tracing",
];

/// What the configuration may import of the rows above it: settings, and the places they are from.
const CONFIG_SEES: [&str; 9] = [
    "pool",
    "provider",
    "background",
    "clock",
    "telemetry",
    "secrets",
    "shared_quota",
    "health",
    "server",
];

/// The most lines of code in a file, without its tests.
const LONGEST: usize = 400;

/// A file of `src/`.
struct File {
    /// Its path from the root of the project, such as `src/pool/mod.rs`.
    path: String,
    text: String,
}

/// The rows of modules, as `src/lib.rs` lists them: an empty line ends a row.
struct Rows(Vec<Vec<String>>);

#[test]
fn modules_import_only_from_the_rows_above_them() {
    let rows = Rows::of(&text("src/lib.rs"));
    assert!(rows.0.len() > 5, "src/lib.rs lists its modules in rows: {:?}", rows.0);
    tidy(sources().iter().flat_map(|file| forbidden_imports(file, &rows)));
}

#[test]
fn the_core_is_pure() {
    tidy(sources().iter().flat_map(impurities));
}

#[test]
fn no_file_is_too_long() {
    tidy(sources().iter().filter_map(too_long));
}

#[test]
fn every_module_is_on_the_code_map() {
    let map = text("src/lib.rs");
    tidy(sources().iter().filter_map(|file| unmapped(file, &map)));
}

/// Why `file` imports what it must not.
fn forbidden_imports(file: &File, rows: &Rows) -> Vec<String> {
    let module = file.module();
    if file.is_root() || file.is_test() {
        return Vec::new();
    }
    let forbidden =
        |found: &Found| {
            let imported = file.module_at(&found.path)?;
            if imported == module || rows.allow(module, &imported) {
                return None;
            }
            Some(file.complain(found.line, &format!(
            "`{module}` imports `{imported}`, whose row in src/lib.rs is not above its own; \
             take a value as an argument, or move what both need to a row above"
        )))
        };
    paths(&file.code()).iter().filter_map(forbidden).collect()
}

/// What `file` does although it is of the pure core.
fn impurities(file: &File) -> Vec<String> {
    if !PURE.contains(&file.module()) || file.is_test() {
        return Vec::new();
    }
    let impure = |found: &Found| {
        let used = IMPURE.iter().find(|impure| found.reaches(impure))?;
        Some(file.complain(found.line, &format!(
            "`{}` is pure and must not use `{used}`; have the shell do it and pass the value in",
            file.module()
        )))
    };
    paths(&file.code()).iter().filter_map(impure).collect()
}

/// Whether `file` is longer than anybody wants to read at once.
fn too_long(file: &File) -> Option<String> {
    if file.is_test() {
        return None;
    }
    let code = file.code();
    let mut lines = code.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let count = lines.clone().count();
    let (first_too_many, _) = lines.nth(LONGEST)?;
    Some(file.complain(
        first_too_many + 1,
        &format!("{count} lines of code, and {LONGEST} are the most; split the file by its nouns"),
    ))
}

/// Whether the module that `file` begins is missing from the map.
fn unmapped(file: &File, map: &str) -> Option<String> {
    let module = file.module();
    let begins = [format!("src/{module}.rs"), format!("src/{module}/mod.rs")].contains(&file.path);
    let row = format!("//! | [`{module}`] |");
    let mapped = map.lines().any(|line| line.starts_with(&row));
    (begins && !file.is_root() && !mapped).then(|| {
        file.complain(1, &format!("not on the code map; add a row `{row} …` to src/lib.rs"))
    })
}

impl Rows {
    fn of(lib: &str) -> Self {
        let rows = lib.split("\n\n").map(|row| {
            let modules =
                row.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
            modules.map(str::to_owned).collect::<Vec<_>>()
        });
        Self(rows.filter(|row| !row.is_empty()).collect())
    }

    fn allow(&self, module: &str, imported: &str) -> bool {
        let row =
            |module: &str| self.0.iter().position(|row| row.iter().any(|name| name == module));
        match module {
            "config" => CONFIG_SEES.contains(&imported),
            _ => row(imported).is_some_and(|above| row(module).is_some_and(|own| above < own)),
        }
    }
}

impl File {
    /// The module of the crate that it is of: `pool` for `src/pool/tests/mod.rs`.
    fn module(&self) -> &str {
        let inner = self.path.trim_start_matches("src/");
        inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
    }

    /// Whether it is the root of the library or of the program.
    fn is_root(&self) -> bool {
        ["lib", "main"].contains(&self.module())
    }

    /// Whether it holds nothing but tests.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The text without tests and comments, line by line.
    fn code(&self) -> String {
        let code = self.text.split("#[cfg(test)]").next().unwrap_or_default();
        let code_of = |line: &str| {
            let comment = line.trim_start().starts_with("//");
            let code = if comment { "" } else { line.split(" // ").next().unwrap_or(line) };
            code.to_owned() + "\n"
        };
        code.lines().map(code_of).collect()
    }

    /// The module of the crate that `path`, as written in this file, leads to.
    fn module_at(&self, path: &str) -> Option<String> {
        if let Some(inner) = path.strip_prefix("crate::") {
            return inner.split("::").next().map(str::to_owned);
        }
        // `super::super::server` in a file two modules deep is `crate::server`.
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let depth = inner.trim_end_matches("/mod").split('/').count();
        let mut segments = path.split("::").skip_while(|segment| *segment == "self");
        let mut climbed = 0;
        let landed = segments.find(|segment| {
            climbed += usize::from(*segment == "super");
            *segment != "super"
        })?;
        (climbed >= depth).then(|| landed.to_owned())
    }

    fn complain(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

impl Found {
    /// Whether it is `path`, something in it, or a glob that brings it in.
    fn reaches(&self, path: &str) -> bool {
        let inside = self
            .path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with("::") || (rest.is_empty() && path.contains("::")));
        let glob = self.path.strip_suffix('*').filter(|outer| outer.ends_with("::"));
        inside || glob.is_some_and(|outer| path.starts_with(outer))
    }
}

fn tidy(complaints: impl Iterator<Item = String>) {
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every file of `src/`, in the order of their paths.
fn sources() -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec!["src".to_owned()];
    while let Some(folder) = folders.pop() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder);
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if Path::new(&path).extension().is_some_and(|ending| ending == "rs") {
                files.push(File { text: text(&path), path });
            }
        }
    }
    assert!(files.len() > 50, "src/ has more files than {}", files.len());
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

/// The checks themselves: each must fail on what it forbids.
mod on_bad_code {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    fn rows() -> Rows {
        Rows::of(
            "//! Map\n\npub mod pool;\n\npub mod clock;\npub mod control;\n\npub mod server;\n\npub mod config;\n",
        )
    }

    /// The lines of `text` with a forbidden import, and what they import.
    fn imports(path: &str, text: &str) -> Vec<String> {
        let complaints = forbidden_imports(&file(path, text), &rows());
        let told = |complaint: String| {
            let (place, what) = complaint.split_once(": ").unwrap();
            format!("{} {}", &place[path.len() + 1..], what.split('`').nth(3).unwrap())
        };
        complaints.into_iter().map(told).collect()
    }

    #[test]
    fn an_import_from_below_is_found_however_it_is_written() {
        let path = "src/pool/ready.rs";
        assert_eq!(imports(path, "use std::fmt;\nuse crate::server::Server;\n"), ["2 server"]);
        assert_eq!(imports(path, "fn f() -> crate::clock::Clock {}"), ["1 clock"]);
        assert_eq!(imports(path, "use super::super::control;"), ["1 control"]);
        assert_eq!(
            imports(
                path,
                "use crate::{\n    pool::Pool,\n    clock::{Clock, self},\n    server,\n};"
            ),
            ["3 clock", "3 clock", "4 server"]
        );
        assert_eq!(imports(path, "use crate::unheard_of::X;"), ["1 unheard_of"]);
    }

    #[test]
    fn modules_of_one_row_do_not_import_each_other() {
        assert_eq!(imports("src/control.rs", "use super::clock::Clock;"), ["1 clock"]);
        assert_eq!(imports("src/clock/mod.rs", "use super::control::Control;"), ["1 control"]);
    }

    #[test]
    fn the_configuration_does_not_see_every_row_above_it() {
        let text = "use crate::server::RequiredHeader;\nuse crate::control::Control;\n";
        assert_eq!(imports("src/config/settings.rs", text), ["2 control"]);
    }

    #[test]
    fn what_is_allowed_is_not_complained_of() {
        for text in [
            "use crate::pool::Pool;\nuse crate::clock::{Clock, rfc3339};\nuse super::super::pool::Key;",
            "//! See crate::config::Settings.\nfn f() {} // as in crate::config\n",
            "pub(super) fn f() {}\npub(crate) fn g() {}\nuse crate::server::Server;",
            "use super::problem::config;\nuse self::control::X;",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::config::Settings;\n}\n",
        ] {
            assert_eq!(imports("src/server/routes.rs", text), Vec::<String>::new(), "{text}");
        }
        assert!(imports("src/pool/tests/mod.rs", "use crate::config::Settings;").is_empty());
    }

    #[test]
    fn a_complaint_names_the_place_and_the_way_out() {
        let complaints =
            forbidden_imports(&file("src/pool/key.rs", "\nuse crate::server::X;"), &rows());
        assert_eq!(
            complaints,
            [
                "src/pool/key.rs:2: `pool` imports `server`, whose row in src/lib.rs is not above its \
              own; take a value as an argument, or move what both need to a row above"
            ]
        );
    }

    #[test]
    fn impurity_is_found_however_it_is_written() {
        for text in [
            "use std::io;",
            "use std::io::Write;",
            "fn f() { std::thread::sleep(x) }",
            "use std::time::{Duration, Instant};",
            "use std::{fmt, env::var};",
            "use std::*;",
            "use tokio::sync::oneshot;",
            "fn f() { tracing::info!(\"x\"); }",
            "fn f() { std::io::copy::<A, B>(a, b) }",
        ] {
            assert_eq!(impurities(&file("src/pool/key.rs", text)).len(), 1, "{text}");
            assert!(impurities(&file("src/server/keys.rs", text)).is_empty(), "{text}");
        }
        let pure = "use std::time::Duration;\nuse std::sync::Mutex;\nuse super::time::Instant;\n\
                    fn f(tracing: bool) {}\n// std::io\n#[cfg(test)]\nuse std::io;";
        assert!(impurities(&file("src/provider/gemini.rs", pure)).is_empty());
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let code = |lines: usize| "\n// Why.\nfn f() {}\n".repeat(lines);
        let long = |lines| {
            let tests = format!("#[cfg(test)]\n{}", code(500));
            too_long(&file("src/pool/key.rs", &(code(lines) + &tests)))
        };
        assert_eq!(long(LONGEST), None);
        let complaint = long(LONGEST + 1).unwrap();
        assert!(complaint.starts_with("src/pool/key.rs:1203: 401 lines of code, "), "{complaint}");
        assert_eq!(too_long(&file("src/pool/tests.rs", &code(500))), None);
    }

    #[test]
    fn a_module_that_is_not_on_the_map_is_found() {
        let map = "//! | [`pool`] | the pool of `watch` |\n";
        let unmapped = |path| unmapped(&file(path, ""), map);
        assert!(unmapped("src/watch.rs").unwrap().starts_with("src/watch.rs:1: not on the"));
        assert!(unmapped("src/state/mod.rs").is_some());
        for path in ["src/pool/mod.rs", "src/state/slot.rs", "src/lib.rs", "src/main.rs"] {
            assert_eq!(unmapped(path), None, "{path}");
        }
    }
}

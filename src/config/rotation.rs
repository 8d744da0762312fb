//! Whether keys rotate, and why.

use std::fmt;

use super::problem::Problem;
use super::sources::variable_place;
use super::value::switch;
use crate::secrets::{Environment, Source};

/// The variable that forces rotation on or off.
pub(super) const VARIABLE: &str = "ENABLE_KEY_ROTATION";

/// Whether keys rotate, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// Whether they do.
    pub on: bool,
    /// Why, for people: `config/keys.json exists`.
    pub why: String,
}

/// What [`VARIABLE`] asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    pub(super) on: bool,
    pub(super) source: Source,
}

/// What [`VARIABLE`] asks for, if it is set to anything.
pub(super) fn wish(environment: &Environment) -> Result<Option<Wish>, Problem> {
    let Some(found) = environment.lookup(VARIABLE) else { return Ok(None) };
    let text = found.value.expose();
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(on) = switch(text) {
        return Ok(Some(Wish { on, source: found.source.clone() }));
    }
    let message = "expected true or false".to_owned();
    Err(Problem { message, ..variable_place(environment, VARIABLE) })
}

impl Rotation {
    /// What a wish, or the keys file alone, makes of rotation.
    pub(super) fn of(wish: Option<&Wish>, keys_file: &std::path::Path) -> Self {
        let file = keys_file.display();
        // A file in a place that cannot be looked at is for its reader to complain about.
        let exists = keys_file.try_exists().unwrap_or(true);
        match wish {
            Some(Wish { on, source }) => {
                Self { on: *on, why: format!("{VARIABLE} is {on} ({source})") }
            }
            None if exists => Self { on: true, why: format!("there is a keys file, {file}") },
            None => Self { on: false, why: format!("there is no keys file at {file}") },
        }
    }
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rotation is {}: {}", if self.on { "on" } else { "off" }, self.why)
    }
}

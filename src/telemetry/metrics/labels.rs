//! The values of labels that are neither names of keys, providers nor models: closed sets.

use crate::pool::{Refusal, WaitsFor};

/// What came of a select.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SelectResult {
    /// It has a key.
    Granted,
    /// No matching key can pay.
    Exhausted,
    /// No key offers the model.
    NoSuchModel,
    /// No matching key is usable, or its provider is down.
    NoUsableKey,
    /// It was not valid, its caller went away, or the daemon stopped.
    Rejected,
}

impl SelectResult {
    /// Every name that [`SelectResult::name`] gives.
    pub const NAMES: [&'static str; 5] =
        ["granted", "exhausted", "no_such_model", "no_usable_key", "rejected"];

    /// The value of the label.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl From<&Refusal> for SelectResult {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Exhausted { waits_for: Some(WaitsFor::Provider), .. }
            | Refusal::NoUsableKey { .. } => Self::NoUsableKey,
            Refusal::Exhausted { .. } => Self::Exhausted,
            // There is no key at all.
            Refusal::NoSuchModel { offered } if offered.is_empty() => Self::NoUsableKey,
            Refusal::NoSuchModel { .. } => Self::NoSuchModel,
            Refusal::TooManyTokens { .. } => Self::Rejected,
        }
    }
}

/// Why a request, or a whole connection, was refused for who sent it or how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denial {
    /// Who connected may not call.
    Uid,
    /// The required header is missing or wrong.
    Header,
    /// It looks as if a proxy, a browser or a smuggler had sent it.
    Hygiene,
    /// It is for administrators.
    Administration,
    /// It names a host that this cannot be.
    Host,
}

impl Denial {
    /// Every name that [`Denial::name`] gives.
    pub const NAMES: [&'static str; 5] = ["uid", "header", "hygiene", "administration", "host"];

    /// The value of the label.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Why a connection was ended before its client ended it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Too many waited for a place already.
    LineFull,
    /// Its client did not take the answers.
    SlowReader,
}

impl Cut {
    /// Every name that [`Cut::name`] gives.
    pub const NAMES: [&'static str; 2] = ["line_full", "slow_reader"];

    /// The value of the label.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What came of fetching a secret anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresh {
    /// It is the one in use.
    Unchanged,
    /// It is another one.
    Replaced,
    /// The store says that there is none.
    Missing,
    /// The store does not let keypool in.
    Denied,
    /// The store did not answer, or nothing of use.
    Failed,
}

impl Refresh {
    /// Every name that [`Refresh::name`] gives.
    pub const NAMES: [&'static str; 5] = ["unchanged", "replaced", "missing", "denied", "failed"];

    /// The value of the label.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_stand_in_the_order_of_the_variants() {
        assert_eq!(SelectResult::Granted.name(), "granted");
        assert_eq!(SelectResult::Rejected.name(), "rejected");
        assert_eq!(Denial::Host.name(), "host");
        assert_eq!(Cut::SlowReader.name(), "slow_reader");
        assert_eq!(Refresh::Failed.name(), "failed");
    }

    #[test]
    fn a_provider_that_is_down_is_no_want_of_quota() {
        let exhausted = |waits_for| {
            let free_at = crate::pool::Instant::ZERO;
            SelectResult::from(&Refusal::Exhausted { free_at, waits_for, waiting: 0 })
        };
        assert_eq!(exhausted(None), SelectResult::Exhausted);
        assert_eq!(exhausted(Some(WaitsFor::Provider)), SelectResult::NoUsableKey);
    }

    #[test]
    fn without_any_key_it_is_not_the_models_fault() {
        let no_model = |offered| SelectResult::from(&Refusal::NoSuchModel { offered });
        assert_eq!(no_model(Vec::new()), SelectResult::NoUsableKey);
        assert_eq!(no_model(vec!["gemini-2.5-pro".into()]), SelectResult::NoSuchModel);
    }
}

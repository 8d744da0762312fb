//! Why a store did not give a secret.

use std::borrow::Cow;

/// Why a store did not give a secret. The texts go on from the name of the secret: "is deleted".
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// What it means for the secret.
    pub class: FailureClass,
    /// Why, in our own words.
    pub text: Cow<'static, str>,
}

/// What a failure means for the secret that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FailureClass {
    /// The store knows that there is none: never written, deleted, disabled, expired.
    Gone,
    /// The store does not let us have it, even after a new login.
    Denied,
    /// The store has it, but it is no key: no such field, no text.
    Unusable,
    /// The store cannot be asked, or cannot answer: no connection, no time, sealed, overloaded,
    /// an answer that makes no sense.
    Unavailable,
    /// The settings don't say how to ask, or this program was built without the store. It cannot
    /// change before the next reload.
    Unset,
}

impl FailureClass {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Gone, Self::Denied, Self::Unusable, Self::Unavailable, Self::Unset];

    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Denied => "denied",
            Self::Unusable => "unusable",
            Self::Unavailable => "unavailable",
            Self::Unset => "unset",
        }
    }
}

impl Failure {
    /// There is no such secret.
    pub fn gone(text: impl Into<Cow<'static, str>>) -> Self {
        Self { class: FailureClass::Gone, text: text.into() }
    }

    /// We may not have it.
    pub fn denied(text: impl Into<Cow<'static, str>>) -> Self {
        Self { class: FailureClass::Denied, text: text.into() }
    }

    /// It is no key.
    pub fn unusable(text: impl Into<Cow<'static, str>>) -> Self {
        Self { class: FailureClass::Unusable, text: text.into() }
    }

    /// The store cannot answer at present.
    pub fn unavailable(text: impl Into<Cow<'static, str>>) -> Self {
        Self { class: FailureClass::Unavailable, text: text.into() }
    }

    /// The settings don't say how to ask.
    pub fn unset(text: impl Into<Cow<'static, str>>) -> Self {
        Self { class: FailureClass::Unset, text: text.into() }
    }
}

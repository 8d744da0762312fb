//! What the providers say, and what it means for the pool.
//!
//! Pure: an answer of a provider goes in, a verdict comes out. One file per provider holds what is
//! known about it, each fact once, with its source. A provider is a hostile server as far as this
//! module is concerned: whatever it answers, there is a verdict, and nothing of its texts is ever
//! repeated, because error bodies echo keys.

mod answer;
mod anthropic;
mod body;
mod delay;
mod gemini;
mod generic;
mod openai;
mod probe;

#[cfg(test)]
mod tests;

pub use answer::{Classified, ProviderAnswer};
pub use probe::FreeProbe;

use std::borrow::Cow;

use crate::pool::ResetZone;

/// The kinds of providers whose answers keypool understands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Provider {
    /// Google's Gemini API.
    Gemini,
    /// `OpenAI`.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Any other: HTTP's own rules.
    Generic,
}

impl Provider {
    /// The provider that `name` means in keys.json; a name nobody knows is generic.
    pub fn named(name: &str) -> Self {
        match name {
            "gemini" => Self::Gemini,
            "openai" => Self::OpenAi,
            "anthropic" => Self::Anthropic,
            _ => Self::Generic,
        }
    }

    /// The header that carries the key in a request to this provider.
    pub fn auth_header(self) -> AuthHeader {
        match self {
            Self::Gemini => gemini::AUTH_HEADER,
            Self::OpenAi => openai::AUTH_HEADER,
            Self::Anthropic => anthropic::AUTH_HEADER,
            Self::Generic => generic::AUTH_HEADER,
        }
    }

    /// The request that costs nothing and tells whether a key is good, where one is known.
    pub fn free_probe(self) -> Option<FreeProbe> {
        match self {
            Self::Gemini => Some(gemini::PROBE),
            Self::OpenAi => Some(openai::PROBE),
            Self::Anthropic => {
                let (name, value) = anthropic::VERSION;
                let headers = vec![(name.into(), value.into())];
                Some(FreeProbe { headers, ..anthropic::PROBE })
            }
            Self::Generic => None,
        }
    }

    /// Where the provider's day begins, unless the configuration says otherwise.
    pub fn default_reset_zone(self) -> ResetZone {
        match self {
            Self::Gemini => ResetZone::new(gemini::RESET_ZONE),
            Self::OpenAi | Self::Anthropic | Self::Generic => ResetZone::new("UTC"),
        }
    }

    /// What the provider's answer says about the key, its quota, the provider or the caller.
    pub fn classify(self, answer: &ProviderAnswer<'_>) -> Classified {
        match self {
            Self::Gemini => gemini::classify(answer),
            Self::OpenAi => openai::classify(answer),
            Self::Anthropic => anthropic::classify(answer),
            Self::Generic => generic::classify(answer),
        }
    }
}

/// A header that carries a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthHeader {
    /// The header's name, in lower case save for `Authorization`.
    pub name: Cow<'static, str>,
    /// What stands before the key in its value.
    pub prefix: Cow<'static, str>,
}

impl AuthHeader {
    /// `name: prefix` and the key.
    const fn fixed(name: &'static str, prefix: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), prefix: Cow::Borrowed(prefix) }
    }

    /// The header's value for the key `secret`; as secret as the key.
    pub fn value(&self, secret: &str) -> String {
        [&*self.prefix, secret].concat()
    }
}

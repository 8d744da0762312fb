//! The type of a secret.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A secret: its text is zeroed when the last clone is dropped. Clones share one copy.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Box<str>>>);

/// Why a text cannot be sent as a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unusable {
    /// There is no text.
    #[error("is empty")]
    Empty,
    /// It has a line break or another control character.
    #[error("has a line break or another control character, which no HTTP header may have")]
    ControlCharacter,
    /// It has a character outside ASCII.
    #[error("has a character outside ASCII, which no HTTP header may have")]
    NotAscii,
    /// White space at the ends, which HTTP would strip.
    #[error("begins or ends with white space")]
    SurroundingSpace,
}

impl Secret {
    /// Keeps a copy of `text`; the caller wipes its own.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text itself. For the answer to select, and for comparing secrets in `check`.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether both have the same text. It takes as long for a difference at the beginning as for
    /// one at the end.
    pub fn same_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.expose().as_bytes(), other.expose().as_bytes());
        let differences = ours.iter().zip(theirs).fold(0, |sum, (a, b)| sum | (a ^ b));
        ours.len() == theirs.len() && differences == 0
    }

    /// `text`, with what is this secret in it taken out.
    pub fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let secret = self.expose();
        if !secret.is_empty() && text.contains(secret) {
            text.replace(secret, "[REDACTED]").into()
        } else {
            text.into()
        }
    }

    /// Whether the text can be the value of an HTTP header, as every provider wants it.
    pub fn usable(&self) -> Result<(), Unusable> {
        let text = self.expose();
        if text.is_empty() {
            Err(Unusable::Empty)
        } else if text.chars().any(char::is_control) {
            Err(Unusable::ControlCharacter)
        } else if !text.is_ascii() {
            Err(Unusable::NotAscii)
        } else if text.trim_ascii().len() != text.len() {
            Err(Unusable::SurroundingSpace)
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_is_redacted() {
        let shown = format!("{:?}", Some(Secret::new("fake-secret-flash-01")));
        assert_eq!(shown, "Some([REDACTED])");
    }

    /// Has a method of this name twice for whoever can be shown, so that its call would not compile.
    trait Shown<By> {
        fn is_not_shown() {}
    }
    struct ByDisplay;
    struct BySerialize;
    impl<T> Shown<()> for T {}
    impl<T: fmt::Display> Shown<ByDisplay> for T {}
    impl<T: serde::Serialize> Shown<BySerialize> for T {}

    #[test]
    fn it_can_be_neither_displayed_nor_serialized() {
        <Secret as Shown<_>>::is_not_shown();
    }

    #[test]
    fn a_clone_shares_the_text() {
        let secret = Secret::new("fake-secret-flash-01");
        assert!(std::ptr::eq(secret.expose(), secret.clone().expose()));
    }

    #[test]
    fn secrets_are_the_same_if_their_texts_are() {
        let same = |a, b| Secret::new(a).same_as(&Secret::new(b));
        assert!(same("fake-secret-a", "fake-secret-a"));
        assert!(!same("fake-secret-a", "fake-secret-b") && !same("fake", "fake-secret-a"));
    }

    #[test]
    fn a_text_is_scrubbed_of_a_secret() {
        let secret = Secret::new("fake-secret-flash-01");
        assert_eq!(secret.scrub("403 fake-secret-flash-01 X"), "403 [REDACTED] X");
        assert_eq!(secret.scrub("403 CONSUMER_SUSPENDED"), "403 CONSUMER_SUSPENDED");
        assert_eq!(Secret::new("").scrub("403"), "403");
    }

    #[test]
    fn text_that_no_header_can_carry_is_unusable() {
        for (text, why) in [
            ("", Unusable::Empty),
            ("fake\nsecret", Unusable::ControlCharacter),
            ("fake\0secret", Unusable::ControlCharacter),
            ("fake\u{200b}secret", Unusable::NotAscii),
            (" fake-secret", Unusable::SurroundingSpace),
            ("fake-secret ", Unusable::SurroundingSpace),
        ] {
            assert_eq!(Secret::new(text).usable(), Err(why), "{text:?}");
        }
        assert_eq!(Secret::new("fake-secret-flash-01").usable(), Ok(()));
    }
}

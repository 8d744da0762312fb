//! Models whose names look misspelt.

use strsim::damerau_levenshtein;

/// Names that are surely right. The list ages: a model that is not in it is no error.
const WELL_KNOWN: [&str; 32] = [
    "claude-3-5-haiku-latest",
    "claude-3-5-sonnet-latest",
    "claude-3-7-sonnet-latest",
    "claude-haiku-4-5",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-sonnet-4-0",
    "claude-sonnet-4-5",
    "gemini-1.5-flash",
    "gemini-1.5-flash-8b",
    "gemini-1.5-pro",
    "gemini-2.0-flash",
    "gemini-2.0-flash-lite",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-pro",
    "gemini-3-flash",
    "gemini-3-pro",
    "gemini-embedding-001",
    "gpt-4-turbo",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4.1-nano",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-nano",
    "o3-mini",
    "o4-mini",
    "text-embedding-3-large",
    "text-embedding-3-small",
];

/// The name that `model` is most likely meant to be, if it looks misspelt. `others` are the
/// models of more keys than have this one.
pub(super) fn meant<'a>(model: &str, others: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const SHORT: usize = 8;
    if WELL_KNOWN.contains(&model) {
        return None;
    }
    let allowed = if model.len() < SHORT { 1 } else { 2 };
    let distance = |name: &str| damerau_levenshtein(model, name);
    others
        .chain(WELL_KNOWN)
        .filter(|name| *name != model && without_digits(name) != without_digits(model))
        .filter(|name| distance(name) <= allowed)
        .min_by_key(|name| distance(name))
}

/// Versions differ in digits, and the next one is no misspelling of the last.
fn without_digits(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(meant("gemini-2.0-flahs", [].into_iter()), Some("gemini-2.0-flash"));
        assert_eq!(meant("gemini-2.5pro", [].into_iter()), Some("gemini-2.5-pro"));
        assert_eq!(meant("my-modle", ["my-model"].into_iter()), Some("my-model"));
    }

    #[test]
    fn another_version_or_another_model_is_no_slip() {
        for model in ["gemini-2.0-flash", "gemini-9.5-pro", "gpt-6", "my-own-model", "o5-mini"] {
            assert_eq!(meant(model, [].into_iter()), None, "{model}");
        }
        assert_eq!(meant("model-2", ["model-1"].into_iter()), None);
    }
}

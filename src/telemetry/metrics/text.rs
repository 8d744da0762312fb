//! Prometheus's text format, version 0.0.4, of what is read anew for every scrape. With a thousand
//! keys that is tens of thousands of lines, so they are written straight into the answer.

use std::fmt::{Display, Write};

use super::catalogue::Family;

/// A text that grows family by family.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// Writes the samples of one family.
pub(super) struct Samples<'a> {
    text: &'a mut String,
    family: &'a Family,
}

impl Text {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// Begins a family, whose samples come next.
    pub(super) fn family<'a>(&'a mut self, family: &'a Family) -> Samples<'a> {
        let Family { name, kind, help, .. } = family;
        let kind = kind.name();
        // Writing to a string does not fail.
        write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n").ok();
        Samples { text: &mut self.0, family }
    }

    /// The whole text, to which more can be added.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl Samples<'_> {
    /// Adds a sample with the `values` of the family's labels.
    pub(super) fn add(&mut self, values: &[&str], number: impl Display) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        self.text.push_str(self.family.name);
        let mut before = '{';
        for (label, value) in self.family.labels.iter().zip(values) {
            self.text.push(before);
            self.text.push_str(label);
            self.text.push_str("=\"");
            self.escaped(value);
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        writeln!(self.text, " {number}").ok();
    }

    /// The same, if there is a number.
    pub(super) fn add_known(&mut self, values: &[&str], number: Option<impl Display>) {
        if let Some(number) = number {
            self.add(values, number);
        }
    }

    /// The only characters that a value must not hold as they are.
    fn escaped(&mut self, value: &str) {
        if !value.contains(['\\', '"', '\n']) {
            return self.text.push_str(value);
        }
        for character in value.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::catalogue::{KEY_GRANTS, WAITERS};

    #[test]
    fn a_family_has_its_help_its_kind_and_its_samples() {
        let mut text = Text::default();
        text.family(&WAITERS).add(&[], 3);
        let mut grants = text.family(&KEY_GRANTS);
        grants.add(&["flash_01", "gemini"], 7);
        grants.add(&["a", "od\\d \"one\"\n"], 0.5);
        assert_eq!(
            text.into_string(),
            "# HELP keypool_waiters Requests in the waiting line.\n\
             # TYPE keypool_waiters gauge\n\
             keypool_waiters 3\n\
             # HELP keypool_key_grants_total Leases granted.\n\
             # TYPE keypool_key_grants_total counter\n\
             keypool_key_grants_total{key_id=\"flash_01\",provider=\"gemini\"} 7\n\
             keypool_key_grants_total{key_id=\"a\",provider=\"od\\\\d \\\"one\\\"\\n\"} 0.5\n"
        );
    }
}

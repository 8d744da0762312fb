//! Prometheus's text format, version 0.0.4, of what is read anew for every scrape. With a thousand
//! keys that is tens of thousands of lines, so they are written straight into the answer; and with
//! ten thousand it takes a processor for so long that whoever waits for it is let in between.

use std::fmt::{Display, Write};

use super::catalogue::Family;
use crate::background::Stretch;

/// What a sample comes to at most, but for names of unusual length.
const LONGEST_SAMPLE: usize = 1024;

/// A text that grows family by family.
#[derive(Debug)]
pub(super) struct Text {
    /// The pieces that are as long as they should be.
    pieces: Vec<String>,
    /// The last piece.
    text: String,
    stretch: Stretch,
    /// How long a piece should be.
    piece: usize,
}

/// Writes the samples of one family.
pub(super) struct Samples<'a> {
    text: &'a mut Text,
    family: &'a Family,
}

impl Text {
    /// One whose pieces are of about so many bytes.
    pub(super) fn in_pieces(piece: usize) -> Self {
        let stretch = Stretch::of_bytes();
        Self { pieces: Vec::new(), text: String::new(), stretch, piece }
    }

    /// Begins a family, whose samples come next.
    pub(super) fn family<'a>(&'a mut self, family: &'a Family) -> Samples<'a> {
        let Family { name, kind, help, .. } = family;
        let kind = kind.name();
        // Writing to a string does not fail.
        write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n").ok();
        Samples { text: self, family }
    }

    /// The last piece, which can be added to.
    pub(super) fn last(&mut self) -> &mut String {
        &mut self.text
    }

    /// The whole text.
    pub(super) fn into_pieces(mut self) -> Vec<String> {
        self.pieces.push(self.text);
        self.pieces
    }

    /// It has become longer by so many bytes: begins the next piece if that is enough.
    fn grew(&mut self, bytes: usize) {
        self.stretch.add(bytes);
        if self.text.len() >= self.piece {
            let next = String::with_capacity(self.piece + LONGEST_SAMPLE);
            self.pieces.push(std::mem::replace(&mut self.text, next));
        }
    }
}

impl Samples<'_> {
    /// Adds a sample with the `values` of the family's labels.
    pub(super) fn add(&mut self, values: &[&str], number: impl Display) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        let text = &mut self.text.text;
        let before_it = text.len();
        text.push_str(self.family.name);
        let mut before = '{';
        for (label, value) in self.family.labels.iter().zip(values) {
            text.push(before);
            text.push_str(label);
            text.push_str("=\"");
            push_escaped(text, value);
            text.push('"');
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
        writeln!(text, " {number}").ok();
        let bytes = text.len() - before_it;
        self.text.grew(bytes);
    }

    /// The same, if there is a number.
    pub(super) fn add_known(&mut self, values: &[&str], number: Option<impl Display>) {
        if let Some(number) = number {
            self.add(values, number);
        }
    }
}

/// Adds a value but for the only characters that it must not hold as they are.
fn push_escaped(text: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        return text.push_str(value);
    }
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::catalogue::{KEY_GRANTS, WAITERS};

    #[test]
    fn a_family_has_its_help_its_kind_and_its_samples() {
        let mut text = Text::in_pieces(64);
        text.family(&WAITERS).add(&[], 3);
        let mut grants = text.family(&KEY_GRANTS);
        grants.add(&["flash_01", "gemini"], 7);
        grants.add(&["a", "od\\d \"one\"\n"], 0.5);
        let pieces = text.into_pieces();
        let (last, cut) = pieces.split_last().unwrap();
        assert!(cut.len() > 2 && cut.iter().all(|piece| piece.len() >= 64), "{cut:?} {last:?}");
        assert_eq!(
            pieces.concat(),
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

//! Where a command shows its answer.

use std::io::Write;

use super::client::{Answer, ClientError};
use crate::pool::WallTime;

/// Where and how a command shows its answer.
pub struct Screen<'a> {
    /// Where it is written.
    pub out: &'a mut dyn Write,
    /// Whether programs read it: then it is the daemon's JSON as it came.
    pub json: bool,
    /// What the wall clock shows, to say `in 12 s`.
    pub now: WallTime,
}

impl Screen<'_> {
    /// Shows `answer`: as it came, or as `text` puts it for people.
    pub(super) fn show(
        &mut self,
        answer: &Answer,
        text: impl FnOnce(&serde_json::Value, WallTime) -> String,
    ) -> Result<(), ClientError> {
        if self.json {
            self.line(answer.text().trim_end())
        } else {
            self.line(text(answer.json(), self.now).trim_end())
        }
    }

    /// Writes `text` and ends the line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), ClientError> {
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(ClientError::Output)
    }
}

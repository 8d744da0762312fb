//! What Prometheus takes for its past: samples with their times.

use std::io::{self, Write};

use keypool::pool::WallTime;

/// What Prometheus would add at a scrape.
const TARGET: &str = r#"instance="127.0.0.1:9464",job="keypool""#;

/// Writes every sample of a scrape of `text` at the time `at`.
pub(crate) fn write(out: &mut impl Write, text: &str, at: WallTime) -> io::Result<()> {
    let millis = at.as_millis();
    let (seconds, rest) = (millis / 1000, millis % 1000);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        match series.strip_suffix('}') {
            Some(labelled) => writeln!(out, "{labelled},{TARGET}}} {value} {seconds}.{rest:03}")?,
            None => writeln!(out, "{series}{{{TARGET}}} {value} {seconds}.{rest:03}")?,
        }
    }
    writeln!(out, "up{{{TARGET}}} 1 {seconds}.{rest:03}")
}

/// Writes the end.
pub(crate) fn end(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# EOF")?;
    out.flush()
}

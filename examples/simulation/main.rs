//! Prints what comes of an hour of traffic with keypool and without, as Markdown:
//!
//! ```sh
//! cargo run --release --example simulation
//! ```

#[allow(dead_code, unused_imports, reason = "the tests use other parts")]
#[path = "../../tests/simulation/hour/mod.rs"]
mod hour;

use std::io::{self, IsTerminal, Write};

/// An hour in which the ideal reaches what it reaches on average.
const SEED: u64 = 39;

fn main() -> io::Result<()> {
    let mut terminal = io::stderr();
    let watched = terminal.is_terminal();
    let table = hour::Table::simulate(SEED, |done, of| {
        if watched {
            // Whether anybody sees the progress is all the same to the table.
            write!(terminal, "\r{done} of {of} hours").ok();
        }
    });
    if watched {
        writeln!(terminal)?;
    }
    write!(io::stdout(), "{table}")
}

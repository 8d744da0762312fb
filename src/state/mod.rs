//! What outlives the process: a snapshot of the pool and a log of the facts since.
//!
//! A fact is written before its answer is given, with one `write` and without an `fsync`: what the
//! kernel has survives a `kill -9`, and a sync every second bounds what a power failure can take.
//! Every file is checksummed and has a version. What cannot be read is set aside and reported, and
//! limits then start conservatively. No secret is in any of it.
//!
//! Snapshot `n` holds everything before log `n`; logs `n`, `n + 1`, … follow each other. So a new
//! log can be begun at once, and the snapshot that makes older logs superfluous can take its time.

mod format;
mod keeper;
mod opening;

#[cfg(any(doc, fuzzing, test))]
pub(crate) use format::{
    Header, append_sealed, decode_log, decode_snapshot, encode_fact, encode_pieces,
    encode_snapshot, encode_taken, log_head, sealed_snapshot,
};
pub use keeper::{Moment, StateKeeper, StateStatus};
pub use opening::{Opened, open};

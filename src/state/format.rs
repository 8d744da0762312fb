//! The bytes of snapshots and logs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::background::Unhurried;
use crate::pool::{Fact, Now, PoolSettings, Saved, Snapshot};

/// The version of both formats. Another one is not read.
const VERSION: u32 = 3;

const SNAPSHOT_MAGIC: &[u8] = b"keypool state\n";
const LOG_MAGIC: &[u8] = b"keypool facts\n";

/// The most bytes of a file that are read; a pool of 10,000 keys has less than a tenth.
pub(super) const MOST_BYTES: u64 = 512 * 1024 * 1024;

/// Why bytes are no state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("it is not a file of keypool")]
    Foreign,
    #[error("it is of version {0}, and this keypool reads version {VERSION}")]
    Version(u32),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its content is not sound")]
    Content,
}

/// What a snapshot begins with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The first log that is not in the snapshot.
    pub(crate) generation: u64,
    /// The boot of the machine it was made in.
    pub(crate) boot_id: String,
    /// What was added to the machine's clock.
    pub(crate) offset: i64,
    /// When it was made.
    pub(crate) now: Now,
}

/// The files of a state directory.
pub(super) fn snapshot_path(dir: &Path) -> PathBuf {
    dir.join("keypool.state")
}

pub(super) fn log_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("keypool.log.{generation}"))
}

/// A whole snapshot.
pub(crate) fn encode_snapshot(header: &Header, snapshot: &Snapshot<'_>) -> Option<Vec<u8>> {
    Some(sealed_snapshot(&encoded(&(header, snapshot))?))
}

/// The bytes of something large, for which nobody has to wait.
fn encoded(value: &impl Serialize) -> Option<Vec<u8>> {
    Some(postcard::to_io(value, Unhurried::new(Vec::new())).ok()?.into_inner())
}

/// The file of a snapshot with this content.
pub(crate) fn sealed_snapshot(payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(SNAPSHOT_MAGIC);
    bytes.extend(crc32fast::hash(payload).to_le_bytes());
    bytes.extend(payload);
    bytes
}

pub(crate) fn decode_snapshot(bytes: &[u8]) -> Result<(Header, Saved), Damage> {
    let rest = after_head(bytes, SNAPSHOT_MAGIC)?;
    let (checksum, payload) = rest.split_first_chunk().ok_or(Damage::Checksum)?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*checksum) {
        return Err(Damage::Checksum);
    }
    postcard::from_bytes(payload).map_err(|_| Damage::Content)
}

/// What a log begins with.
pub(crate) fn log_head() -> Vec<u8> {
    head(LOG_MAGIC)
}

/// Appends a fact: its length, its checksum, itself.
pub(crate) fn encode_fact(fact: &Fact, into: &mut Vec<u8>) {
    append_sealed(into, |into| postcard::to_io(fact, into).is_ok());
}

/// A configuration, encoded before the pool takes it: that of a large pool takes a while.
#[derive(Debug)]
pub(super) struct EncodedSettings {
    settings: Arc<PoolSettings>,
    /// The fact that it was taken, but for the time at its beginning.
    bytes: Vec<u8>,
}

impl EncodedSettings {
    pub(super) fn new(settings: Arc<PoolSettings>) -> Option<Self> {
        let now = Now::default();
        let mut bytes = encoded(&Fact::reconfigured(settings.clone(), now))?;
        bytes.drain(..postcard::to_stdvec(&now).ok()?.len());
        Some(Self { settings, bytes })
    }

    /// Whether `fact` is that this configuration was taken.
    pub(super) fn is_in(&self, fact: &Fact) -> bool {
        fact.settings().is_some_and(|taken| Arc::ptr_eq(taken, &self.settings))
    }

    /// Appends the fact that it was taken at `now`.
    pub(super) fn encode_fact(&self, now: Now, into: &mut Vec<u8>) {
        append_sealed(into, |into| {
            let written = postcard::to_io(&now, &mut *into).is_ok();
            into.extend(&self.bytes);
            written
        });
    }
}

/// Appends a fact with the content that `write` appends, unless that fails.
pub(crate) fn append_sealed(into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) {
    let begin = into.len();
    let place = begin + SEAL_BYTES;
    into.resize(place, 0);
    if write(into) {
        let seal = seal(&into[place..]);
        into[begin..place].copy_from_slice(&seal);
    } else {
        into.truncate(begin);
    }
}

/// How many bytes stand before the content of a fact.
const SEAL_BYTES: usize = 8;

/// What stands before this content: its length and its checksum.
fn seal(payload: &[u8]) -> [u8; SEAL_BYTES] {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32fast::hash(payload).to_le_bytes();
    let mut seal = [0; SEAL_BYTES];
    seal[..4].copy_from_slice(&length);
    seal[4..].copy_from_slice(&checksum);
    seal
}

/// The facts of a log up to the first that is not sound, and whether that is the end.
pub(crate) fn decode_log(bytes: &[u8]) -> Result<(Vec<Fact>, bool), Damage> {
    let mut rest = after_head(bytes, LOG_MAGIC)?;
    let mut facts = Vec::new();
    while let Some((fact, after)) = decode_fact(rest) {
        facts.push(fact);
        rest = after;
    }
    Ok((facts, rest.is_empty()))
}

fn decode_fact(bytes: &[u8]) -> Option<(Fact, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    let sound = crc32fast::hash(payload) == u32::from_le_bytes(*checksum);
    let fact = postcard::from_bytes(payload).ok()?;
    sound.then_some((fact, rest))
}

fn head(magic: &[u8]) -> Vec<u8> {
    [magic, &VERSION.to_le_bytes()].concat()
}

fn after_head<'a>(bytes: &'a [u8], magic: &[u8]) -> Result<&'a [u8], Damage> {
    let rest = bytes.strip_prefix(magic).ok_or(Damage::Foreign)?;
    let (version, rest) = rest.split_first_chunk().ok_or(Damage::Checksum)?;
    match u32::from_le_bytes(*version) {
        VERSION => Ok(rest),
        other => Err(Damage::Version(other)),
    }
}

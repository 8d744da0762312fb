//! The bytes of snapshots and logs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::background::Unhurried;
use crate::pool::{Fact, Now, PoolSettings, Saved, Snapshot};

/// The version of both formats. Another one is not read.
const VERSION: u32 = 4;

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

/// What a record of a log is about: the first byte of its content.
const FACT: u8 = 0;
const PIECE: u8 = 1;
const TAKEN: u8 = 2;

/// The most bytes of a configuration in a record: some 100 µs to write.
const PIECE_BYTES: usize = 32 * 1024;

/// A record of a log.
enum Record<'a> {
    /// What has happened.
    Fact(Box<Fact>),
    /// A piece of a configuration that may be taken, and where it begins in that.
    Piece { at: usize, bytes: &'a [u8] },
    /// The configuration whose pieces came last was taken.
    Taken(Now),
}

/// Appends a fact.
pub(crate) fn encode_fact(fact: &Fact, into: &mut Vec<u8>) {
    append_sealed(into, |into| {
        into.push(FACT);
        postcard::to_io(fact, into).is_ok()
    });
}

/// A configuration, in records that can be written before the pool takes it, with others between
/// them: that of a large pool takes a while.
pub(crate) fn encode_pieces(settings: &PoolSettings) -> Option<Vec<Vec<u8>>> {
    let all = encoded(settings)?;
    let record = |(n, piece): (usize, &[u8])| {
        let at = u32::try_from(n * PIECE_BYTES).ok()?.to_le_bytes();
        let mut record = Vec::with_capacity(SEAL_BYTES + 1 + at.len() + piece.len());
        append_sealed(&mut record, |into| {
            into.push(PIECE);
            into.extend(at);
            into.extend(piece);
            true
        });
        Some(record)
    };
    all.chunks(PIECE_BYTES).enumerate().map(record).collect()
}

/// Appends that the configuration whose pieces were written last was taken.
pub(crate) fn encode_taken(now: Now, into: &mut Vec<u8>) {
    append_sealed(into, |into| {
        into.push(TAKEN);
        postcard::to_io(&now, into).is_ok()
    });
}

/// Appends a record with the content that `write` appends, unless that fails: its length, its
/// checksum, itself.
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

/// How many bytes stand before the content of a record.
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

/// The facts of a log up to the first record that is not sound, and whether that is the end.
pub(crate) fn decode_log(bytes: &[u8]) -> Result<(Vec<Fact>, bool), Damage> {
    let mut rest = after_head(bytes, LOG_MAGIC)?;
    let (mut facts, mut coming) = (Vec::new(), Vec::new());
    while let Some((record, after)) = decode_record(rest) {
        match record {
            Record::Fact(fact) => facts.push(*fact),
            Record::Piece { at: 0, bytes } => bytes.clone_into(&mut coming),
            Record::Piece { at, bytes } if at == coming.len() => coming.extend(bytes),
            Record::Piece { .. } => break,
            Record::Taken(now) => {
                match postcard::from_bytes::<PoolSettings>(&std::mem::take(&mut coming)) {
                    Ok(settings) => facts.push(Fact::reconfigured(settings.into(), now)),
                    Err(_) => break,
                }
            }
        }
        rest = after;
    }
    Ok((facts, rest.is_empty()))
}

fn decode_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (&kind, content) = payload.split_first()?;
    let record = match kind {
        FACT => Record::Fact(Box::new(postcard::from_bytes(content).ok()?)),
        PIECE => {
            let (at, bytes) = content.split_first_chunk()?;
            Record::Piece { at: usize::try_from(u32::from_le_bytes(*at)).ok()?, bytes }
        }
        TAKEN => Record::Taken(postcard::from_bytes(content).ok()?),
        _ => return None,
    };
    Some((record, rest))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pool::{Instant, KeyId};

    fn large() -> Arc<PoolSettings> {
        let ids = (0..10_000).map(|n| KeyId::parse(&format!("key_{n:05}")).unwrap());
        Arc::new(PoolSettings { fallback_order: ids.collect(), ..PoolSettings::default() })
    }

    fn now(nanos: u64) -> Now {
        Now { at: Instant::from_nanos(nanos), ..Now::default() }
    }

    #[test]
    fn a_configuration_is_read_from_its_pieces_whatever_comes_between_them() {
        let (large, small) = (large(), Arc::new(PoolSettings::default()));
        let given_up = encode_pieces(&small).unwrap();
        let pieces = encode_pieces(&large).unwrap();
        assert!(pieces.len() > 2);
        let mut log = log_head();
        for (n, piece) in (0..).zip(given_up.iter().chain(&pieces)) {
            log.extend(piece);
            encode_fact(&Fact::reconfigured(small.clone(), now(n)), &mut log);
        }
        encode_taken(now(100), &mut log);
        let (facts, whole) = decode_log(&log).unwrap();
        assert!(whole);
        assert_eq!(facts.len(), 1 + pieces.len() + 1);
        assert_eq!(facts.last(), Some(&Fact::reconfigured(large, now(100))));
    }

    #[test]
    fn a_log_ends_where_a_piece_is_missing() {
        let pieces = encode_pieces(&large()).unwrap();
        let without = |missing: usize| {
            let mut log = log_head();
            for (_, piece) in pieces.iter().enumerate().filter(|(n, _)| *n != missing) {
                log.extend(piece);
            }
            encode_taken(now(1), &mut log);
            decode_log(&log).unwrap()
        };
        assert_eq!(without(pieces.len()).0.len(), 1);
        for missing in 0..pieces.len() {
            assert_eq!(without(missing), (Vec::new(), false));
        }
    }
}

//! The files of the state.

use super::script::Script;
use crate::pool::{Now, Outcome, Pool, Report, SelectRequest, Selection};
use crate::state;

/// Reads damaged files of the state, and goes on with what they give, if they give anything: nobody
/// panics.
///
/// With a `|` in them, `bytes` are calls of a pool (`script`) before it and damage to its files
/// after it; without one they are files themselves, with a checksum that is right and with none.
pub fn state_file(bytes: &[u8]) {
    if let Some(at) = bytes.iter().position(|byte| *byte == b'|') {
        let mut script = Script::new();
        script.play(&bytes[..at]);
        let (mut snapshot, mut log) = (script.snapshot.clone(), script.log.clone());
        damage(&bytes[at + 1..], &mut snapshot, &mut log);
        go_on(&snapshot, &log, script.clock.now());
        return;
    }
    let script = Script::new();
    let now = script.clock.now();
    go_on(bytes, bytes, now);
    go_on(&state::sealed_snapshot(bytes), &script.log, now);
    let mut log = state::log_head();
    append(bytes, &mut log);
    go_on(&script.snapshot, &log, now);
}

/// Damages the files: a letter is the kind of damage (capital: to the log), two bytes are its
/// place, and one is what it is done with. The checksums are those of the damaged files, unless the
/// damage is to them.
fn damage(bytes: &[u8], snapshot: &mut Vec<u8>, log: &mut Vec<u8>) {
    const HEAD: usize = 18;
    let mut content = snapshot.split_off(HEAD + 4);
    let mut facts = unsealed(&log[HEAD..]);
    let mut spoil = None;
    for edit in bytes.chunks_exact(4) {
        let [kind, high, low, value] = [edit[0], edit[1], edit[2], edit[3]];
        let place = usize::from(u16::from_be_bytes([high, low]));
        let count = facts.len().max(1);
        let target = if kind.is_ascii_uppercase() {
            let Some(fact) = facts.get_mut(usize::from(high) % count) else { continue };
            fact
        } else {
            &mut content
        };
        let place = place % target.len().max(1);
        match kind.to_ascii_lowercase() {
            b'=' | b's' if place < target.len() => target[place] = value,
            b'+' | b'i' => target.insert(place, value),
            b'-' | b'd' if place < target.len() => drop(target.remove(place)),
            b'<' | b't' => target.truncate(place),
            b'm' => target.splice(place..place, [0xff; 9].into_iter().chain([1])).for_each(drop),
            b'o' if kind == b'O' => drop(facts.remove(usize::from(high) % count)),
            b'!' | b'x' => spoil = Some((usize::from(low), value)),
            _ => {}
        }
    }
    *snapshot = state::sealed_snapshot(&content);
    log.truncate(HEAD);
    for fact in &facts {
        append(fact, log);
    }
    if let Some((place, value)) = spoil {
        for file in [snapshot, log] {
            let place = place % file.len();
            file[place] ^= value;
        }
    }
}

/// Appends a fact with this content to `log`.
fn append(content: &[u8], log: &mut Vec<u8>) {
    state::append_sealed(log, |log| {
        log.extend(content);
        true
    });
}

/// The contents of the facts of a log.
fn unsealed(mut log: &[u8]) -> Vec<Vec<u8>> {
    let mut facts = Vec::new();
    while let Some((length, rest)) = log.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        facts.push(rest[4..4 + length].to_vec());
        log = &rest[4 + length..];
    }
    facts
}

/// What a daemon does with files that it finds.
fn go_on(snapshot: &[u8], log: &[u8], now: Now) {
    let facts = state::decode_log(log).map(|(facts, _)| facts).unwrap_or_default();
    let Ok((header, saved)) = state::decode_snapshot(snapshot) else { return };
    let Some(mut pool) = Pool::restore(super::calendar(), 1, saved) else { return };
    let latest = facts.last().map_or(header.now, crate::pool::Fact::now);
    for fact in facts {
        pool.replay(fact);
    }
    for now in [latest, now] {
        use_it(&mut pool, now);
    }
}

fn use_it(pool: &mut Pool, now: Now) {
    let ids: Vec<_> = pool.keys(now).iter().map(|key| key.settings.id.clone()).collect();
    for id in &ids {
        pool.set_secret(id, None, now);
    }
    pool.take_transitions();
    for outcome in [Outcome::Success, Outcome::RateLimited(crate::pool::RateLimit::UNKNOWN)] {
        let request = SelectRequest { tokens: Some(3), ..SelectRequest::default() };
        if let Ok(Selection::Granted(lease)) = pool.select(request, None, now) {
            pool.report(lease.id, &Report::of(outcome), now).ok();
        }
    }
    pool.providers(now);
    pool.capacity(None);
    pool.usable().ok();
    pool.next_due(now);
    for id in &ids {
        pool.clear(id, now);
    }
    let settings = crate::pool::PoolSettings {
        keys: pool.keys(now).iter().map(|key| key.settings.clone().into()).collect(),
        ..crate::pool::PoolSettings::default()
    };
    pool.assume_used(now.at, now);
    pool.reconfigure(settings, now);
    pool.reconfigure(crate::pool::PoolSettings::default(), now);
}

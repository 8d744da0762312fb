//! What a daemon is told of limits that it shares.

use super::script::Script;

/// Lines of `bytes` that begin with `>` are what the ledger or another daemon says, as JSON; others
/// are calls of a pool that shares its limits (`script`). Whatever is said, nobody panics, nothing
/// granted in between is over a limit, and a pool that is restored has believed the same.
pub fn shared_quota(bytes: &[u8]) {
    let mut script = Script::new();
    script.share();
    for line in bytes.split(|byte| *byte == b'\n') {
        match line.strip_prefix(b">").map(std::str::from_utf8) {
            Some(Ok(said)) => script.obey(said),
            Some(Err(_)) => {}
            None => script.play(line),
        }
    }
    script.play(b"T");
}

//! Calls of a pool.

use super::script::Script;

/// Makes the calls that `bytes` are (`script`): no window and no day sees more than its limit,
/// whatever is called in which order, across reloads and restarts.
pub fn pool_calls(bytes: &[u8]) {
    Script::new().play(bytes);
}

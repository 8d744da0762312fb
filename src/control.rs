//! What operators and the system ask of the running daemon, as messages.

/// What the daemon is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// Read the keys and secrets anew.
    Reload,
    /// Finish what has begun, and stop.
    Stop,
}

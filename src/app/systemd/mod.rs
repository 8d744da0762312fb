//! What systemd and the daemon have to tell each other: the socket that was passed in
//! (`activation`), how the daemon is (`notify`), that it is not stuck (`watchdog`), and how fast it
//! may start again (`pause`).
//!
//! Without systemd all of it is silent and changes nothing.

mod activation;
mod notify;
mod pause;
mod watchdog;

pub use activation::ActivationError;
pub(super) use activation::passed_socket;
pub(super) use notify::{Notifier, State};
pub(super) use pause::forget_start;
pub use pause::pause_after_a_crash;
pub(super) use watchdog::Watchdog;

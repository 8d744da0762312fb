//! Signals, turned into [`Control`] messages.
//!
//! The first TERM or INT asks the daemon to stop; a second one ends the process at once, even if
//! the daemon is stuck. HUP asks for a reload.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use crate::control::{Control, Controls};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// What the process exits with when it is told to stop twice.
const EXIT_AT_ONCE: i32 = 1;

/// Sends a message for every signal from now on.
pub fn listen(controls: Controls) -> io::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // The order matters: the exit comes first, so that it takes a second signal.
        flag::register_conditional_shutdown(signal, EXIT_AT_ONCE, stopping.clone())?;
        flag::register(signal, stopping.clone())?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let control = if signal == SIGHUP { Control::Reload } else { Control::Stop };
            controls.send(control);
        }
    })?;
    Ok(())
}

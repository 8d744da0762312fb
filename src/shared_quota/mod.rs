//! Limits that the daemons of a fleet share through Redis, at the speed of memory.
//!
//! Redis keeps the *ledger*: which daemon holds which quota group, under a lease of 15 seconds that
//! is renewed every few. The holder alone grants, and counts alone; [`crate::pool`] does that as
//! ever. A group changes hands with everything that was used of it (`ledger`, `lua`). What a daemon
//! lacks it takes from the ledger, or asks those who hold it; what others ask it for it gives if it
//! can do without (`giving`). So Redis is asked when ownership moves, and not when keys are granted.
//!
//! `link` is the connection, `wire` what is said over it, `effect` what that does to the pool,
//! `membership` what a daemon has agreed with its fleet (and why that is exact), [`Sharer`] the part
//! of the daemon that does all this, and [`Standing`] how it goes.
//!
//! Invariants: no select waits for Redis longer than the timeout; a group is granted from by one
//! daemon at a time, as long as nobody outlives his lease (`owned` does, by choice, while Redis is
//! away); every clock in it is the ledger's own.

mod address;
mod demand;
mod effect;
mod examination;
mod giving;
mod identity;
mod ledger;
mod link;
mod membership;
mod session;
mod sharer;
mod standing;
mod wire;

pub use address::{AddressFault, SCHEMES, address_fault};
#[cfg(any(doc, fuzzing, test))]
pub(crate) use effect::obey;
pub use examination::{Examined, Kind, OLDEST, examine};
pub use giving::Mode;
pub use identity::Identity;
pub use ledger::LAYOUT;
pub use link::Trouble;
pub use session::BEAT;
pub use sharer::{Fleet, OnFailure, Sharer, Sharing};
pub use standing::{Holds, Standing};
pub use wire::{Daemon, LedgerGroup, Row};

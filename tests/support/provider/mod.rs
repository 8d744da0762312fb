//! A simulated provider: HTTP on loopback that enforces limits per key, and answers as Gemini,
//! `OpenAI` and Anthropic do.
//!
//! [`Enforcer`] is pure and holds one key's limit; `dialect` knows how each provider reads a
//! request and words an answer; [`SimulatedProvider`] is the server around them. It reads the time
//! from a [`keypool::clock::Clock`], so it lives in simulated time as well as in real time.

mod dialect;
mod enforcer;
mod random;
mod server;

pub(crate) use dialect::Dialect;
pub(crate) use enforcer::{Enforcement, Enforcer};
pub(crate) use random::Random;
pub(crate) use server::{Account, SimulatedProvider, Tally};

//! keypool hands out API keys: the right key, within every limit, with rotation on failure.
//!
//! # The idea
//!
//! A pure core decides, a thin shell acts. The core ([`pool`]) is told the time, does no I/O,
//! knows no secret, logs nothing, and answers every call with a value that says what happened. The
//! shell fetches values, calls the core and carries its answer out. A conditional that matters
//! lives in the core, where a hand-moved clock tests it in microseconds.
//!
//! # The modules, in reading order
//!
//! | module | what it is |
//! | --- | --- |
//! | [`pool`] | the product, pure: keys, limits, selection, leases, cooldowns, the waiting line. [`pool::Pool`] is its only door |
//! | [`provider`] | pure: one file per provider, with the header that carries a key and what an answer means |
//! | [`clock`] | the only reader of time, real or moved by hand; days of time zones, RFC 3339 |
//! | [`background`] | work on thousands of things that lets others have the processor now and then |
//! | [`control`] | reload, changes of the keys file and stop, as messages |
//! | [`telemetry`] | logging, the journal (every change of the pool as a log line and an event), and metrics |
//! | [`https`] | what the HTTPS clients of the daemon have in common |
//! | [`secrets`] | the type that keeps secrets out of logs, the places they are read from, and the keyring of those in use |
//! | [`state`] | what outlives the process: a snapshot of the pool and a log of the facts since |
//! | [`watch`] | sees that a file of the configuration has changed, by inotify and by looking; asks for a reload |
//! | [`shared_quota`] | limits that daemons of many hosts share through Redis: who holds which quota group |
//! | [`signals`] | TERM, INT and HUP become control messages |
//! | [`health`] | probes: asks providers, at no cost, whether they accept the keys |
//! | [`server`] | the HTTP API on the Unix socket: one file per endpoint, and `problem`, where errors become a status |
//! | [`config`] | keypool.toml, variables, flags and keys.json, parsed into what is valid by construction with every error at once |
//! | [`app`] | the daemon: builds the parts, starts and watches their tasks, loads and reloads, drains |
//! | [`cli`] | argv becomes values here, and answers become text; `main` only calls it |
//! | [`fuzzing`] | what a fuzzer feeds with bytes, and what must hold whatever they are; in no build that serves |
//!
//! The `mod` lines of this file stand in rows that empty lines end. A module imports from the rows
//! above its own alone, and `config` nothing of `control` and `signals` either.
//! `tests/it/tidy.rs` holds the code to that, and to this map.
//!
//! # The straight path of a select
//!
//! 1. `server::listener` and `server::connection` accept it; `server::routes` finds its
//!    `endpoint`.
//! 2. `server::select` reads the fields into a [`pool::SelectRequest`].
//! 3. [`server::Service`] calls [`pool::Pool::select`] with the time, under the lock of
//!    [`pool::SharedPool`]: a [`pool::Lease`], a place in the line, or a [`pool::Refusal`].
//! 4. What the call changed, as [`pool::Transition`]s, goes to the [`telemetry::Journal`] and the
//!    [`telemetry::Metrics`].
//! 5. Only a place in the line is awaited. `app` wakes the pool when something is due, which
//!    serves the line.
//! 6. The lease is joined with its secret from the [`secrets::Keyring`] and the header of its
//!    [`provider`], and leaves as JSON. A refusal leaves as a problem that says when to come back.
//!
//! A report goes the same way: `server::report` has the [`provider`] classify the answer, and
//! [`pool::Pool::report`] draws the conclusions.

pub mod pool;

pub mod provider;

pub mod background;
pub mod clock;
pub mod control;

pub mod telemetry;

pub mod https;

pub mod secrets;

pub mod shared_quota;
pub mod state;
pub mod watch;

pub mod signals;

pub mod health;

pub mod server;

pub mod config;

pub mod app;

pub mod cli;

#[cfg(any(doc, fuzzing, test))]
pub mod fuzzing;

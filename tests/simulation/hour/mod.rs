//! An hour of traffic in simulated time: the eight example keys, an application that uses them by
//! some policy, and a simulated provider on a real connection.
//!
//! [`Cell`] says which traffic, policy and provider, and runs event by event; [`Figures`] are what
//! comes of it, and [`Cell::ideal`] what could come of it at best.

#[path = "../../support/provider/mod.rs"]
pub(crate) mod provider;

mod cell;
mod ideal;
mod policy;
mod traffic;
mod keys;
mod wire;
mod figures;
mod table;

pub(crate) use cell::{Cell, LOADS};
pub(crate) use figures::Figures;
pub(crate) use keys::Key;
pub(crate) use policy::Policy;
pub(crate) use table::{Table, run};
pub(crate) use traffic::Traffic;
pub(crate) use wire::Wire;

//! What the tests have in common.

pub(crate) mod daemon;
pub(crate) mod fault;
pub(crate) mod home;
pub(crate) mod provider;
pub(crate) mod redis;
pub(crate) mod trial;

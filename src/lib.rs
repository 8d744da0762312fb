//! keypool hands out API keys.

pub mod pool;

//! keypool hands out API keys.

pub mod cli;
pub mod clock;
pub mod pool;
pub mod provider;
pub mod telemetry;

//! keypool hands out API keys.

pub mod pool;

pub mod provider;

pub mod clock;

pub mod telemetry;

pub mod secrets;

pub mod config;

pub mod cli;

//! keypool hands out API keys.

pub mod pool;

pub mod provider;

pub mod clock;
pub mod control;

pub mod telemetry;

pub mod secrets;

pub mod signals;

pub mod health;

pub mod server;

pub mod config;

pub mod app;

pub mod cli;

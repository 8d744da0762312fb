//! keypool hands out API keys.

pub mod pool;

pub mod secrets;

pub mod config;

pub mod cli;

//! Metrics: what is scraped is what has happened, wherever it is scraped.

mod listener;
mod counts;
mod keys;
mod exposition;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use keypool::telemetry::metrics::{CATALOGUE, PROCESS};
use serde_json::{Value, json};

use crate::support::{
    EIGHT_KEYS, FakeProvider, FakeVault, Manner, Scrape, TestDaemon, exchange, exchange_over,
    keys_json, send, until,
};

/// A daemon that serves metrics at a port of its own.
const OVER_TCP: &str = "metrics_addr = \"127.0.0.1:0\"";

fn scrape(daemon: &TestDaemon) -> Scrape {
    let answer = daemon.get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.body);
    Scrape::of(&answer.body)
}

/// Where `daemon` serves metrics, once it does.
fn address(daemon: &TestDaemon) -> SocketAddr {
    let metrics = || daemon.get("/v1/status").json()["metrics"].clone();
    until("the metrics listener is up", || {
        let metrics = metrics();
        metrics["error"].is_null() && !metrics["address"].as_str().unwrap().ends_with(":0")
    });
    metrics()["address"].as_str().unwrap().parse().unwrap()
}

/// The answer to a request line over TCP with `headers`.
fn over_tcp(address: SocketAddr, line: &str, headers: &str) -> crate::support::Answer {
    let request = format!("{line} HTTP/1.1\n{headers}Connection: close\n\n");
    exchange_over(address, request.replace('\n', "\r\n").as_bytes())
}

//! What a select waits for while the daemon has something else to do.
//!
//! One client asks at fixed times, whether the last answer has come or not, and what is told is
//! how long after its time each request was answered: a daemon that stands still for 10 ms is late
//! for every request of these 10 ms.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::{Client, Home, MODEL, request, select};
use crate::figures::{Bounds, percentile};
use crate::{FEW, MANY, millis, redis};

/// How often somebody asks, and for how long what.
const EVERY: Duration = Duration::from_micros(500);
const SPAN: Duration = Duration::from_millis(1500);

/// How often each is measured, in turns with an idle daemon.
const TURNS: usize = 3;

/// What a reload or a scrape may add to the time of all but one of 100 selects, in milliseconds.
const MOST_ADDED: f64 = 1.0;

/// How many times as long all but one of 100 selects may take where limits are shared.
const MOST_SHARED: f64 = 1.5;

/// A disk that takes this long for a sync, in microseconds.
const SLOW_DISK: &str = "--inject=fsync,fdatasync:delay_enter=50000";

/// What else the daemon does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Busy {
    Idle,
    Reloading,
    Scraped,
}

pub(crate) fn table(bounds: &mut Bounds) {
    println!("\n| keys | while | p50 | p99 | worst | done meanwhile | added to the p99 |");
    println!("| ---: | --- | ---: | ---: | ---: | --- | ---: |");
    let many = Home::with(MANY, "");
    let served = many.start();
    // Two files that differ in every key.
    for (name, rpm) in [("one.json", 1_000_000_001), ("other.json", 1_000_000_002)] {
        many.write_keys(MANY, rpm);
        fs::rename(many.path("keys.json"), many.path(name)).unwrap();
    }
    fs::copy(many.path("one.json"), many.path("keys.json")).unwrap();
    let took = [Busy::Reloading, Busy::Scraped].map(|busy| {
        let mut all = [Vec::new(), Vec::new()];
        let done = AtomicU32::new(0);
        for _ in 0..TURNS {
            for (of, busy) in [Busy::Idle, busy].into_iter().enumerate() {
                all[of].extend(measure(&many, busy, &done));
            }
        }
        (busy, all, done.into_inner())
    });
    drop(served);
    for (busy, [idle, own], done) in took {
        let (name, what) = match busy {
            Busy::Idle => ("idle", "nothing"),
            Busy::Reloading => ("reloaded again and again", "reloads"),
            Busy::Scraped => ("scraped again and again", "scrapes"),
        };
        let base = tell(MANY, "idle", idle, "", None);
        let most = tell(MANY, name, own, &format!("{done} {what}"), Some(base));
        let added = most - base;
        bounds.at_most(&format!("the p99 while {name}: what is added"), added, MOST_ADDED, " ms");
    }

    let few = Home::with(FEW, "");
    let base = tell(FEW, "idle", beside(&few, None, &[], &[]), "", None);
    // Beside the daemon and not above it, so that it ends with it.
    let strace = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        "/dev/null",
        "--trace=fsync,fdatasync",
    ];
    let slow = beside(&few, None, &[&strace[..], &[SLOW_DISK]].concat(), &[]);
    tell(FEW, "its disk takes 50 ms for a sync", slow, "", Some(base));
    let [mut alone, mut shared] = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        // Each time others: who comes back remembers what it shared, and with whom.
        let [one, other] = [(); 2].map(|()| Home::with(FEW, ""));
        alone.extend(beside(&one, Some(&other), &[], &[]));
        let [one, other] = [(); 2].map(|()| Home::with(FEW, ""));
        let (redis, url) = redis(&one);
        shared.extend(beside(&one, Some(&other), &[], &[("REDIS_URL", &url)]));
        drop(redis);
    }
    let base = tell(FEW, "another daemon is asked as often", alone, "", None);
    let name = "the two share their limits through Redis";
    let most = tell(FEW, name, shared, "", Some(base));
    bounds.at_most("the p99 where limits are shared", most / base, MOST_SHARED, " times");
}

/// How long selects take from the daemon of `home`, started by `program`, while that of `other` is
/// asked as often.
fn beside(
    home: &Home,
    other: Option<&Home>,
    program: &[&str],
    variables: &[(&str, &str)],
) -> Vec<u32> {
    let homes: Vec<&Home> = [home].into_iter().chain(other).collect();
    let served: Vec<_> = homes.iter().map(|home| home.start_by(program, variables)).collect();
    // Who shares has no quota in the first two seconds.
    let patient = format!("{{\"model\": \"{MODEL}\", \"wait_ms\": 10000}}");
    for home in &homes {
        Client::new(&home.socket()).ask(&request("/v1/select", &patient));
    }
    let took = thread::scope(|scope| {
        if let Some(other) = other {
            scope.spawn(|| at_fixed_times(other));
        }
        at_fixed_times(home)
    });
    drop(served);
    took
}

/// Prints a row; the p99 in milliseconds.
fn tell(keys: usize, name: &str, mut took: Vec<u32>, done: &str, base: Option<f64>) -> f64 {
    took.sort_unstable();
    let [half, most, worst] = [0.5, 0.99, 1.0].map(|share| millis(percentile(&took, share)));
    let added = base.map_or(String::new(), |base| format!("{:+.2} ms", most - base));
    println!(
        "| {keys} | {name} | {half:.2} ms | {most:.2} ms | {worst:.2} ms | {done} | {added} |"
    );
    most
}

/// How long selects take while the daemon of `home` is `busy`, which is counted in `done`.
fn measure(home: &Home, busy: Busy, done: &AtomicU32) -> Vec<u32> {
    let over = AtomicBool::new(false);
    let disturb = || {
        let mut client = Client::new(&home.socket());
        while !over.load(Ordering::Relaxed) {
            match busy {
                Busy::Idle => return,
                Busy::Reloading => {
                    let next =
                        ["other.json", "one.json"][done.load(Ordering::Relaxed) as usize % 2];
                    // Nothing is written: that is not the daemon's work.
                    fs::hard_link(home.path(next), home.path("keys.new")).unwrap();
                    fs::rename(home.path("keys.new"), home.path("keys.json")).unwrap();
                    let told = client.ask(&request("/v1/reload", ""));
                    assert!(!told.contains("\"kept\""), "{told}");
                }
                Busy::Scraped => {
                    client.skim(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        scope.spawn(disturb);
        let took = at_fixed_times(home);
        over.store(true, Ordering::Relaxed);
        took
    })
}

/// How long after its time each of some requests is answered, in nanoseconds.
fn at_fixed_times(home: &Home) -> Vec<u32> {
    let mut client = Client::new(&home.socket());
    let select = select();
    client.ask(&select);
    let begun = Instant::now();
    let mut time = begun;
    let mut took = Vec::new();
    while time.duration_since(begun) < SPAN {
        time += EVERY;
        thread::sleep(time.saturating_duration_since(Instant::now()));
        client.ask(&select);
        took.push(u32::try_from(time.elapsed().as_nanos()).unwrap_or(u32::MAX));
    }
    took
}

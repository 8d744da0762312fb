//! The example clients at work: a real daemon, a provider that enforces limits, and the programs
//! of `examples/` as they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use keypool::clock::Clock;

use super::provider::{Account, Dialect, Enforcement, SimulatedProvider, Tally};
use super::support::{TestDaemon, keys_json};

const MODEL: &str = r#""model_name": "gemini-2.0-flash""#;

/// Two keys of 4 requests a minute, the first of which is preferred.
fn two_keys() -> String {
    let a = format!(r#"{MODEL}, "rpm": 4, "priority": 1"#);
    let b = format!(r#"{MODEL}, "rpm": 4, "priority": 2"#);
    keys_json(&[("a", &a), ("b", &b)])
}

/// A Gemini on the clock of `daemon` that knows `keys` and grants each `rpm`.
fn gemini(daemon: &TestDaemon, keys: &[&str], rpm: u64) -> (SimulatedProvider, String) {
    let account =
        |id: &&str| Account { dialect: Dialect::Gemini, secret: format!("fake-secret-{id}"), rpm };
    let clock = Clock::Manual(daemon.clock.clone());
    let accounts: Vec<Account> = keys.iter().map(account).collect();
    let provider = SimulatedProvider::new(clock, Enforcement::SlidingWindow, accounts, 1);
    let address = provider.start().unwrap();
    (provider, format!("http://{address}"))
}

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

fn python(daemon: &TestDaemon, base_url: &str, more: &[&str]) -> Output {
    let mut python = Command::new("python3");
    python.arg("-B").arg(example("python/gemini.py")).arg("--socket").arg(daemon.socket());
    python.args(more).args([base_url, "Say \"hello\"."]).output().unwrap()
}

fn shell(socket: &Path, base_url: &str) -> Output {
    let mut script = Command::new("sh");
    script.arg(example("shell/generate.sh")).args([base_url, "gemini-2.0-flash", "Say \"hello\"."]);
    script.env("KEYPOOL", env!("CARGO_BIN_EXE_keypool")).env("KEYPOOL_SOCKET", socket);
    script.output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `program` while time passes quickly, but not while a key is in use: then no time passes
/// between a grant and the provider's counter, however slow the machine is.
fn while_time_passes<T>(daemon: &TestDaemon, program: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let keys = daemon.get("/v1/keys").json();
                let keys = keys["keys"].as_array().unwrap();
                if keys.iter().all(|key| key["in_flight"] == 0) {
                    daemon.pass(Duration::from_millis(200));
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        let result = program();
        done.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn forty_calls_in_python_over_tiny_limits_are_all_served_and_none_meets_a_429() {
    let limits = format!(r#"{MODEL}, "rpm": 4"#);
    let keys = ["a", "b", "c"];
    let file = keys_json(&keys.map(|id| (id, limits.as_str())));
    let daemon = TestDaemon::with(&file, "wait.max = \"2m\"");
    let (provider, base_url) = gemini(&daemon, &keys, 4);
    let start = daemon.clock.now().at;

    let calls = ["--calls", "40", "--threads", "8", "--wait-ms", "120000", "--patience", "600"];
    let output = while_time_passes(&daemon, || python(&daemon, &base_url, &calls));

    assert_eq!(text(&output.stderr), "40 of 40 served\n");
    assert_eq!(text(&output.stdout), "Hello.\n".repeat(40));
    assert_eq!(provider.tally(), Tally { served: 40, ..Tally::default() });
    // 12 requests a minute: the last four come after three of them.
    let taken = daemon.clock.now().at.since(start);
    assert!(taken > Duration::from_mins(3), "{taken:?}");
}

#[test]
fn python_goes_on_with_another_key_and_the_pool_remembers_why() {
    let daemon = TestDaemon::of(&two_keys());
    let (provider, base_url) = gemini(&daemon, &["b"], 4);
    for _ in 0..2 {
        let output = python(&daemon, &base_url, &[]);
        assert_eq!((code(&output), text(&output.stdout)), (Some(0), "Hello.\n".to_owned()));
    }
    assert_eq!(provider.tally(), Tally { served: 2, unknown_key: 1, rate_limited: 0 });
    assert_eq!(daemon.state("a"), "dead");
}

#[test]
fn python_leaves_a_limited_key_for_as_long_as_the_provider_says() {
    let daemon = TestDaemon::of(&two_keys());
    // The provider grants less than keys.json promises.
    let (provider, base_url) = gemini(&daemon, &["a", "b"], 1);
    for _ in 0..2 {
        let output = python(&daemon, &base_url, &[]);
        assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
    }
    assert_eq!(provider.tally(), Tally { served: 2, rate_limited: 1, unknown_key: 0 });
    assert_eq!(daemon.state("a"), "cooling");
}

#[test]
fn python_gives_up_where_no_key_helps() {
    let daemon = TestDaemon::of(&two_keys());
    let (provider, base_url) = gemini(&daemon, &["a", "b"], 4);
    let output = python(&daemon, &format!("{base_url}/nowhere"), &[]);
    assert_eq!(code(&output), Some(1));
    let said = "failed: the provider answered 404\n0 of 1 served\n";
    assert_eq!(text(&output.stderr), said);
    assert_eq!(provider.tally(), Tally::default());
}

#[test]
fn python_gives_up_in_time_when_the_provider_is_away_and_blames_no_key() {
    let daemon = TestDaemon::of(&two_keys());
    // Port 9 is discard, which nobody serves.
    let output = python(&daemon, "http://127.0.0.1:9", &["--patience", "1"]);
    assert_eq!(code(&output), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("failed: the provider gave no answer: "), "{said}");
    assert_eq!((daemon.state("a"), daemon.state("b")), ("ready".to_owned(), "ready".to_owned()));
}

#[test]
fn python_says_so_when_there_is_no_daemon_or_no_such_model() {
    let daemon = TestDaemon::of(&two_keys());
    let output = python(&daemon, "http://127.0.0.1:9", &["--model", "gemini-9"]);
    assert!(text(&output.stderr).contains("gemini-2.0-flash"), "{}", text(&output.stderr));
    let mut nobody = Command::new("python3");
    nobody.arg("-B").arg(example("python/gemini.py")).args(["--socket", "no/such/socket"]);
    let output = nobody.args(["http://127.0.0.1:9", "x"]).output().unwrap();
    assert!(text(&output.stderr).contains("no/such/socket"), "{}", text(&output.stderr));
}

#[test]
fn the_shell_script_asks_and_goes_on_with_another_key() {
    let daemon = TestDaemon::of(&two_keys());
    let (provider, base_url) = gemini(&daemon, &["b"], 4);
    for _ in 0..2 {
        let output = shell(&daemon.socket(), &base_url);
        assert_eq!(code(&output), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("Hello."), "{}", text(&output.stdout));
    }
    assert_eq!(provider.tally(), Tally { served: 2, unknown_key: 1, rate_limited: 0 });
    assert_eq!(daemon.state("a"), "dead");
}

#[test]
fn the_shell_script_exits_as_keypool_does() {
    let key = format!(r#"{MODEL}, "rpm": 1"#);
    let daemon = TestDaemon::of(&keys_json(&[("a", &key)]));
    let (_, base_url) = gemini(&daemon, &["a"], 1);
    assert_eq!(code(&shell(&daemon.socket(), &base_url)), Some(0));
    assert_eq!(code(&shell(&daemon.socket(), &base_url)), Some(3), "the pool is exhausted");
    assert_eq!(code(&shell(Path::new("no/such/socket"), &base_url)), Some(4), "no daemon");

    let other = TestDaemon::of(&two_keys());
    let refused = shell(&other.socket(), &format!("{base_url}/nowhere"));
    assert_eq!(code(&refused), Some(1));
    assert!(text(&refused.stderr).contains("the provider answered 404"));
}

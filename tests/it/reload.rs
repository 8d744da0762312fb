//! Files that change while the daemon serves.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use keypool::control::Control;
use serde_json::{Value, json};

use crate::support::{Answer, TestDaemon, keys_json, send};

/// The time of the promise: what is valid serves this long after it was written.
const PROMISE: Duration = Duration::from_secs(2);

/// The daemon's clock moves on by this while a test waits.
const STEP: Duration = Duration::from_millis(50);

/// What a step takes in real time: inotify and threads that read files need some.
const MOMENT: Duration = Duration::from_millis(8);

/// A daemon and the directory of its keys file.
struct Edited {
    daemon: TestDaemon,
}

impl Edited {
    /// A daemon with the key `a`.
    fn start() -> Self {
        Self::with("")
    }

    fn with(toml: &str) -> Self {
        let edited = Self { daemon: TestDaemon::with(&only("a"), toml) };
        edited.rest();
        edited
    }

    fn path(&self, name: &str) -> PathBuf {
        self.daemon.path(name)
    }

    fn keys(&self) -> PathBuf {
        self.path("keys.json")
    }

    fn pass(&self, span: Duration) {
        for _ in 0..span.as_millis() / STEP.as_millis() {
            self.daemon.pass(STEP);
            thread::sleep(MOMENT);
        }
    }

    /// Lets the daemon notice all that is to be noticed.
    fn rest(&self) {
        self.pass(PROMISE);
    }

    /// Lets the time of the promise pass, at most, until `done`. A slow machine gets more real
    /// time for the later steps.
    fn within_the_promise(&self, what: &str, done: impl Fn() -> bool) {
        for step in 0..PROMISE.as_millis() / STEP.as_millis() {
            if done() {
                return;
            }
            self.daemon.pass(STEP);
            thread::sleep(if step < 20 { MOMENT } else { MOMENT * 8 });
        }
        assert!(done(), "{what}: {}", self.configuration());
    }

    fn configuration(&self) -> Value {
        self.daemon.get("/v1/status").json()["configuration"].clone()
    }

    fn generation(&self) -> u64 {
        self.configuration()["generation"].as_u64().unwrap()
    }

    fn errors(&self) -> Vec<String> {
        let errors = self.configuration()["errors"].clone();
        serde_json::from_value(errors).unwrap()
    }

    fn ids(&self) -> Vec<String> {
        let keys = self.daemon.get("/v1/keys").json();
        let keys = keys["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["key_id"].as_str().unwrap().to_owned()).collect()
    }

    fn serves(&self, ids: &[&str]) -> bool {
        self.ids() == ids
    }

    fn soon_serves(&self, what: &str, ids: &[&str]) {
        self.within_the_promise(what, || self.serves(ids));
    }

    fn reload(&self) -> Value {
        let answer = self.daemon.post("/v1/reload", &json!({}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    fn secret(&self) -> String {
        self.daemon.select(&json!({}))["secret"].as_str().unwrap().to_owned()
    }
}

/// keys.json with one key.
fn only(id: &str) -> String {
    keys_json(&[(id, "")])
}

/// Saves as careful programs do: another file, then the name.
fn save(path: &Path, text: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn a_file_that_is_saved_serves_within_the_promise_however_it_is_saved() {
    let edited = Edited::start();
    let keys = edited.keys();
    save(&keys, only("b"));
    edited.soon_serves("an atomic save", &["b"]);

    fs::write(&keys, only("c")).unwrap();
    edited.soon_serves("written in place", &["c"]);

    fs::rename(&keys, keys.with_extension("json~")).unwrap();
    edited.pass(STEP);
    fs::write(&keys, only("d")).unwrap();
    fs::remove_file(keys.with_extension("json~")).unwrap();
    edited.soon_serves("an editor that renames away and creates", &["d"]);

    fs::write(&keys, "").unwrap();
    edited.pass(Duration::from_millis(200));
    assert!(edited.serves(&["d"]), "an empty file is one that is about to be written");
    fs::write(&keys, only("e")).unwrap();
    edited.soon_serves("truncated, and written 200 ms later", &["e"]);
    assert_eq!(edited.generation(), 5);
    assert_eq!(edited.configuration()["watch"], "inotify and poll");
}

#[test]
fn a_hundred_atomic_saves_end_with_the_last() {
    let edited = Edited::start();
    for n in 0..100 {
        save(&edited.keys(), only(&format!("k{n}")));
        edited.daemon.pass(Duration::from_millis(10));
        thread::sleep(Duration::from_millis(2));
    }
    edited.soon_serves("the last of a hundred saves", &["k99"]);
    let reloads = edited.generation() - 1;
    assert!((1..=12).contains(&reloads), "{reloads} reloads in a second");
}

#[test]
fn a_directory_of_kubernetes_is_followed_from_version_to_version() {
    let edited = Edited::with("");
    let mount = edited.path("mount");
    let version = |name: &str, id: &str| {
        fs::create_dir_all(mount.join(name)).unwrap();
        fs::write(mount.join(name).join("keys.json"), only(id)).unwrap();
        symlink(name, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    version("..v1", "v1");
    symlink("..data/keys.json", mount.join("keys.json")).unwrap();
    fs::remove_file(edited.keys()).unwrap();
    symlink(mount.join("keys.json"), edited.keys()).unwrap();
    edited.soon_serves("a link in place of the file", &["v1"]);
    for n in 2..5 {
        version(&format!("..v{n}"), &format!("v{n}"));
        fs::remove_dir_all(mount.join(format!("..v{}", n - 1))).unwrap();
        edited.soon_serves("..data swapped", &[&format!("v{n}")]);
    }
    fs::write(mount.join("..v4/keys.json"), only("w")).unwrap();
    edited.soon_serves("the file behind the links", &["w"]);
}

#[test]
fn directories_that_are_replaced_are_watched_again() {
    let edited = Edited::start();
    let dir = edited.path("dir");
    let make = |dir: &Path, id: &str| {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("keys.json"), only(id)).unwrap();
    };
    make(&dir, "b");
    fs::remove_file(edited.keys()).unwrap();
    symlink(dir.join("keys.json"), edited.keys()).unwrap();
    edited.soon_serves("a file in another directory", &["b"]);

    fs::remove_dir_all(&dir).unwrap();
    edited.pass(Duration::from_secs(10));
    assert!(edited.serves(&["b"]), "what has gone serves on");
    assert!(edited.errors()[0].contains("there is no such file"), "{:?}", edited.errors());
    make(&dir, "c");
    edited.soon_serves("a directory that was made again", &["c"]);
    assert_eq!(edited.errors(), [""; 0]);
    save(&dir.join("keys.json"), only("d"));
    edited.soon_serves("a save in the new directory", &["d"]);

    make(&edited.path("next"), "e");
    fs::rename(&dir, edited.path("old")).unwrap();
    fs::rename(edited.path("next"), &dir).unwrap();
    edited.soon_serves("a directory of the same name", &["e"]);
    save(&dir.join("keys.json"), only("f"));
    edited.soon_serves("a save in that", &["f"]);

    fs::rename(&dir, edited.path("real")).unwrap();
    symlink("real", &dir).unwrap();
    edited.pass(PROMISE);
    make(&edited.path("other"), "g");
    symlink("other", edited.path("dir.new")).unwrap();
    fs::rename(edited.path("dir.new"), &dir).unwrap();
    edited.soon_serves("a link to a directory that points elsewhere", &["g"]);
}

#[test]
fn a_keys_file_that_is_away_for_a_while_does_not_switch_rotation_off() {
    let edited = Edited::start();
    fs::remove_file(edited.keys()).unwrap();
    edited.pass(Duration::from_secs(10));
    assert!(edited.serves(&["a"]));
    assert_eq!(edited.daemon.get("/v1/status").json()["rotation"]["on"], true);
    assert_eq!(edited.reload()["result"], "kept");
    assert_eq!(edited.configuration()["result"], "kept");
    save(&edited.keys(), only("a"));
    edited.within_the_promise("it is back", || edited.errors().is_empty());
    assert_eq!(
        (edited.generation(), edited.configuration()["result"].clone()),
        (1, json!("unchanged"))
    );
}

#[test]
fn what_is_touched_or_read_is_no_change() {
    let edited = Edited::start();
    let before = edited.configuration();
    for _ in 0..15 {
        fs::read(edited.keys()).unwrap();
        let file = fs::File::options().append(true).open(edited.keys()).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        fs::write(edited.path("another-file"), "x").unwrap();
        edited.pass(Duration::from_secs(1));
    }
    save(&edited.keys(), only("a"));
    edited.pass(PROMISE);
    assert_eq!(edited.configuration(), before, "no reload at all");
    assert_eq!(edited.reload()["result"], "unchanged");
    assert_eq!(edited.generation(), 1);
}

#[test]
fn a_file_that_everybody_can_write_is_not_taken() {
    let edited = Edited::start();
    let mode = |mode| fs::set_permissions(edited.keys(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o666);
    edited.within_the_promise("0666", || !edited.errors().is_empty());
    assert!(edited.errors()[0].contains("chmod o-w"), "{:?}", edited.errors());
    fs::write(edited.keys(), only("b")).unwrap();
    edited.pass(PROMISE);
    assert!(edited.serves(&["a"]));
    mode(0o640);
    edited.soon_serves("0640", &["b"]);
    mode(0o664);
    let warned = || edited.configuration()["warnings"].to_string().contains("chmod g-w");
    edited.within_the_promise("0664 is a warning", warned);
    assert_eq!((edited.errors(), edited.generation()), (Vec::new(), 2));
}

/// Versions of keys.json that nobody can mean.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let entry = |more: &str| format!("{{\"keys\": [{{\"key_id\": \"b\"{more}}}]}}").into_bytes();
    let named = |id: &str| format!("{{\"keys\": [{{\"key_id\": {id}}}]}}").into_bytes();
    let utf16 = only("b").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut cases = vec![
        ("empty", Vec::new()),
        ("white space", b" \n\t\n".to_vec()),
        ("null", b"null".to_vec()),
        ("a list", b"[]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("no keys", b"{\"keys\": []}".to_vec()),
        ("a key twice", keys_json(&[("b", ""), ("b", "")]).into_bytes()),
        ("a member twice", entry(", \"rpm\": 1, \"rpm\": 2")),
        ("text after the end", [&*entry(""), b" x"].concat()),
        ("a byte order mark", [b"\xef\xbb\xbf", &*entry("")].concat()),
        ("UTF-16", utf16),
        ("no UTF-8", [&*entry(""), b"\xff"].concat()),
        ("half a character", entry(", \"workload_type\": \"\\ud800\"")),
        ("an id with a new line", named(r#""a\nb""#)),
        ("an id with a quote", named(r#""a\"b""#)),
        ("an id with an escape", named(r#""\u001b[31m""#)),
        ("an id of 10 KB", named(&format!("\"{}\"", "x".repeat(10_000)))),
        ("an id that looks like another", named("\"fl\u{430}sh\"")),
        (
            "an unknown strategy",
            b"{\"keys\": [{\"key_id\": \"b\"}], \"rotation_strategy\": \"best\"}".to_vec(),
        ),
        (
            "a fallback to nobody",
            b"{\"keys\": [{\"key_id\": \"b\"}], \"fallback_order\": [\"z\"]}".to_vec(),
        ),
        ("a bomb", [b'['; 100_000].to_vec()),
    ];
    for number in ["0", "-1", "1.5", "1e400", "NaN", "\"60\"", "18446744073709551615", "[]"] {
        cases.push(("a wrong rpm", entry(&format!(", \"rpm\": {number}"))));
    }
    cases.push(("a burst of nothing", entry(", \"rpm\": 5, \"burst_capacity\": 0")));
    cases.push(("a weight of nothing", entry(", \"weight\": 0")));
    cases
}

#[test]
fn a_broken_file_leaves_everything_as_it_was_and_says_why() {
    let edited = Edited::with("");
    let lease = edited.daemon.select(&json!({}));
    for (what, text) in broken() {
        // What serves is told apart from what is broken by its id.
        save(&edited.keys(), &text);
        let outcome = edited.reload();
        let shown = String::from_utf8_lossy(&text[..text.len().min(100)]);
        assert_eq!(outcome["result"], "kept", "{what}: {shown}: {outcome}");
        assert_eq!(outcome["errors"], edited.configuration()["errors"], "{what}");
        let errors = edited.errors();
        assert!(!errors.is_empty() && errors.iter().all(|e| e.contains("keys.json")), "{errors:?}");
        assert!(edited.serves(&["a"]), "{what}");
        assert_eq!(edited.daemon.select(&json!({}))["key_id"], "a", "{what}");
    }
    edited.daemon.report(&lease, "success");
    save(&edited.keys(), only("b"));
    edited.soon_serves("mended", &["b"]);
    assert_eq!(edited.errors(), [""; 0]);
}

#[test]
fn a_file_cut_off_anywhere_is_never_a_part_of_the_pool() {
    let edited = Edited::start();
    let whole =
        keys_json(&[("b", r#""rpm": 15, "tags": {"region": "us"}"#), ("c", r#""rpm": 60"#)]);
    for length in 0..whole.len() {
        fs::write(edited.keys(), &whole[..length]).unwrap();
        assert_eq!(edited.reload()["result"], "kept", "{length} bytes");
        assert!(edited.serves(&["a"]), "{length} bytes");
    }
    fs::write(edited.keys(), &whole).unwrap();
    let applied = json!({"result": "applied", "added": ["b", "c"], "removed": ["a"], "changed": [],
        "errors": [], "needs_restart": []});
    assert_eq!(edited.reload(), applied);
}

#[test]
fn secrets_in_env_files_are_replaced_without_a_restart() {
    let daemon = TestDaemon::prepared(&only("a"), |path| {
        fs::write(path("a.env"), "GEMINI_KEY_b=fake-secret-old\n").unwrap();
        fs::set_permissions(path("a.env"), fs::Permissions::from_mode(0o600)).unwrap();
        format!("env_files = [{:?}]", path("a.env"))
    });
    let edited = Edited { daemon };
    save(&edited.keys(), only("b"));
    edited.soon_serves("b", &["b"]);
    assert_eq!(edited.secret(), "fake-secret-old");
    let lease = edited.daemon.select(&json!({}));
    edited.daemon.report(&lease, "auth_failed");
    assert_eq!(edited.daemon.state("b"), "dead");

    let env = edited.path("a.env");
    save(&env, "GEMINI_KEY_b=fake-secret-new\n");
    edited.within_the_promise("another secret", || edited.daemon.state("b") == "ready");
    assert_eq!(edited.secret(), "fake-secret-new");
    let events = edited.daemon.get("/v1/events").json();
    let revived = |event: &&Value| event["event"] == "revived";
    let revived = events["events"].as_array().unwrap().iter().find(revived).unwrap();
    assert_eq!(revived["reason"], "its secret has changed");

    fs::write(&env, "").unwrap();
    edited.within_the_promise("emptied", || !edited.errors().is_empty());
    assert_eq!(edited.secret(), "fake-secret-new", "an empty file is about to be written");
    fs::remove_file(&env).unwrap();
    edited.pass(PROMISE);
    assert_eq!(edited.secret(), "fake-secret-new");
    save(&env, "# no secret\n");
    edited.within_the_promise("gone", || edited.daemon.state("b") == "missing_secret");
    save(&env, "GEMINI_KEY_b=fake-secret-last\n");
    edited.within_the_promise("back", || edited.daemon.state("b") == "ready");
    assert_eq!(edited.secret(), "fake-secret-last");
}

#[test]
fn secret_files_are_watched_whether_they_are_there_or_not() {
    let daemon = TestDaemon::prepared(&only("a"), |path| {
        format!("[secrets]\nstore = \"file\"\ndir = {:?}", path("secrets"))
    });
    let edited = Edited { daemon };
    assert_eq!(edited.daemon.state("a"), "missing_secret");
    edited.rest();
    let file = edited.path("secrets/a");
    fs::create_dir(edited.path("secrets")).unwrap();
    save(&file, "fake-secret-first\n");
    edited.within_the_promise("created", || edited.daemon.state("a") == "ready");
    assert_eq!(edited.secret(), "fake-secret-first");
    save(&file, "fake-secret-second\n");
    edited.pass(PROMISE);
    assert_eq!(edited.secret(), "fake-secret-second");
    fs::write(&file, "").unwrap();
    edited.pass(Duration::from_millis(500));
    fs::write(&file, "fake-secret-third\n").unwrap();
    edited.pass(PROMISE);
    assert_eq!(edited.secret(), "fake-secret-third");
    let events = edited.daemon.get("/v1/events").json().to_string();
    assert!(!events.contains("third") && events.matches("secret_missing").count() == 1, "{events}");
    fs::remove_file(&file).unwrap();
    edited.within_the_promise("removed", || edited.daemon.state("a") == "missing_secret");
}

#[test]
fn settings_are_taken_or_said_to_need_a_restart() {
    let edited = Edited::with("[wait]\nmax = \"30s\"");
    let toml = edited.path("keypool.toml");
    let text = fs::read_to_string(&toml).unwrap();
    let set = |more: &str| save(&toml, text.replace("[wait]\nmax = \"30s\"", more));

    set("[wait]\nmax = \"30s\"\n[server]\nmode = \"0600\"\ngrace = \"1s\"");
    let outcome = edited.reload();
    let needed = json!(["server.mode", "server.grace"]);
    assert_eq!((&outcome["result"], &outcome["needs_restart"]), (&json!("needs_restart"), &needed));
    assert_eq!(edited.configuration()["needs_restart"], needed);
    assert_eq!(edited.reload()["result"], "needs_restart", "as long as it is so");
    assert_eq!(edited.generation(), 1);

    set("[lease]\nttl = \"1m\"\n[server]\ngrace = \"1s\"");
    let outcome = edited.reload();
    assert_eq!(outcome["result"], "applied");
    assert_eq!(outcome["needs_restart"], json!(["server.grace"]));
    let lease = edited.daemon.select(&json!({}));
    let granted = edited.daemon.clock.now().wall.plus(Duration::from_mins(1));
    assert_eq!(lease["expires_at"], keypool::clock::rfc3339(granted));

    set("[laese]\nttl = \"1m\"");
    edited.within_the_promise("an unknown setting", || !edited.errors().is_empty());
    assert!(edited.errors()[0].contains("keypool.toml"), "{:?}", edited.errors());
    set("");
    edited.within_the_promise("mended", || edited.errors().is_empty());
    assert_eq!(edited.configuration()["needs_restart"], json!([]));
}

#[test]
fn the_keys_file_may_move() {
    let edited = Edited::start();
    let toml = edited.path("keypool.toml");
    let text = fs::read_to_string(&toml).unwrap();
    save(&toml, text.replace("keys.json", "other.json"));
    edited.within_the_promise("not there yet", || !edited.errors().is_empty());
    assert!(edited.serves(&["a"]));
    save(&edited.path("other.json"), only("b"));
    edited.soon_serves("there", &["b"]);
    save(&edited.keys(), only("c"));
    edited.pass(PROMISE);
    assert!(edited.serves(&["b"]), "the old one is not read any more");
}

#[test]
fn a_daemon_that_began_without_a_valid_file_serves_as_soon_as_there_is_one() {
    let edited = Edited { daemon: TestDaemon::of("{") };
    assert_eq!(edited.daemon.get("/readyz").status, 503);
    save(&edited.keys(), only("a"));
    edited.within_the_promise("mended", || edited.serves(&["a"]));
}

#[test]
fn waiting_requests_leases_and_counters_survive() {
    let entry =
        |more: &str| keys_json(&[("a", &format!("\"max_concurrent\": 1, \"rpm\": 9{more}"))]);
    let edited = Edited { daemon: TestDaemon::of(&entry("")) };
    let lease = edited.daemon.select(&json!({}));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| edited.daemon.post("/v1/select", &json!({"wait_ms": 30_000})));
        while edited.daemon.get("/v1/status").json()["waiting"] != 1 {
            thread::yield_now();
        }
        save(&edited.keys(), entry(", \"priority\": 1"));
        assert_eq!(edited.reload()["changed"], json!(["a"]));
        assert_eq!(edited.daemon.get("/v1/status").json()["waiting"], 1);
        edited.daemon.report(&lease, "success");
        assert_eq!(waiter.join().unwrap().status, 200);
    });
    let key = edited.daemon.get("/v1/keys/a").json();
    assert_eq!((&key["quota"]["rpm"]["used"], &key["success_count"]), (&json!(2), &json!(1)));

    let lease = thread::scope(|scope| {
        let waiter = scope.spawn(|| edited.daemon.post("/v1/select", &json!({"wait_ms": 30_000})));
        while edited.daemon.get("/v1/status").json()["waiting"] != 1 {
            thread::yield_now();
        }
        let secrets = edited.path("b.env");
        save(&secrets, "GEMINI_KEY_b=fake-secret-b\n");
        let toml = fs::read_to_string(edited.path("keypool.toml")).unwrap();
        save(&edited.path("keypool.toml"), format!("env_files = [{secrets:?}]\n{toml}"));
        save(&edited.keys(), only("b"));
        edited.reload();
        waiter.join().unwrap()
    });
    assert_eq!(
        lease.json()["key_id"],
        "b",
        "served by the key that took its place: {}",
        lease.body
    );
}

#[test]
fn a_storm_of_signals_is_a_few_reloads() {
    let edited = Edited::start();
    save(&edited.keys(), only("b"));
    for _ in 0..10_000 {
        edited.daemon.control(Control::Reload);
    }
    edited.soon_serves("after the storm", &["b"]);
    assert_eq!(edited.generation(), 2);
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request_and_exceed_no_limit() {
    const LIMIT: usize = 150;
    let entry = |ids: &[&str], n: usize| {
        let more = format!("\"rpm\": {LIMIT}, \"priority\": {}", n % 3 + 1);
        keys_json(&ids.iter().map(|id| (*id, more.as_str())).collect::<Vec<_>>())
    };
    let edited = Edited { daemon: TestDaemon::of(&entry(&["a", "b", "c", "d"], 0)) };
    let granted: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let (done, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let client = || {
            while !done.load(Ordering::Relaxed) {
                let answer = edited.daemon.post("/v1/select", &json!({}));
                match answer.status {
                    200 => {
                        let id = answer.json()["key_id"].as_str().unwrap().to_owned();
                        *granted.lock().unwrap().entry(id).or_default() += 1;
                    }
                    429 => drop(refused.fetch_add(1, Ordering::Relaxed)),
                    status => panic!("{status}: {}", answer.body),
                }
            }
        };
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(client)).collect();
        for n in 1..=100 {
            let ids: &[&str] = if n % 2 == 0 { &["a", "b", "c", "d"] } else { &["d", "a"] };
            save(&edited.keys(), entry(ids, n));
            let outcome = edited.reload();
            assert_eq!(outcome["result"], "applied", "{outcome}");
            thread::sleep(Duration::from_millis(5));
        }
        done.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
    });
    let granted = granted.into_inner().unwrap();
    assert!(granted.values().all(|count| *count <= LIMIT), "{granted:?}");
    assert_eq!([granted["a"], granted["d"]], [LIMIT; 2], "those that stay serve all they may");
    assert!(refused.into_inner() > 0, "the limit was reached");
    assert!(edited.serves(&["a", "b", "c", "d"]));
    assert_eq!(edited.generation(), 101);
}

#[test]
fn who_is_not_the_daemons_user_may_not_reload() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can be somebody else for a moment.
    }
    let edited = Edited::with("[server]\nmode = \"0666\"");
    fs::set_permissions(edited.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = edited.daemon.socket();
    let ask = |method: &'static str, path: &'static str, body: Option<&'static str>| -> Answer {
        let socket = socket.clone();
        let stranger = rustix::process::Uid::from_raw(65_534);
        let asking = thread::spawn(move || {
            rustix::thread::set_thread_res_uid(stranger, stranger, stranger).unwrap();
            send(&socket, method, path, body)
        });
        asking.join().unwrap()
    };
    assert_eq!(ask("GET", "/v1/status", None).status, 200);
    let refused = ask("POST", "/v1/reload", Some("{}"));
    assert_eq!((refused.status, refused.code()), (403, "forbidden".to_owned()));
    assert_eq!(edited.reload()["result"], "unchanged");
    assert_eq!(edited.daemon.post("/v1/reload", &json!({"now": true})).status, 400);
    assert_eq!(edited.daemon.get("/v1/reload").status, 405);
}

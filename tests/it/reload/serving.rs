//! Requests while files change.

use super::*;

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

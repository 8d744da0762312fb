//! What is not the keys file itself.

use super::*;

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

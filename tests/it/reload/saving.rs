//! The ways in which a file is saved, replaced and touched.

use super::*;

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

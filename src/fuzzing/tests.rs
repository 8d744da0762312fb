use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::mutation::Mutator;
use super::{TARGETS, Target};
use crate::state;

/// How many mutations each target is given, beside the seeds themselves.
const MUTATIONS: usize = 1500;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The names in a directory, sorted.
fn names(path: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(project(path)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn run(name: &str) {
    let (_, target): (_, Target) = *TARGETS.iter().find(|(known, _)| *known == name).unwrap();
    let files = names(&format!("fuzz/seeds/{name}"));
    let read = |file: &String| fs::read(project(&format!("fuzz/seeds/{name}/{file}"))).unwrap();
    let seeds: Vec<Vec<u8>> = files.iter().map(read).collect();
    assert!(seeds.len() >= 12, "{name} has a few seeds");
    for (file, seed) in files.iter().zip(&seeds) {
        assert!(seed.len() <= 4096, "{file} is no small seed");
        feed(target, seed, file);
    }
    let mut mutator = Mutator::new(seeds.len() as u64);
    for _ in 0..MUTATIONS {
        feed(target, &mutator.mutated(&seeds), name);
    }
}

fn feed(target: Target, bytes: &[u8], of: &str) {
    let fed = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    assert!(fed.is_ok(), "{of}: b\"{}\"", bytes.escape_ascii());
}

/// A test for each target, so that they run side by side.
macro_rules! a_short_run {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        const RUN: &[&str] = &[$(stringify!($name)),*];
    };
}

mod nothing_is_found_in_a_short_run_of {
    use super::run;

    a_short_run! {
        env_file exposition http keys_json pool_calls provider_answer settings
        shared_quota state_file
    }

    #[test]
    fn every_target_of_cargo_fuzz() {
        let run: super::BTreeSet<String> = RUN.iter().map(ToString::to_string).collect();
        let listed = super::TARGETS.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(run, listed.collect());
        assert_eq!(run, super::names("fuzz/seeds"));
        let files = run.iter().map(|name| format!("{name}.rs")).collect();
        assert_eq!(super::names("fuzz/fuzz_targets"), files);

        let manifest = super::fs::read_to_string(super::project("fuzz/Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let targets = manifest["bin"].as_array().unwrap().iter();
        let targets = targets.map(|target| {
            let text = |name: &str| target[name].as_str().unwrap().to_owned();
            let (name, path) = (text("name"), text("path"));
            assert_eq!(path, format!("fuzz_targets/{name}.rs"));
            let code = super::fs::read_to_string(super::project(&format!("fuzz/{path}"))).unwrap();
            assert!(code.contains(&format!("keypool::fuzzing::{name}(bytes)")), "{path}");
            name
        });
        assert_eq!(run, targets.collect());
    }
}

/// Files of an earlier version are refused at their first bytes, and show nothing of what follows.
#[test]
fn raw_files_of_the_state_are_of_its_version() {
    let read = |file| fs::read(project(&format!("fuzz/seeds/state_file/{file}"))).unwrap();
    let head = |sealed: &[u8]| sealed[..18].to_vec();
    assert!(read("raw_log").starts_with(&head(&state::log_head())));
    assert!(read("raw_head").starts_with(&head(&state::sealed_snapshot(&[]))));
}

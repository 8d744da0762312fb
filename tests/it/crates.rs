//! What the daemon is made of: one TLS stack, and the only one there is room for.

use std::collections::BTreeMap;

/// The versions of every crate of the lock file, by name.
fn locked() -> BTreeMap<String, Vec<String>> {
    let lock: toml::Table = include_str!("../../Cargo.lock").parse().unwrap();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let text = |name: &str| package[name].as_str().unwrap().to_owned();
        versions.entry(text("name")).or_default().push(text("version"));
    }
    versions
}

#[test]
fn there_is_one_tls_stack_with_one_provider() {
    let crates = locked();
    for name in ["rustls", "ring", "hyper", "hyper-rustls", "reqwest", "http", "tokio-rustls"] {
        assert_eq!(crates[name].len(), 1, "{name}: {:?}", crates[name]);
    }
    for name in ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "h2"] {
        assert!(!crates.contains_key(name), "{name}");
    }
}

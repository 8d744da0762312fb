//! A `.env` file.

use crate::secrets::{EnvFile, Environment, Process};

/// Reads `bytes` as a `.env` file: nothing is read twice, every fault has its place, and each name
/// is found again with its value.
pub fn env_file(bytes: &[u8]) {
    let path = super::path("a.env");
    let (file, faults) = EnvFile::parse(&path, bytes);
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let mut placed = Vec::new();
    for fault in &faults {
        assert!((1..=lines).contains(&fault.line), "{fault:?} of {lines} lines");
        // The text of a fault holds nothing of the file: it is of a closed set.
        assert!(fault.kind.to_string().len() < 120);
        placed.push(fault.line);
    }
    for entry in &file.entries {
        assert!(EnvFile::is_name(&entry.name) && (1..=lines).contains(&entry.line));
        assert!(!entry.value.expose().contains('\n'));
        placed.push(entry.line);
    }
    let count = placed.len();
    placed.sort_unstable();
    placed.dedup();
    assert_eq!(placed.len(), count, "a line is an entry or a fault, once");

    let mut environment = Environment::new(&Process { variables: [].into(), ..super::process() });
    environment.add_file(file.clone());
    for entry in &file.entries {
        let found = environment.lookup(&entry.name).unwrap();
        assert!(found.value.same_as(&entry.value));
    }
    // What was read reads alike once it is written plainly.
    let plain = |value: &str| !value.contains(['\'', '\r']) && value.trim_ascii() == value;
    for entry in file.entries.iter().filter(|entry| plain(entry.value.expose())) {
        let line = format!("{}='{}'\n", entry.name, entry.value.expose());
        let (again, faults) = EnvFile::parse(&path, line.as_bytes());
        assert!(faults.is_empty() && again.entries[0].value.same_as(&entry.value));
    }
}

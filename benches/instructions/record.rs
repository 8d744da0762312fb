//! The recorded counts: those of a release build and those of a debug build, each with its
//! compiler.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::scenario::Scenario;

/// The build that counts.
const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Record {
    compiler: String,
    counts: BTreeMap<String, u64>,
}

impl Record {
    /// The counts that are recorded of this kind of build.
    pub(crate) fn read() -> anyhow::Result<Self> {
        all()?.remove(BUILD).with_context(|| format!("no counts of a {BUILD} build are recorded"))
    }

    /// Records `counts` for this kind of build.
    pub(crate) fn write(counts: &[(Scenario, u64)]) -> anyhow::Result<()> {
        let counts = counts.iter().map(|(scenario, count)| (scenario.name().to_owned(), *count));
        let record = Self { compiler: this_compiler(), counts: counts.collect() };
        let mut all = all().unwrap_or_default();
        all.insert(BUILD.to_owned(), record);
        let text = serde_json::to_string_pretty(&all)? + "\n";
        fs::write(path(), text).context("the counts cannot be recorded")
    }

    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        self.counts.get(name).copied()
    }

    pub(crate) fn compiler(&self) -> &str {
        &self.compiler
    }

    pub(crate) fn is_of_this_compiler(&self) -> bool {
        self.compiler == this_compiler()
    }
}

/// The compiler, and what it compiles for.
pub(crate) fn this_compiler() -> String {
    let told = Command::new("rustc").arg("--version").output();
    let told = told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned());
    format!("{} for {}", told.unwrap_or_default(), std::env::consts::ARCH)
}

fn all() -> anyhow::Result<BTreeMap<String, Record>> {
    let text = fs::read_to_string(path()).context("no counts are recorded")?;
    serde_json::from_str(&text).context("the recorded counts cannot be read")
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "instructions", "counts.json"].iter().collect()
}

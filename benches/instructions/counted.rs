//! Counting with callgrind: this program runs itself under it.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::scenario::Scenario;

/// What `call` does is counted. The one place that is: callgrind is told its name.
#[inline(never)]
pub(crate) fn measured(call: &mut dyn FnMut()) {
    call();
}

/// How many instructions one call of `scenario` takes.
pub(crate) fn per_call(scenario: Scenario) -> anyhow::Result<u64> {
    let counted = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*measured*")
        .arg(env::current_exe()?)
        .args(["--scenario", scenario.name()])
        .stdin(Stdio::null())
        .output()
        .context("valgrind counts the instructions; it is the Debian package valgrind")?;
    let told = String::from_utf8_lossy(&counted.stderr);
    if !counted.status.success() {
        bail!("{} failed under valgrind:\n{told}", scenario.name());
    }
    let total =
        told.lines().find_map(|line| line.split_once("Collected : ")?.1.parse::<u64>().ok());
    let total = total.context("valgrind told no count")?;
    if total == 0 {
        bail!("valgrind has counted nothing of {}", scenario.name());
    }
    Ok(total / scenario.calls() as u64)
}

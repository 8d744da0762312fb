//! Keeping the memory of this process to itself.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// From here on this process leaves no core dump, and no other process of its user can read its
/// memory or its environment: secrets are in both.
pub fn seal_memory() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A core pattern that is a pipe does not mind the limit.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

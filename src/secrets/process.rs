//! The process as a value: what its starter gave it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;

use super::Secret;

/// What the starter of the process gave it. Tests make their own.
#[derive(Clone, Debug)]
pub struct Process {
    /// The environment. Values may be secrets, so all are kept as such.
    pub variables: BTreeMap<String, Secret>,
    /// The effective user id.
    pub uid: u32,
    /// The file mode bits that new files don't get.
    pub umask: u32,
}

impl Process {
    /// This process, with `variables` as its environment. Names that are not UTF-8 are left out;
    /// values that are not UTF-8 get a replacement character and so are no usable secrets.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let variables = variables
            .into_iter()
            .filter_map(|(name, value)| {
                Some((name.into_string().ok()?, Secret::new(&value.to_string_lossy())))
            })
            .collect();
        Self { variables, uid: rustix::process::geteuid().as_raw(), umask: own_umask() }
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(Secret::expose)
    }
}

/// The kernel's way to read the umask without setting it; the usual one where it is not told.
fn own_umask() -> u32 {
    const USUAL: u32 = 0o022;
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return USUAL };
    status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn a_value_that_is_not_utf8_is_no_usable_secret() {
        let process = Process::new([("NAME".into(), OsString::from_vec(vec![b'a', 0xff]))]);
        assert!(process.variables["NAME"].usable().is_err());
    }

    #[test]
    fn the_umask_is_read() {
        assert!(own_umask() <= 0o777);
    }
}

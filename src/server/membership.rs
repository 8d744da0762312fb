//! Which groups a process is in, beside its primary one.
//!
//! The kernel tells a socket's owner the groups of its peer as of the connect, but no safe
//! interface of Rust asks it. So two other sources are asked, either of which suffices:
//!
//! - `/proc/PID/status` of the peer. This is later than the connect: the process may have ended,
//!   and another one may have its number. It counts only if it has the user of the peer, so what a
//!   race can gain is a group of another process of the same user. Where processes of other users
//!   are hidden (`hidepid`, `ProtectProc=invisible`) and in another PID namespace there is nothing
//!   to read.
//! - `/etc/group`: the members that an administrator has named, whatever groups the process has
//!   given up. It knows nothing of the groups that only a service has (`SupplementaryGroups=`).

use std::fs;

/// Whether the process `pid` of the user `uid` is in one of `groups`.
pub(super) fn is_in(groups: &[u32], uid: u32, pid: Option<i32>) -> bool {
    let status = || fs::read_to_string(format!("/proc/{}/status", pid?)).ok();
    let has = |status: &String| groups_in(status, uid).any(|group| groups.contains(&group));
    if pid.is_some_and(|pid| pid > 0) && status().as_ref().is_some_and(has) {
        return true;
    }
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    is_named(groups, uid, &read("/etc/passwd"), &read("/etc/group"))
}

/// The supplementary groups that `status` tells, if it is of a process of the user `uid`.
fn groups_in(status: &str, uid: u32) -> impl Iterator<Item = u32> {
    let numbers = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_ascii_whitespace().filter_map(|number| number.parse().ok())
    };
    // Real, effective, saved and file system: the second is what the kernel tells of a peer.
    let same_user = numbers("Uid:").nth(1) == Some(uid);
    numbers("Groups:").filter(move |_| same_user)
}

/// Whether `group` names the user `uid` of `passwd` as a member of one of `groups`.
fn is_named(groups: &[u32], uid: u32, passwd: &str, group: &str) -> bool {
    let user = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    let Some(user) = user else { return false };
    group.lines().any(|line| {
        let mut fields = line.split(':').skip(2);
        let number = fields.next().and_then(|number| number.parse().ok());
        let mut members = fields.next().unwrap_or_default().split(',');
        number.is_some_and(|number| groups.contains(&number)) && members.any(|name| name == user)
    })
}

/// The number of a group, from its name or its number, by `/etc/group`.
pub(super) fn gid(group: &str) -> Option<u32> {
    if let Ok(number) = group.parse() {
        return Some(number);
    }
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t5\t1000\t5\t5\nGid:\t5\t5\t5\t5\nGroups:\t27 1001 \n";

    #[test]
    fn the_groups_of_a_process_count_if_it_has_the_user_of_the_peer() {
        assert_eq!(groups_in(STATUS, 1000).collect::<Vec<_>>(), [27, 1001]);
        assert_eq!(groups_in(STATUS, 5).count(), 0);
        assert_eq!(groups_in("", 0).count(), 0);
    }

    #[test]
    fn the_members_of_a_group_are_those_it_names() {
        let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nodd\n";
        let group = "root:x:0:\nkeys:x:70:bob,alice\nlike:x:71:alicea\nodd\n";
        assert!(is_named(&[5, 70], 1000, passwd, group));
        assert!(!is_named(&[71], 1000, passwd, group));
        assert!(!is_named(&[70], 1001, passwd, group));
        assert!(!is_named(&[70], 0, passwd, group));
    }

    #[test]
    fn the_process_itself_can_be_looked_at() {
        let uid = rustix::process::geteuid().as_raw();
        let own = rustix::process::getgroups().unwrap();
        let pid = i32::try_from(std::process::id()).ok();
        for group in own {
            assert!(is_in(&[group.as_raw()], uid, pid));
        }
        assert!(!is_in(&[4_000_000_001], uid, pid));
    }

    #[test]
    fn a_group_is_found_by_its_name_or_number() {
        assert_eq!(gid("root"), Some(0));
        assert_eq!(gid("4711"), Some(4711));
        assert_eq!(gid("no-such-group"), None);
    }
}

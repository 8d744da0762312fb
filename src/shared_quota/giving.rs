//! Which group to give when another daemon wants one. Pure.

use std::time::Duration;

use crate::pool::{GroupName, HeldGroup, Instant};

/// A group that nobody has used for so long is not needed here.
const IDLE: Duration = Duration::from_secs(1);

/// A group that has not been used for so long, or has not been here for longer, is given to one who
/// has others.
const LONG_IDLE: Duration = Duration::from_secs(10);

/// How the daemons of a fleet share what there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// There are groups for everybody: each daemon keeps those it has until others need them more.
    #[default]
    Ownership,
    /// There are few: each daemon has a group just as long as it needs it.
    PerSelect,
}

impl Mode {
    /// The mode for `daemons` that share `groups`.
    pub fn of(groups: usize, daemons: usize) -> Self {
        if groups >= 2 * daemons { Self::Ownership } else { Self::PerSelect }
    }

    /// The name in `/v1/status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ownership => "ownership",
            Self::PerSelect => "per_select",
        }
    }
}

/// The group of `held` to give to one who wants any of `wanted`, if one can be given.
///
/// With many groups, nobody gives away more than half of the room that is left, so that who has
/// just given does not have to ask the next moment; a group that is not needed goes at once. With
/// few, whatever can pay goes: who can still pay has nobody waiting.
pub(super) fn to_give(
    wanted: &[GroupName],
    held: &[HeldGroup],
    mode: Mode,
    now: Instant,
) -> Option<GroupName> {
    let room = |group: &HeldGroup| match group.per_minute {
        Some(limit) => limit.saturating_sub(group.used),
        None => u64::MAX / 4096,
    };
    let can_pay = |group: &&HeldGroup| group.free_at <= now && wanted.contains(&group.name);
    let candidates: Vec<&HeldGroup> = held.iter().filter(can_pay).collect();
    let total: u64 = candidates.iter().map(|group| room(group)).fold(0, u64::saturating_add);
    let idle = |group: &&&HeldGroup| group.last_use.is_none_or(|at| at.plus(IDLE) <= now);
    let best = |from: &mut dyn Iterator<Item = &&HeldGroup>| {
        from.max_by_key(|group| room(group)).map(|group| group.name.clone())
    };
    match mode {
        Mode::PerSelect => best(&mut candidates.iter()),
        Mode::Ownership => best(&mut candidates.iter().filter(idle)).or_else(|| {
            best(&mut candidates.iter().filter(|group| room(group) > 0 && room(group) <= total / 2))
        }),
    }
}

/// The group of `held` to give to one who would rather use any of `wanted` than what it has.
/// `since` is when a group came here.
pub(super) fn to_grant_a_wish(
    wanted: &[GroupName],
    held: &[HeldGroup],
    since: impl Fn(&GroupName) -> Option<Instant>,
    now: Instant,
) -> Option<GroupName> {
    let idle = |group: &&HeldGroup| {
        let last = group.last_use.max(since(&group.name));
        last.is_none_or(|at| at.plus(LONG_IDLE) <= now)
    };
    let can_pay = |group: &&HeldGroup| group.free_at <= now && wanted.contains(&group.name);
    held.iter().filter(can_pay).find(idle).map(|group| group.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(100_000_000_000);

    fn group(name: &str, used: u64) -> HeldGroup {
        HeldGroup {
            name: name.into(),
            epoch: 1,
            per_minute: Some(10),
            used,
            free_at: if used < 10 { NOW } else { Instant::NEVER },
            last_use: Some(NOW),
            has_keys: true,
            day: None,
        }
    }

    fn gives(held: &[HeldGroup], mode: Mode) -> Option<String> {
        let wanted: Vec<GroupName> = ["a", "b", "c"].map(GroupName::from).into();
        to_give(&wanted, held, mode, NOW).map(|name| name.to_string())
    }

    #[test]
    fn gives_at_most_half_of_its_room() {
        let held = [group("a", 3), group("b", 4), group("c", 9)];
        assert_eq!(gives(&held, Mode::Ownership).as_deref(), Some("a"));
        assert_eq!(gives(&[group("a", 3), group("b", 9)], Mode::Ownership).as_deref(), Some("b"));
        assert_eq!(gives(&[group("a", 3)], Mode::Ownership), None);
    }

    #[test]
    fn gives_what_it_does_not_use() {
        let idle = HeldGroup { last_use: None, ..group("a", 0) };
        assert_eq!(gives(&[idle], Mode::Ownership).as_deref(), Some("a"));
    }

    #[test]
    fn grants_a_wish_with_what_it_has_not_used_for_long() {
        let gives = |last_use: Option<Instant>, since: Option<Instant>| {
            let held = [HeldGroup { last_use, ..group("a", 0) }];
            to_grant_a_wish(&["a".into()], &held, |_| since, NOW).is_some()
        };
        let ago =
            |seconds: u64| Some(Instant::from_nanos(NOW.as_nanos() - seconds * 1_000_000_000));
        assert!(gives(None, None) && gives(ago(10), ago(20)));
        assert!(!gives(ago(9), None) && !gives(None, ago(9)));
    }

    #[test]
    fn gives_nothing_that_cannot_pay_or_is_not_wanted() {
        assert_eq!(gives(&[group("a", 10), group("z", 0)], Mode::PerSelect), None);
        assert_eq!(gives(&[group("a", 9)], Mode::PerSelect).as_deref(), Some("a"));
    }

    #[test]
    fn groups_are_owned_where_there_are_two_for_each_daemon() {
        assert_eq!(Mode::of(16, 8), Mode::Ownership);
        assert_eq!(Mode::of(15, 8), Mode::PerSelect);
    }
}

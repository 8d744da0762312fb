//! Which group to give when another daemon wants one. Pure.

use std::time::Duration;

use crate::pool::{GroupName, HeldGroup, Instant};

/// A daemon that has used none of the groups that are wanted for so long needs none of them.
const IDLE: Duration = Duration::from_secs(1);

/// A group that has not been used for so long, and has been here for longer, is given to one who
/// has others.
const WISHED_IDLE: Duration = Duration::from_secs(10);

/// A group that has not been used for so long is not needed here. It is as long as a use counts:
/// until then it may have had no room.
const LONG_IDLE: Duration = Duration::from_mins(1);

/// A group that comes free in so long is worth waiting for.
const SOON: Duration = Duration::from_mins(1);

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

/// What a daemon holds that it could give to one who wants some of it.
pub(super) struct Gift<'a> {
    /// Groups that are wanted.
    groups: Vec<&'a HeldGroup>,
    now: Instant,
}

impl<'a> Gift<'a> {
    /// What there is of `wanted` among `held`.
    pub(super) fn of(wanted: &[GroupName], held: &'a [HeldGroup], now: Instant) -> Self {
        let groups = held.iter().filter(|group| wanted.contains(&group.name));
        Self { groups: groups.collect(), now }
    }

    /// The group to give to one whose groups cannot pay now, if one can be given. `since` is when a
    /// group came here.
    ///
    /// With many groups, what nobody has used for long goes first. Of the others, who gives keeps
    /// a quarter of the room that is left, so that he does not have to ask the next moment. With
    /// few, whatever can pay goes: who can still pay has nobody waiting.
    pub(super) fn for_more(
        &self,
        mode: Mode,
        since: impl Fn(&GroupName) -> Option<Instant>,
    ) -> Option<GroupName> {
        let total = self.can_pay().map(room).fold(0, u64::saturating_add);
        let most = total - total.div_ceil(4);
        let is_part = |group: &HeldGroup| room(group) > 0 && room(group) <= most;
        let all_rest = self.groups.iter().all(|group| self.rests(group, |_| None, IDLE));
        match mode {
            Mode::PerSelect => self.best(|_| true),
            Mode::Ownership if all_rest => self.best(|_| true),
            Mode::Ownership => self
                .best(|group| self.rests(group, &since, LONG_IDLE))
                .or_else(|| self.best(is_part)),
        }
    }

    /// The group to give to one who holds none that serves his requests, as when one key alone
    /// serves a model: whatever can pay, as where groups are few. Where those who wait here take all
    /// that comes free, it is the one that comes free next, once it has served somebody here.
    pub(super) fn for_first(
        &self,
        mode: Mode,
        since: impl Fn(&GroupName) -> Option<Instant>,
    ) -> Option<GroupName> {
        let has_served = |group: &&&HeldGroup| group.last_use > since(&group.name);
        let is_soon = |group: &&&HeldGroup| group.free_at <= self.now.plus(SOON);
        let next = || {
            let used_up = self.groups.iter().filter(is_soon).filter(has_served);
            used_up.min_by_key(|group| group.free_at).map(|group| group.name.clone())
        };
        self.for_more(mode, &since).or_else(|| self.best(|_| true)).or_else(next)
    }

    /// The group to give to one who would rather use it than what it has: none that was used or has
    /// come lately.
    pub(super) fn for_wish(
        &self,
        since: impl Fn(&GroupName) -> Option<Instant>,
    ) -> Option<GroupName> {
        self.best(|group| self.rests(group, &since, WISHED_IDLE))
    }

    /// Whether a group has been here for `span` without being used.
    fn rests(
        &self,
        group: &HeldGroup,
        since: impl Fn(&GroupName) -> Option<Instant>,
        span: Duration,
    ) -> bool {
        let last = group.last_use.max(since(&group.name));
        last.is_none_or(|at| at.plus(span) <= self.now)
    }

    /// Those that can pay now.
    fn can_pay(&self) -> impl Iterator<Item = &HeldGroup> {
        self.groups.iter().copied().filter(|group| group.free_at <= self.now)
    }

    /// The one of some that can pay with the most room.
    fn best(&self, is_meant: impl Fn(&HeldGroup) -> bool) -> Option<GroupName> {
        let meant = self.can_pay().filter(|group| is_meant(group));
        meant.max_by_key(|group| room(group)).map(|group| group.name.clone())
    }
}

/// How many requests a group can still pay.
fn room(group: &HeldGroup) -> u64 {
    match group.per_minute {
        Some(limit) => limit.saturating_sub(group.used),
        None => u64::MAX / 4096,
    }
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
            may_be_free_at: if used < 10 { NOW } else { Instant::NEVER },
            last_use: Some(NOW),
            has_keys: true,
            day: None,
        }
    }

    fn ago(seconds: u64) -> Instant {
        Instant::from_nanos(NOW.as_nanos() - seconds * 1_000_000_000)
    }

    fn gives(held: &[HeldGroup], mode: Mode) -> Option<String> {
        let wanted: Vec<GroupName> = ["a", "b", "c"].map(GroupName::from).into();
        let gift = Gift::of(&wanted, held, NOW);
        gift.for_more(mode, |_| Some(ago(90))).map(|name| name.to_string())
    }

    #[test]
    fn keeps_a_quarter_of_its_room() {
        let held = [group("a", 3), group("b", 4), group("c", 9)];
        assert_eq!(gives(&held, Mode::Ownership).as_deref(), Some("a"));
        assert_eq!(gives(&[group("a", 3), group("b", 9)], Mode::Ownership).as_deref(), Some("b"));
        assert_eq!(gives(&[group("a", 3)], Mode::Ownership), None);
    }

    #[test]
    fn gives_whatever_can_pay_to_one_who_has_none() {
        let held = [group("a", 3), group("b", 10)];
        let gift = Gift::of(&["a".into(), "b".into()], &held, NOW);
        let since = |_: &GroupName| Some(NOW);
        assert_eq!(gift.for_first(Mode::Ownership, since), Some("a".into()));
        assert_eq!(gift.for_more(Mode::Ownership, since), None);
    }

    #[test]
    fn gives_what_comes_free_next_to_one_who_has_none_once_it_has_served_here() {
        let free_in = |name: &str, seconds| HeldGroup {
            free_at: NOW.plus(Duration::from_secs(seconds)),
            ..group(name, 10)
        };
        let gives = |held: &[HeldGroup], since| {
            let gift = Gift::of(&["a".into(), "b".into()], held, NOW);
            gift.for_first(Mode::Ownership, |_| Some(since)).map(|name| name.to_string())
        };
        let held = [free_in("a", 9), free_in("b", 8)];
        assert_eq!(gives(&held, ago(1)).as_deref(), Some("b"));
        assert_eq!(gives(&held, NOW), None, "nobody here was served since they came");
        assert_eq!(gives(&[free_in("a", 61)], ago(1)), None, "it is of no use for long");
        assert_eq!(gives(&[group("a", 9), free_in("b", 1)], NOW).as_deref(), Some("a"));
    }

    #[test]
    fn gives_what_it_does_not_use() {
        let used = |last_use| HeldGroup { last_use, ..group("a", 0) };
        let gives = |held: &[HeldGroup]| gives(held, Mode::Ownership);
        assert_eq!(gives(&[used(None)]).as_deref(), Some("a"));
        assert_eq!(gives(&[used(Some(ago(1)))]).as_deref(), Some("a"));
        assert_eq!(gives(&[used(Some(ago(60))), group("b", 8)]).as_deref(), Some("a"));
        assert_eq!(gives(&[used(Some(ago(59))), group("b", 8)]).as_deref(), Some("b"));
        assert_eq!(gives(&[used(Some(ago(59))), group("b", 10)]), None, "b is in use");
    }

    #[test]
    fn grants_a_wish_with_what_it_has_not_used_for_long() {
        let gives = |last_use: Option<Instant>, since: Option<Instant>| {
            let held = [HeldGroup { last_use, ..group("a", 0) }];
            Gift::of(&["a".into()], &held, NOW).for_wish(|_| since).is_some()
        };
        assert!(gives(None, None) && gives(Some(ago(10)), Some(ago(20))));
        assert!(!gives(Some(ago(9)), None) && !gives(None, Some(ago(9))));
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

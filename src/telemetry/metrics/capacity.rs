//! Requests a minute that keys can serve together, by provider and by model. Keys that share a
//! quota group count once.

use std::collections::{BTreeMap, BTreeSet};

use super::reading::KeyReading;
use crate::background::unhurried;
use crate::pool::KeyState;

/// Requests a minute; `None` if a quota group has no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Capacity {
    /// Of the groups with an active key.
    pub(super) configured: Option<u64>,
    /// Of the groups with a key that is ready, or would be if its quota could pay.
    pub(super) ready: Option<u64>,
}

/// The capacities of providers, and of models by provider and model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Capacities<'a> {
    pub(super) providers: BTreeMap<&'a str, Capacity>,
    pub(super) models: BTreeMap<(&'a str, &'a str), Capacity>,
}

/// What the keys of one quota group say together.
struct Group<'a> {
    provider: &'a str,
    models: &'a [std::sync::Arc<str>],
    rpm: Option<u64>,
    active: bool,
    ready: bool,
}

impl<'a> Capacities<'a> {
    pub(super) fn of(keys: &'a [KeyReading]) -> Self {
        let mut groups: BTreeMap<&str, Group<'a>> = BTreeMap::new();
        for key in unhurried(keys) {
            let group = groups.entry(key.group_key.as_str()).or_insert_with(|| Group {
                provider: &key.provider,
                models: &key.models,
                rpm: key.rpm,
                active: false,
                ready: false,
            });
            group.active |= is_active(&key.state);
            group.ready |= is_ready(&key.state);
        }
        let named: BTreeSet<(&str, &str)> = unhurried(keys)
            .flat_map(|key| key.models.iter().map(|model| (&*key.provider, &**model)))
            .collect();

        let mut capacities = Self::default();
        for group in unhurried(groups.values()) {
            capacities.providers.entry(group.provider).or_default().count(group);
        }
        for (provider, model) in named {
            let capacity = capacities.models.entry((provider, model)).or_default();
            let offers = |group: &&Group<'_>| {
                let offered = group.models.iter().any(|offered| **offered == *model);
                group.provider == provider && (group.models.is_empty() || offered)
            };
            unhurried(groups.values()).filter(offers).for_each(|group| capacity.count(group));
        }
        capacities
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self { configured: Some(0), ready: Some(0) }
    }
}

impl Capacity {
    fn count(&mut self, group: &Group<'_>) {
        let sum = |total: Option<u64>| Some(total?.saturating_add(group.rpm?));
        if group.active {
            self.configured = sum(self.configured);
        }
        if group.ready {
            self.ready = sum(self.ready);
        }
    }
}

fn is_active(state: &KeyState) -> bool {
    !matches!(state, KeyState::Inactive)
}

fn is_ready(state: &KeyState) -> bool {
    matches!(state, KeyState::Ready | KeyState::Exhausted { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{KeyId, Outcomes, WallTime};

    fn key(
        id: &str,
        group: &str,
        models: &[&str],
        rpm: Option<u64>,
        state: KeyState,
    ) -> KeyReading {
        KeyReading {
            id: KeyId::parse(id).unwrap(),
            provider: "gemini".into(),
            models: models.iter().map(|model| (*model).into()).collect(),
            group_key: KeyId::parse(group).unwrap(),
            rpm,
            state,
            quota: Vec::new(),
            in_flight: 0,
            cooldowns: 0,
            grants: 0,
            tokens: 0,
            reports: Outcomes::default(),
            unexpected_429: 0,
            warnings: [0; 4],
            last_used: WallTime::default(),
            last_probe: None,
        }
    }

    fn capacity(configured: Option<u64>, ready: Option<u64>) -> Capacity {
        Capacity { configured, ready }
    }

    fn dead() -> KeyState {
        KeyState::Dead("API_KEY_INVALID".into())
    }

    #[test]
    fn keys_that_share_a_group_count_once_and_one_that_is_ready_is_enough() {
        let keys = [
            key("a", "a", &[], Some(60), dead()),
            key("b", "a", &[], Some(60), KeyState::Ready),
            key("c", "c", &[], Some(15), dead()),
            key("d", "d", &[], Some(1000), KeyState::Inactive),
        ];
        let capacities = Capacities::of(&keys);
        assert_eq!(capacities.providers["gemini"], capacity(Some(75), Some(60)));
    }

    #[test]
    fn a_group_without_a_limit_makes_the_sum_unknown() {
        let keys =
            [key("a", "a", &[], Some(60), KeyState::Ready), key("b", "b", &[], None, dead())];
        assert_eq!(Capacities::of(&keys).providers["gemini"], capacity(None, Some(60)));
    }

    #[test]
    fn a_key_without_models_counts_for_each_of_its_provider() {
        let keys = [
            key("a", "a", &["flash", "pro"], Some(60), KeyState::Ready),
            key("b", "b", &["pro"], Some(5), KeyState::Ready),
            key("c", "c", &[], Some(15), KeyState::Ready),
        ];
        let capacities = Capacities::of(&keys);
        assert_eq!(capacities.models[&("gemini", "flash")], capacity(Some(75), Some(75)));
        assert_eq!(capacities.models[&("gemini", "pro")], capacity(Some(80), Some(80)));
        assert_eq!(capacities.models.len(), 2);
    }
}

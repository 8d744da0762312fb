//! The best that a policy without 429s can do: a line in front of exact sliding windows, with a
//! guard. There is no provider in it, because none would refuse anything.
//!
//! No safe policy admits anything that these windows refuse, so what keypool grants is measured by
//! it, whatever the luck of a seed.

use std::collections::VecDeque;
use std::time::Duration;

use super::cell::is_measured;
use super::figures::Figures;
use super::policy::PATIENCE;

struct Key {
    rpm: usize,
    granted: VecDeque<Duration>,
}

impl Key {
    /// When it can pay next.
    fn free_at(&self, span: Duration) -> Duration {
        let full = self.granted.len() >= self.rpm;
        if full { self.granted[self.granted.len() - self.rpm] + span } else { Duration::ZERO }
    }

    /// How many more requests it can pay at `now`.
    fn room(&self, span: Duration, now: Duration) -> usize {
        let used = self.granted.iter().rev().take_while(|at| **at + span > now).count();
        self.rpm - used
    }

    fn grant(&mut self, now: Duration) {
        self.granted.push_back(now);
        if self.granted.len() > self.rpm {
            self.granted.pop_front();
        }
    }
}

/// What `requests`, in order, get from keys of `rpms` under `guard`.
pub(crate) fn ideal(
    rpms: &[usize],
    guard: Duration,
    requests: &[Duration],
    warm_up: Duration,
    mut figures: Figures,
) -> Figures {
    let span = Duration::from_mins(1) + guard;
    let mut keys: Vec<Key> =
        rpms.iter().map(|&rpm| Key { rpm, granted: VecDeque::new() }).collect();
    let mut line = Duration::ZERO;
    for &arrived in requests {
        let measured = is_measured(arrived, warm_up);
        if measured {
            figures.offered();
        }
        let free = keys.iter().map(|key| key.free_at(span)).min().unwrap_or_default();
        let start = free.max(line).max(arrived);
        if start.saturating_sub(arrived) > PATIENCE {
            continue;
        }
        line = start;
        let most_room = keys.iter_mut().max_by_key(|key| (key.room(span, start) * 1000) / key.rpm);
        most_room.expect("there are keys").grant(start);
        if is_measured(start, warm_up) {
            figures.granted();
        }
        if measured {
            figures.served(start.saturating_sub(arrived), true);
        }
    }
    figures
}

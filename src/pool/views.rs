//! The views that requests have asked for, by their filters.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};

use super::key::KeyIdx;
use super::request::Filter;
use super::rules::Rules;
use super::stock::Stock;
use super::time::Instant;
use super::view::View;

/// The most views that are kept; past it they are made anew. Filters come from callers, so their
/// number must have a bound.
const MOST_VIEWS: usize = 256;

/// The place of a view, until the next one is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct ViewIdx(usize);

/// So many filters are compared sooner than one is hashed.
const FEW: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Views {
    all: Vec<View>,
    /// The filter of each.
    filters: Vec<Filter>,
    by_filter: HashMap<Filter, ViewIdx>,
}

impl Index<ViewIdx> for Views {
    type Output = View;
    fn index(&self, idx: ViewIdx) -> &View {
        &self.all[idx.0]
    }
}

impl IndexMut<ViewIdx> for Views {
    fn index_mut(&mut self, idx: ViewIdx) -> &mut View {
        &mut self.all[idx.0]
    }
}

impl Views {
    /// The view for `filter`, which is made if there is none.
    pub(super) fn of(&mut self, filter: &Filter, stock: &mut Stock, rules: &Rules) -> ViewIdx {
        let known = if self.filters.len() <= FEW {
            self.filters.iter().position(|known| known == filter).map(ViewIdx)
        } else {
            self.by_filter.get(filter).copied()
        };
        if let Some(idx) = known {
            return idx;
        }
        if self.all.len() >= MOST_VIEWS {
            self.clear();
        }
        let idx = ViewIdx(self.all.len());
        let named = stock.in_own_names(filter);
        self.all.push(View::new(&named, &stock.keys, rules.seat_order()));
        self.filters.push(filter.clone());
        self.by_filter.insert(filter.clone(), idx);
        idx
    }

    /// Forgets every view: keys or rules are others.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.filters.clear();
        self.by_filter.clear();
    }

    /// Has memory bring what is written of `key` when it cannot pay any more, in the first views.
    pub(super) fn fetch(&self, key: KeyIdx) -> u64 {
        self.all.iter().take(FEW).fold(0, |seen, view| seen ^ view.fetch(key))
    }

    /// `key` cannot pay before `bound`, but perhaps earlier than thought.
    pub(super) fn ease(&mut self, key: KeyIdx, bound: Instant) {
        self.bound(key, bound, Instant::ZERO);
    }

    /// The same at `now`.
    pub(super) fn bound(&mut self, key: KeyIdx, bound: Instant, now: Instant) {
        for view in &mut self.all {
            view.ease(key, bound, now);
        }
    }
}

//! Keys of a better rank that are not here.
//!
//! A request takes the best key that is to be had here: to wait for better ones would cost every
//! select a round trip. But it leaves a wish, so that a better one comes that nobody needs.

use super::{GroupName, Sharing};
use crate::pool::core::Pool;
use crate::pool::key::KeyIdx;
use crate::pool::request::Ask;
use crate::pool::stock::Stock;
use crate::pool::time::{Instant, Now};

/// Most seats that are looked at: what is wished for is asked for a few at a time.
const MOST_SEATS: usize = 32;

impl Sharing {
    /// Wishes for the groups of `better` seats that other daemons may hold, and that `ask` could
    /// have used.
    pub(in crate::pool) fn wish_for(
        &mut self,
        better: &[KeyIdx],
        stock: &Stock,
        ask: &Ask,
        now: Now,
    ) {
        if !self.on {
            return;
        }
        let is_wish = |key: &&KeyIdx| {
            let key = &stock[**key];
            let group = &stock[key.group];
            group.holding.is_away(now.at)
                && group.wish_again <= now.at
                && key.is_usable()
                && !ask.excludes(&key.settings.id)
        };
        let wishes = better.iter().take(MOST_SEATS).filter(is_wish);
        self.wishes = wishes.map(|key| stock[*key].group).collect();
    }
}

impl Pool {
    /// Groups that requests would rather have used than those that served them, since the last call
    /// of this.
    pub fn take_wishes(&mut self) -> Vec<GroupName> {
        let wishes = std::mem::take(&mut self.sharing.wishes);
        wishes.into_iter().map(|group| self.stock[group].id.name()).collect()
    }

    /// None of `names` is wished for before `at`, unless it may be to be had sooner. Requests that
    /// cannot do without ask for them all the same.
    pub fn put_off_wishes(&mut self, names: &[GroupName], at: Instant) {
        self.sharing.wishes.clear();
        let index = self.group_index();
        for group in names.iter().filter_map(|name| index.get(name)) {
            self.stock[*group].wish_again = at;
        }
    }
}

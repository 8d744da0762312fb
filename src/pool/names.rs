//! Names that many keys have in common, one of each.
//!
//! Each key is configured with its own copy, somewhere in the memory. One for all is at hand, and
//! two that are the same are seen to be so without a look at the text.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Index;
use std::sync::Arc;

/// The place of a name, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NameIdx(NonZeroU32);

#[derive(Debug, Default)]
pub(super) struct Names {
    all: Vec<Arc<str>>,
    places: HashMap<Arc<str>, NameIdx>,
}

impl Index<NameIdx> for Names {
    type Output = Arc<str>;
    fn index(&self, idx: NameIdx) -> &Arc<str> {
        &self.all[idx.0.get() as usize - 1]
    }
}

impl Names {
    /// The place of `name`, which gets one if it has none.
    pub(super) fn place(&mut self, name: &Arc<str>) -> NameIdx {
        if let Some(&idx) = self.places.get(name) {
            return idx;
        }
        self.all.push(name.clone());
        let count = u32::try_from(self.all.len()).ok().and_then(NonZeroU32::new);
        let idx = NameIdx(count.expect("fewer than 2^32 names"));
        self.places.insert(name.clone(), idx);
        idx
    }
}

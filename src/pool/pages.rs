//! A list that can be read as it was at one moment while it goes on changing.
//!
//! It is read page by page, with any number of changes in between: who changes an item of a page
//! that is still to be read puts a copy of the page aside first. So nobody waits for longer than
//! the copy of a page takes, however long the list is.

use std::ops::{Deref, Index, IndexMut, Range};

/// How many items a page has.
const PAGE: usize = 64;

#[derive(Debug)]
pub(super) struct Pages<T> {
    items: Vec<T>,
    frozen: Option<Frozen<T>>,
}

/// What is still to be read of a list as it was.
#[derive(Debug)]
struct Frozen<T> {
    /// How many items there were.
    len: usize,
    /// The page that is read next.
    next: usize,
    /// The pages that have changed since.
    kept: Vec<Option<Vec<T>>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { items: Vec::new(), frozen: None }
    }
}

impl<T> From<Vec<T>> for Pages<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, frozen: None }
    }
}

impl<T> Deref for Pages<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T: Clone> Index<usize> for Pages<T> {
    type Output = T;
    fn index(&self, place: usize) -> &T {
        &self.items[place]
    }
}

impl<T: Clone> IndexMut<usize> for Pages<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        if let Some(frozen) = &mut self.frozen {
            frozen.keep(place / PAGE, &self.items);
        }
        &mut self.items[place]
    }
}

impl<T: Clone> Pages<T> {
    /// Every item, to be changed.
    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.keep_all();
        self.items.iter_mut()
    }

    /// Has `items` instead of its own, which are handed out.
    pub(super) fn replace(&mut self, items: Vec<T>) -> Vec<T> {
        self.keep_all();
        std::mem::replace(&mut self.items, items)
    }

    /// From here on [`Pages::next_page`] reads the list as it is now. Says how many items it has.
    pub(super) fn freeze(&mut self) -> usize {
        let len = self.items.len();
        let kept = (0..len.div_ceil(PAGE)).map(|_| None).collect();
        self.frozen = Some(Frozen { len, next: 0, kept });
        len
    }

    /// Nobody reads the list as it was any more.
    pub(super) fn thaw(&mut self) {
        self.frozen = None;
    }

    /// The next page of the list as it was when it was frozen; none after the last.
    pub(super) fn next_page(&mut self) -> Option<Vec<T>> {
        let frozen = self.frozen.as_mut()?;
        let page = frozen.next;
        if page == frozen.kept.len() {
            self.frozen = None;
            return None;
        }
        frozen.next += 1;
        let kept = frozen.kept[page].take();
        Some(kept.unwrap_or_else(|| self.items[frozen.range(page)].to_vec()))
    }

    fn keep_all(&mut self) {
        if let Some(frozen) = &mut self.frozen {
            for page in frozen.next..frozen.kept.len() {
                frozen.keep(page, &self.items);
            }
        }
    }
}

impl<T: Clone> Frozen<T> {
    /// Puts a copy of a page aside that is about to change.
    fn keep(&mut self, page: usize, items: &[T]) {
        let range = self.range(page);
        if page >= self.next
            && let Some(kept @ None) = self.kept.get_mut(page)
        {
            *kept = Some(items[range].to_vec());
        }
    }

    fn range(&self, page: usize) -> Range<usize> {
        let begin = page * PAGE;
        begin..(begin + PAGE).min(self.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Change(usize),
        ChangeAll,
        Replace(usize),
        Read,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => any::<usize>().prop_map(Step::Change),
            1 => Just(Step::ChangeAll),
            1 => (0_usize..300).prop_map(Step::Replace),
            4 => Just(Step::Read),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn is_read_as_it_was_whatever_changes_meanwhile(len in 0_usize..300, steps in steps()) {
            let was: Vec<usize> = (0..len).collect();
            let mut pages = Pages::from(was.clone());
            prop_assert_eq!(pages.freeze(), len);
            let mut read = Vec::new();
            for step in steps {
                match step {
                    Step::Change(place) if !pages.is_empty() => {
                        let place = place % pages.len();
                        pages[place] += 1000;
                    }
                    Step::Change(_) => {}
                    Step::ChangeAll => pages.iter_mut().for_each(|item| *item += 1000),
                    Step::Replace(count) => drop(pages.replace(vec![7; count])),
                    Step::Read => read.extend(pages.next_page().into_iter().flatten()),
                }
            }
            while let Some(page) = pages.next_page() {
                read.extend(page);
            }
            prop_assert_eq!(read, was);
            prop_assert!(pages.frozen.is_none());
        }
    }

    #[test]
    fn a_list_that_is_not_frozen_has_no_page_to_read() {
        let mut pages = Pages::from(vec![1]);
        pages.freeze();
        pages.thaw();
        assert_eq!(pages.next_page(), None);
    }
}

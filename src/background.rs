//! Work on thousands of things at a time, beside threads that answer requests.
//!
//! A kernel leaves a thread that computes on its processor for milliseconds, although another one is
//! ready to answer. So who has so much to do lets others have the processor now and then.

/// How many things are done at a stretch: some 100 µs.
const AT_A_STRETCH: usize = 64;

/// The same items, with a pause for others now and then.
pub fn unhurried<T>(items: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    items.into_iter().enumerate().map(|(n, item)| {
        if n % AT_A_STRETCH == AT_A_STRETCH - 1 {
            std::thread::yield_now();
        }
        item
    })
}

/// Drops every item.
pub fn let_go<T>(items: impl IntoIterator<Item = T>) {
    unhurried(items).for_each(drop);
}

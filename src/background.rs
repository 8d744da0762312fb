//! Work on thousands of things at a time, beside threads that answer requests.
//!
//! A kernel leaves a thread that computes on its processor for milliseconds, although another one is
//! ready to answer. So who has so much to do lets others have the processor now and then.

use std::io::{self, Read, Write};

/// How many things are done at a stretch: some 100 µs.
const THINGS: usize = 16;

/// How many bytes are: they take about as long to write or to hash.
const BYTES: usize = 16 * 1024;

/// For so many things at most room is made before they are known: to make more later takes a while,
/// and what a file seems to hold may be nothing.
pub const MOST_ROOM: usize = 16 * 1024;

/// How much has been done since others last had the processor.
#[derive(Debug)]
pub struct Stretch {
    done: usize,
    most: usize,
}

impl Stretch {
    /// Of work that counts by the things that are done.
    pub fn of_things() -> Self {
        Self { done: 0, most: THINGS }
    }

    /// Of work that counts by the bytes.
    pub fn of_bytes() -> Self {
        Self { done: 0, most: BYTES }
    }

    /// So much more has been done. Others have the processor if that is enough.
    pub fn add(&mut self, done: usize) {
        self.done += done;
        if self.done >= self.most {
            self.done = 0;
            std::thread::yield_now();
        }
    }
}

/// The same items, with a pause for others now and then.
pub fn unhurried<T>(items: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    let mut stretch = Stretch::of_things();
    items.into_iter().inspect(move |_| stretch.add(1))
}

/// A collection of all items, put in one by one: a map that is built of all at once is built at a
/// stretch.
pub fn gather<T, C: Default + Extend<T>>(items: impl IntoIterator<Item = T>) -> C {
    let mut all = C::default();
    all.extend(unhurried(items));
    all
}

/// Drops every item.
pub fn let_go<T>(items: impl IntoIterator<Item = T>) {
    unhurried(items).for_each(drop);
}

/// Reads from a file or writes to it with a pause for others now and then.
#[derive(Debug)]
pub struct Unhurried<F> {
    file: F,
    stretch: Stretch,
}

impl<F> Unhurried<F> {
    /// One of `file`.
    pub fn new(file: F) -> Self {
        Self { file, stretch: Stretch::of_bytes() }
    }

    /// The file.
    pub fn into_inner(self) -> F {
        self.file
    }
}

impl<R: Read> Read for Unhurried<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = bytes.len().min(BYTES);
        let read = self.file.read(&mut bytes[..most])?;
        self.stretch.add(read);
        Ok(read)
    }
}

impl<W: Write> Write for Unhurried<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(&bytes[..bytes.len().min(BYTES)])?;
        self.stretch.add(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

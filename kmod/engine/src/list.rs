//! A list whose entries are allocated before they are added, and freed after they are removed. It
//! can therefore be changed under a [`Mutex`](crate::Mutex).

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};

use crate::Mutex;

/// A list of `T`, the newest entry first.
pub(crate) struct List<T> {
    first: Option<Box<Entry<T>>>,
    len: usize,
}

/// An entry of a list, or one to be added to a list.
pub(crate) struct Entry<T> {
    pub(crate) value: T,
    next: Option<Box<Entry<T>>>,
}

impl<T> Entry<T> {
    /// Creates an entry. Allocates, and so may sleep.
    pub(crate) fn new(value: T) -> Box<Self> {
        Box::new(Entry { value, next: None })
    }
}

impl<T> List<T> {
    pub(crate) const fn new() -> Self {
        List { first: None, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, mut entry: Box<Entry<T>>) {
        entry.next = self.first.take();
        self.first = Some(entry);
        self.len = self.len.saturating_add(1);
    }

    pub(crate) fn pop(&mut self) -> Option<Box<Entry<T>>> {
        let mut entry = self.first.take()?;
        self.first = entry.next.take();
        self.len = self.len.saturating_sub(1);
        Some(entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        core::iter::successors(self.first.as_deref(), |entry| entry.next.as_deref()).map(|entry| &entry.value)
    }

    /// Moves at most `count` entries of `other` to this list, the newest first.
    pub(crate) fn take_from(&mut self, other: &mut Self, count: usize) {
        core::iter::from_fn(|| other.pop()).take(count).for_each(|entry| self.push(entry));
    }

    /// Returns the same entries, the oldest first.
    pub(crate) fn reversed(mut self) -> Self {
        let mut reversed = List::new();
        reversed.take_from(&mut self, usize::MAX);
        reversed
    }

    /// Removes the entries for which `wanted` returns true, and returns them.
    pub(crate) fn remove(&mut self, wanted: impl Fn(&T) -> bool) -> Self {
        let (mut removed, mut all) = (List::new(), core::mem::take(self));
        while let Some(entry) = all.pop() {
            if wanted(&entry.value) { &mut removed } else { &mut *self }.push(entry);
        }
        removed
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List::new()
    }
}

/// An entry of a list of objects that are shared by those who have an equal key.
pub(crate) struct Shared<K, T> {
    key: K,
    object: Weak<T>,
}

impl<K: PartialEq + Send, T: Send + Sync> Shared<K, T> {
    /// Returns the object of the list that has this key. If there is none, adds `object` and
    /// returns it. Allocates, and so may sleep; takes the lock of the list.
    pub(crate) fn find_or_add(list: &impl Mutex<List<Self>>, key: K, object: Arc<T>) -> Arc<T> {
        let mine = Entry::new(Shared { key, object: Arc::downgrade(&object) });
        let found = list.with(|list| {
            let same = |other: &&Self| other.key == mine.value.key;
            let found = list.iter().filter(same).find_map(|other| other.object.upgrade());
            match found {
                Some(found) => Some((found, mine)),
                None => {
                    list.push(mine);
                    None
                }
            }
        });
        // An entry that is not in the list is freed here, with nothing locked.
        found.map_or(object, |(found, _)| found)
    }

    /// Takes an object that is about to be dropped out of the list. Takes the lock of the list.
    pub(crate) fn remove(list: &impl Mutex<List<Self>>, object: *const T) {
        drop(list.with(|list| list.remove(|other| core::ptr::eq(other.object.as_ptr(), object))));
    }
}

/// A list that several threads go through in rounds. What is added waits for the next round, so that
/// each round ends.
pub(crate) struct Rounds<T> {
    this: List<T>,
    next: List<T>,
}

impl<T> Rounds<T> {
    pub(crate) const fn new() -> Self {
        Rounds { this: List::new(), next: List::new() }
    }

    pub(crate) fn push(&mut self, entry: Box<Entry<T>>) {
        self.next.push(entry);
    }

    /// Begins a round.
    pub(crate) fn begin(&mut self) {
        self.this.take_from(&mut self.next, usize::MAX);
    }

    /// Takes the next entry of this round out of the list.
    pub(crate) fn pop(&mut self) -> Option<Box<Entry<T>>> {
        self.this.pop()
    }

    /// Removes the entries for which `wanted` returns true, and returns them.
    pub(crate) fn remove(&mut self, wanted: impl Fn(&T) -> bool) -> [List<T>; 2] {
        [self.this.remove(&wanted), self.next.remove(&wanted)]
    }
}

impl<T> Drop for List<T> {
    /// Frees the entries one by one: the default drop would recurse down the list.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

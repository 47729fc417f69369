//! The times and counter changes of the engine on behalf of the running task, for the history.

use std::cell::{Cell, RefCell};
use std::ptr;

use ktrace_format::Timespec;

use crate::{ModelCounter, clock, context};

std::thread_local! {
    // The section of the running task. It is set aside while other tasks run. A task-local variable
    // would not do: its first use allocates, which a critical section may not.
    static SECTION: Cell<Section> = const { Cell::new(Section::NONE) };
}

/// A critical section, including nested ones.
#[derive(Clone, Copy)]
pub(crate) struct Section {
    /// The time when its mutex was taken. None outside of a section.
    locked_at: Option<Timespec>,
    /// The last reading of the clock.
    reading: Option<Timespec>,
    /// Whether a counter was raised.
    counted: bool,
}

impl Section {
    const NONE: Section = Section { locked_at: None, reading: None, counted: false };
}

shuttle::thread_local! {
    static SEEN: RefCell<Seen> = RefCell::new(Seen::default());
}

/// The events since [`watch`] began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The time when the queue mutex was last taken.
    pub(crate) locked_at: Timespec,
    /// The reading of the clock under it, or else [`Seen::locked_at`].
    pub(crate) reading: Timespec,
    /// Whether a record was counted as pending under the queue mutex.
    pub(crate) pending: bool,
    /// The addresses of the counters raised outside of mutexes.
    counted: Vec<usize>,
}

impl Seen {
    /// Returns whether the counter was raised.
    pub(crate) fn counted(&self, counter: &ModelCounter) -> bool {
        self.counted.contains(&ptr::from_ref(counter).addr())
    }
}

/// Runs `work`. Also returns the engine's events in it.
pub(crate) fn watch<R>(work: impl FnOnce() -> R) -> (R, Seen) {
    SEEN.with(|seen| seen.replace(Seen::default()));
    let result = work();
    (result, SEEN.with(|seen| seen.take()))
}

/// Reads the clock for a record.
pub(crate) fn read_clock() -> Timespec {
    let now = clock::tick();
    SECTION.set(Section { reading: Some(now), ..SECTION.get() });
    now
}

/// Lets other tasks run, with this task's section set aside.
pub(crate) fn set_aside(switch: impl FnOnce()) {
    let section = SECTION.replace(Section::NONE);
    switch();
    SECTION.set(section);
}

/// Begins the section of a mutex that was just taken. Returns the outer section.
pub(crate) fn begin_section() -> Section {
    let locked_at = Some(clock::tick());
    SECTION.replace(Section { locked_at, ..Section::NONE })
}

/// Ends the section of a mutex that is about to be released, and restores the outer section.
/// Records are made under a queue mutex.
pub(crate) fn end_section(outer: Section, of_queue: bool) {
    let inner = SECTION.replace(outer);
    if outer.locked_at.is_some() {
        let reading = inner.reading.or(outer.reading);
        SECTION.set(Section { reading, counted: inner.counted || outer.counted, ..outer });
        return;
    }
    if !of_queue {
        return;
    }
    SEEN.with(|seen| {
        let mut seen = seen.borrow_mut();
        seen.locked_at = inner.locked_at.unwrap_or_default();
        seen.reading = inner.reading.unwrap_or(seen.locked_at);
        seen.pending |= inner.counted;
    });
}

/// Notes that the task has changed a counter.
pub(crate) fn note_change(counter: &ModelCounter, n: i64) {
    if n <= 0 {
        return;
    }
    if context::in_mutex() {
        SECTION.set(Section { counted: true, ..SECTION.get() });
    } else {
        SEEN.with(|seen| seen.borrow_mut().counted.push(ptr::from_ref(counter).addr()));
    }
}

//! What the engine did on behalf of the running task, for the history: when, and what it counted.

use std::cell::{Cell, RefCell};
use std::ptr;

use ktrace_format::Timespec;

use crate::{ModelCounter, clock, context};

std::thread_local! {
    // Of the running task, which is set aside where others run. Nothing in a critical section may
    // allocate, as the first use of a task's own variable does.
    static SECTION: Cell<Section> = const { Cell::new(Section::NONE) };
}

/// A critical section, with those inside of it.
#[derive(Clone, Copy)]
pub(crate) struct Section {
    /// When its mutex was taken; nothing if there is none.
    locked_at: Option<Timespec>,
    /// When the clock was last read.
    reading: Option<Timespec>,
    /// Something was counted up.
    counted: bool,
}

impl Section {
    const NONE: Section = Section { locked_at: None, reading: None, counted: false };
}

shuttle::thread_local! {
    static SEEN: RefCell<Seen> = RefCell::new(Seen::default());
}

/// What happened since [`watch`] began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// When the queue mutex was last taken.
    pub(crate) locked_at: Timespec,
    /// When the clock was read under it then, or else [`Seen::locked_at`].
    pub(crate) reading: Timespec,
    /// Something was counted as pending under the queue mutex.
    pub(crate) pending: bool,
    /// What was counted up outside of mutexes, by address of the counter.
    counted: Vec<usize>,
}

impl Seen {
    /// Whether the counter was raised.
    pub(crate) fn counted(&self, counter: &ModelCounter) -> bool {
        self.counted.contains(&ptr::from_ref(counter).addr())
    }
}

/// Runs `work`, and returns what the engine did in it.
pub(crate) fn watch<R>(work: impl FnOnce() -> R) -> (R, Seen) {
    SEEN.with(|seen| seen.replace(Seen::default()));
    let result = work();
    (result, SEEN.with(|seen| seen.take()))
}

/// The time for a record.
pub(crate) fn read_clock() -> Timespec {
    let now = clock::tick();
    SECTION.set(Section { reading: Some(now), ..SECTION.get() });
    now
}

/// Lets other tasks run.
pub(crate) fn set_aside(switch: impl FnOnce()) {
    let section = SECTION.replace(Section::NONE);
    switch();
    SECTION.set(section);
}

/// The task has a mutex now. Returns what it had before.
pub(crate) fn begin_section() -> Section {
    let locked_at = Some(clock::tick());
    SECTION.replace(Section { locked_at, ..Section::NONE })
}

/// The task is about to let go of a mutex, and has what it had before. Records are made under that
/// of a queue.
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

/// The task has changed a counter.
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

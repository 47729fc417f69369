//! What the engine did on behalf of the running task, for the history: when, and what it counted.

use std::cell::{Cell, RefCell};
use std::ptr;

use ktrace_format::Timespec;

use crate::{ModelCounter, clock, context};

std::thread_local! {
    // Of the critical section that runs: nobody is switched to in it, and nothing in it may
    // allocate, as the first use of a task's own variable does.
    static READING: Cell<Option<Timespec>> = const { Cell::new(None) };
    static LOCKED_AT: Cell<Option<Timespec>> = const { Cell::new(None) };
    static QUEUED: Cell<bool> = const { Cell::new(false) };
}

shuttle::thread_local! {
    static SEEN: RefCell<Seen> = RefCell::new(Seen::default());
}

/// What happened since [`watch`] began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// When the queue mutex was last taken.
    pub(crate) locked_at: Timespec,
    /// When the clock was last read for a record.
    pub(crate) reading: Timespec,
    /// Something was counted as queued under the queue mutex.
    pub(crate) queued: bool,
    /// What was counted up outside of it, by address of the counter.
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
    READING.set(Some(now));
    now
}

/// The task has a queue mutex now.
pub(crate) fn begin_section() {
    LOCKED_AT.set(Some(clock::tick()));
    QUEUED.set(false);
}

/// The task is about to let go of the queue mutex.
pub(crate) fn end_section() {
    SEEN.with(|seen| {
        let mut seen = seen.borrow_mut();
        seen.locked_at = LOCKED_AT.take().unwrap_or_default();
        seen.reading = READING.take().unwrap_or(seen.reading);
        seen.queued |= QUEUED.get();
    });
}

/// The task has changed a counter.
pub(crate) fn note_change(counter: &ModelCounter, n: i64) {
    if n <= 0 {
        return;
    }
    if context::in_mutex() {
        QUEUED.set(true);
    } else {
        SEEN.with(|seen| seen.borrow_mut().counted.push(ptr::from_ref(counter).addr()));
    }
}

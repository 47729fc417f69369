//! The time of day: a number that every reading raises, so that it tells which of two things
//! came first.

use std::cell::Cell;

use ktrace_format::Timespec;

thread_local! {
    /// All tasks of an execution run on one thread of the host.
    static NOW: Cell<i64> = const { Cell::new(0) };
}

/// Begins a new execution.
pub(crate) fn reset() {
    NOW.set(0);
}

/// The time; never the same twice.
pub(crate) fn tick() -> Timespec {
    NOW.set(NOW.get().saturating_add(1));
    Timespec { sec: 1_000_000_000, nsec: NOW.get() }
}

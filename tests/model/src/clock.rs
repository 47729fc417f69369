//! The time of day. It is a number that every reading increments, so that it shows which of two
//! events came first.

use std::cell::Cell;

use ktrace_format::Timespec;

thread_local! {
    /// The last reading. All tasks of an execution run on one thread of the host.
    static NOW: Cell<i64> = const { Cell::new(0) };
}

/// Resets the clock for a new execution.
pub(crate) fn reset() {
    NOW.set(0);
}

/// Returns the time. No two readings are the same.
pub(crate) fn tick() -> Timespec {
    NOW.set(NOW.get().saturating_add(1));
    Timespec { sec: 1_000_000_000, nsec: NOW.get() }
}

//! Where the scheduler decides who goes on.

use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

use shuttle::sync::atomic::AtomicBool;

use crate::context;

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(true) };
}

/// Belongs to something that tasks share, and is come to before each use of it.
pub(crate) struct Point(AtomicBool);

impl Point {
    pub(crate) const fn new() -> Self {
        Point(AtomicBool::new(false))
    }

    /// Other tasks may run before the caller goes on.
    pub(crate) fn pass(&self) {
        self.0.load(Relaxed);
    }

    /// As [`Point::pass`], before something is counted; nobody else would see the difference
    /// under a queue mutex.
    pub(crate) fn pass_counting(&self) {
        if COUNTING.get() && !context::in_mutex() {
            self.pass();
        }
    }
}

/// Whether other tasks may run between what the engine does and its counting.
pub(crate) fn set_counting(counting: bool) {
    COUNTING.set(counting);
}

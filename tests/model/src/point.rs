//! Where the scheduler decides who goes on.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use shuttle::sync::atomic::AtomicBool;
use shuttle::sync::{Condvar, Mutex};

use crate::{context, task};

thread_local! {
    static ALL: Cell<bool> = const { Cell::new(true) };
}

/// Belongs to something that tasks share, and is come to before each use of it.
pub(crate) struct Point(AtomicBool);

impl Point {
    pub(crate) const fn new() -> Self {
        Point(AtomicBool::new(false))
    }

    /// Other tasks may run before the caller goes on.
    pub(crate) fn pass(&self) {
        switch(|| {
            self.0.load(Relaxed);
        });
    }

    /// As [`Point::pass`], before a mutex is taken. If another one is held, what others do here they could
    /// have done before that was taken.
    pub(crate) fn pass_locking(&self) {
        if ALL.get() || !context::in_mutex() {
            self.pass();
        }
    }

    /// As [`Point::pass`], before something is counted; nobody else would see the difference
    /// under the last mutex.
    pub(crate) fn pass_counting(&self) {
        if ALL.get() && !context::in_last_mutex() {
            self.pass();
        }
    }
}

/// Whether other tasks may also run where that makes little difference: between what the engine does and its
/// counting, and under a mutex.
pub(crate) fn set_all(all: bool) {
    ALL.set(all);
}

/// Tasks that wait for something that they share. Nobody comes here who need not wait, so that there are
/// not more schedules than it takes.
pub(crate) struct Waiters {
    waiting: AtomicUsize,
    mutex: Mutex<()>,
    changed: Condvar,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Waiters { waiting: AtomicUsize::new(0), mutex: Mutex::new(()), changed: Condvar::new() }
    }

    /// Waits until `attempt` returns something.
    pub(crate) fn wait_for<R>(&self, attempt: impl Fn() -> Option<R>) -> R {
        let mut result = attempt();
        if result.is_none() {
            switch(|| {
                self.waiting.fetch_add(1, Relaxed);
                let mut guard = self.mutex.lock().expect("nobody panics here");
                loop {
                    result = attempt();
                    if result.is_some() {
                        break;
                    }
                    guard = self.changed.wait(guard).expect("nobody panics here");
                }
                self.waiting.fetch_sub(1, Relaxed);
            });
        }
        result.expect("it was waited for")
    }

    /// Has all who wait make another attempt.
    pub(crate) fn wake(&self) {
        if self.waiting.load(Relaxed) != 0 {
            switch(|| {
                drop(self.mutex.lock().expect("nobody panics here"));
                self.changed.notify_all();
            });
        }
    }
}

/// Runs what lets other tasks run.
fn switch(work: impl FnOnce()) {
    task::set_aside(|| context::without_mutex(work));
}

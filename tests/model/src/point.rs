//! The points at which the scheduler selects the next task.

use std::cell::Cell;
use std::ffi::CStr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use shuttle::sync::atomic::AtomicBool;
use shuttle::sync::{Condvar, Mutex};

use crate::{context, task};

thread_local! {
    static ALL: Cell<bool> = const { Cell::new(true) };
}

/// A point of an object that tasks share. It is passed before each use of the object.
pub(crate) struct Point(AtomicBool);

impl Point {
    pub(crate) const fn new() -> Self {
        Point(AtomicBool::new(false))
    }

    /// Lets other tasks run before the caller continues.
    pub(crate) fn pass(&self) {
        switch(|| {
            self.0.load(Relaxed);
        });
    }

    /// Passes the point before a mutex is taken. If another mutex is held, the work of other tasks
    /// here could have happened before the held mutex was taken. The order in which tasks take the
    /// mutexes of memory makes no difference to a record.
    pub(crate) fn pass_locking(&self, name: &CStr) {
        if ALL.get() || !context::in_mutex() && !context::is_of_memory(name) {
            self.pass();
        }
    }

    /// Passes the point before a counter changes. Under the last mutex, no other task would see the
    /// difference.
    pub(crate) fn pass_counting(&self) {
        if ALL.get() && !context::in_last_mutex() {
            self.pass();
        }
    }
}

/// Sets whether other tasks may also run where it makes little difference: under a mutex, and
/// between an operation of the engine and its counting.
pub(crate) fn set_all(all: bool) {
    ALL.set(all);
}

/// Tasks that wait for a shared object. Only tasks that must wait come here, to limit the number of
/// schedules.
pub(crate) struct Waiters {
    waiting: AtomicUsize,
    mutex: Mutex<()>,
    changed: Condvar,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Waiters { waiting: AtomicUsize::new(0), mutex: Mutex::new(()), changed: Condvar::new() }
    }

    /// Waits until `attempt` returns a value.
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

    /// Makes all waiting tasks try again.
    pub(crate) fn wake(&self) {
        if self.waiting.load(Relaxed) != 0 {
            switch(|| {
                drop(self.mutex.lock().expect("nobody panics here"));
                self.changed.notify_all();
            });
        }
    }
}

/// Runs `work`, which lets other tasks run.
fn switch(work: impl FnOnce()) {
    task::set_aside(|| context::without_mutex(work));
}

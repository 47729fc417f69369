//! The doubles with the tasks of the scheduler as threads, and the points at which it selects the
//! next one.

use std::cell::Cell;
use std::ffi::CStr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ktrace_doubles::{Note, Point, Threads, thread};
use shuttle::sync::atomic::AtomicBool;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread::ThreadId;

use crate::seen;

/// A file of a scenario.
pub type Disk = ktrace_doubles::Disk<Tasks>;
pub(crate) type Engine = ktrace_doubles::Engine<Tasks>;
pub(crate) type Failures = ktrace_doubles::Failures<Tasks>;
pub(crate) type File = ktrace_doubles::File<Tasks>;
pub(crate) type OpenFile = ktrace_doubles::OpenFile<Tasks>;
pub(crate) type Trace = ktrace_doubles::Trace<Tasks>;

/// The mutexes of the memory that traces share. The order in which tasks take them makes no
/// difference to a record.
const MEMORY: [&CStr; 4] = [c"ktrace_rs open", c"ktrace_rs pools", c"ktrace_rs pool", c"ktrace_rs buffered"];

thread_local! {
    static ALL: Cell<bool> = const { Cell::new(true) };
}

/// Sets whether other tasks may also run where it makes little difference: under a mutex, and
/// between an operation of the engine and its counting.
pub(crate) fn set_all(all: bool) {
    ALL.set(all);
}

/// The tasks of a schedule.
pub struct Tasks;

impl Threads for Tasks {
    type Waiters = Waiters;
    type Id = ThreadId;

    fn current() -> ThreadId {
        shuttle::thread::current().id()
    }

    fn pass(point: Point) {
        let passes = match point {
            // What other tasks do while a mutex is held could have happened before it was taken.
            Point::Mutex(name) => ALL.get() || thread::mutex().is_none() && !MEMORY.contains(&name),
            // Under any other mutex than that of a queue, no other task would see the difference.
            Point::Counter => ALL.get() && thread::mutex().is_none_or(|held| held == thread::QUEUE),
            Point::CommitLock | Point::Disk => true,
        };
        if passes {
            switch(|| {
                AtomicBool::new(false).load(Relaxed);
            });
        }
    }

    fn note(note: Note) {
        seen::note(note);
    }
}

/// Tasks that wait for a shared object. Only tasks that must wait come here, to limit the number of
/// schedules.
#[derive(Default)]
pub struct Waiters {
    waiting: AtomicUsize,
    mutex: Mutex<()>,
    changed: Condvar,
}

impl ktrace_doubles::Waiters for Waiters {
    fn wait_for<R>(&self, attempt: impl Fn() -> Option<R>) -> R {
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

    fn wake(&self) {
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
    seen::set_aside(|| thread::as_another(work));
}

//! What the engine does on behalf of the running task, for the history.

use std::cell::Cell;

use ktrace_doubles::{Note, thread};
use ktrace_format::Timespec;

thread_local! {
    // The work of the running task. It is set aside while other tasks run. A task-local variable
    // would not do: its first use allocates, which a critical section may not.
    static WORK: Cell<Work> = const { Cell::new(Work::NONE) };
    /// The number of mutexes taken so far.
    static LAST: Cell<u64> = const { Cell::new(0) };
}

/// What is known of the running task.
#[derive(Clone, Copy)]
struct Work {
    /// The number of mutexes that it holds.
    depth: u32,
    /// The critical section that it is in, nested ones included.
    section: Seen,
    /// What [`watch`] returns.
    seen: Seen,
}

impl Work {
    const NONE: Work = Work { depth: 0, section: Seen::NONE, seen: Seen::NONE };
}

/// What the engine has done since [`watch`] began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The place of the last critical section of a queue mutex in the order of all of them.
    pub(crate) order: u64,
    /// The reading of the clock there.
    pub(crate) reading: Timespec,
    /// Whether a record was counted as pending under a queue mutex.
    pub(crate) pending: bool,
    /// Whether a record was dropped.
    pub(crate) dropped: bool,
}

impl Seen {
    const NONE: Seen =
        Seen { order: 0, reading: Timespec { sec: 0, nsec: 0 }, pending: false, dropped: false };
}

/// Forgets what a task of another schedule was doing when it ended.
pub(crate) fn reset() {
    WORK.set(Work::NONE);
}

/// Runs `work`. Also returns what the engine has done in it.
pub(crate) fn watch<R>(work: impl FnOnce() -> R) -> (R, Seen) {
    WORK.set(Work::NONE);
    let result = work();
    (result, WORK.replace(Work::NONE).seen)
}

/// Lets other tasks run, with this task's work set aside.
pub(crate) fn set_aside(switch: impl FnOnce()) {
    let mine = WORK.replace(Work::NONE);
    switch();
    WORK.set(mine);
}

/// Notes what the engine does. A record is made under a queue mutex, perhaps with another one under
/// that.
pub(crate) fn note(note: Note) {
    let mut work = WORK.get();
    match note {
        Note::Locked => {
            if work.depth == 0 {
                LAST.set(LAST.get() + 1);
                work.section = Seen { order: LAST.get(), ..Seen::NONE };
            }
            work.depth += 1;
        }
        Note::Unlocking(name) => {
            work.depth -= 1;
            if work.depth == 0 && name == thread::QUEUE {
                let (before, Seen { order, reading, pending, .. }) = (work.seen, work.section);
                work.seen = Seen { order, reading, pending: before.pending || pending, ..before };
            }
        }
        Note::Read(now) => work.section.reading = now,
        Note::Counted(n) => work.section.pending |= n > 0 && work.depth != 0,
        Note::Dropped(_) => work.seen.dropped = true,
    }
    WORK.set(work);
}

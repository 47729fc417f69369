//! What the helper does: it writes for processes that do not get to writing, and files that other
//! threads have left.
//!
//! A write may hang, and another helper then takes over. So during a write no other file or process
//! is out of its list.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use crate::list::{Entry, Rounds};
use crate::{Counter, Engine, Failures, Mutex, Platform, ProcTrace, TraceFile};

/// The files left to the helper. A file may be in the list more than once.
pub(crate) type Left<P> = Rounds<Arc<TraceFile<P>>>;

/// The traces of processes whose records wait in a stream or queue. A trace is in the list at most
/// once.
pub(crate) type Waiting<P> = Rounds<Weak<ProcTrace<P>>>;

/// A trace's entry of the list [`Waiting`]. The trace has it while it is not in the list.
pub(crate) type Ticket<P> = Box<Entry<Weak<ProcTrace<P>>>>;

/// The files that have large buffers. A file is in the list at most once.
pub(crate) type Buffered<P> = Rounds<Weak<TraceFile<P>>>;

/// The state of the records that wait in a stream or queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Look {
    /// There are none.
    Nothing,
    /// Their process may be about to write them.
    Waiting,
    /// An earlier check has found them, or they need much of the queue's memory.
    Overdue,
}

impl<P: Platform> Engine<P> {
    /// Leaves a file to [`Engine::help_left`], which writes its stream and drops the reference. May
    /// sleep.
    pub fn leave(&self, file: Arc<TraceFile<P>>) {
        let entry = Entry::new(file);
        self.left.with(|left| left.push(entry));
    }

    /// Writes the files that other threads have left. Such a thread was interrupted by a signal,
    /// and is on its way to the signal's handler; or it has ended tracing. The calling thread must
    /// have no signals: records that it cannot write are dropped. May sleep; takes the locks of
    /// [`ProcTrace::flush`](crate::ProcTrace::flush).
    ///
    /// Does not wait, like [`ProcTrace::help`](crate::ProcTrace::help). A file that is in use stays
    /// in the list. So does a file for which `begin` returns `None`. The value that `begin` returns
    /// is dropped after the write.
    pub fn help_left<G>(
        &self,
        may_sleep: P::MaySleep,
        mut begin: impl FnMut(&P::Storage) -> Option<G>,
    ) -> Failures<P> {
        let mut failures = Vec::new();
        self.left.with(Rounds::begin);
        while let Some(entry) = self.left.with(Rounds::pop) {
            let writing = begin(entry.value.storage());
            if writing.is_some() && entry.value.help(may_sleep, &mut failures) {
                self.stats.helped.add(1);
            } else {
                self.left.with(|left| left.push(entry));
            }
        }
        failures
    }

    /// Removes all entries of a file that was [left](Engine::leave) and has been written. May
    /// sleep.
    pub fn take_left(&self, file: &Arc<TraceFile<P>>) {
        // The references are dropped with nothing locked.
        drop(self.left.with(|left| left.remove(|other| Arc::ptr_eq(other, file))));
    }

    /// Checks all processes whose records wait, and writes for those that are
    /// [overdue](ProcTrace::is_overdue). May sleep; takes the locks of [`ProcTrace::help`].
    ///
    /// `begin` is called with the file that a process is traced to, if it still is. If `begin`
    /// returns `None`, nothing is written for the process this time. Otherwise the value is dropped
    /// after the write, and `tell` is called with the failures.
    pub fn help_overdue<G>(
        &self,
        may_sleep: P::MaySleep,
        mut begin: impl FnMut(Option<&P::Storage>) -> Option<G>,
        mut tell: impl FnMut(Failures<P>),
    ) {
        let look = self.looks.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        self.waiting.with(Rounds::begin);
        while let Some(ticket) = self.waiting.with(Rounds::pop) {
            // A trace that is gone has taken its ticket out of the list, or does so now.
            let Some(trace) = ticket.value.upgrade() else { continue };
            let mut ticket = Some(ticket);
            let found = trace.look(look, &mut ticket);
            if let Some(ticket) = ticket {
                self.wait(ticket);
            }
            if found == Look::Nothing {
                continue;
            }
            let file = trace.file();
            if let Some(file) = &file {
                file.pool().refill(may_sleep);
            }
            if found != Look::Overdue {
                continue;
            }
            if let Some(writing) = begin(file.as_ref().map(|file| file.storage())) {
                let failures = trace.help(may_sleep);
                drop(writing);
                tell(failures);
            }
        }
    }

    /// Once a second, frees the large buffers of files to which nothing was added since the last
    /// time. May sleep; tries the commit lock of each file that has them, and takes under it the
    /// stream lock.
    pub fn free_idle(&self, may_sleep: P::MaySleep) {
        let now = P::now().sec;
        if self.freed.swap(now, Ordering::Relaxed) == now {
            return;
        }
        self.buffered.with(Rounds::begin);
        while let Some(entry) = self.buffered.with(Rounds::pop) {
            // A file that is gone has taken its entry out of the list, or does so now.
            let Some(file) = entry.value.upgrade() else { continue };
            if !file.free_if_idle(may_sleep) {
                self.buffered.with(|buffered| buffered.push(entry));
            }
        }
    }

    /// Adds a trace to the list of those whose records wait.
    #[cold]
    pub(crate) fn wait(&self, ticket: Ticket<P>) {
        self.waiting.with(|waiting| waiting.push(ticket));
    }
}

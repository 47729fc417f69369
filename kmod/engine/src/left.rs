//! Trace files left to the helper, by interrupted writers or by threads that end tracing.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::list::{Entry, List};
use crate::{Counter, Engine, Failures, Mutex, Platform, TraceFile};

/// The files left to the helper. A file may be in the list more than once.
pub(crate) type Left<P> = List<Arc<TraceFile<P>>>;

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
        let mut files = self.left.with(core::mem::take);
        while let Some(entry) = files.pop() {
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
}

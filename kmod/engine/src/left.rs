//! Trace files left to the helper, by interrupted writers or by threads that end tracing.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::{Counter, Engine, Failures, Mutex, Platform, TraceFile};

/// An entry of a list of trace files. A file may be in the list more than once.
pub(crate) struct Left<P: Platform> {
    file: Arc<TraceFile<P>>,
    next: Option<Box<Left<P>>>,
}

impl<P: Platform> Engine<P> {
    /// Leaves a file to [`Engine::help_left`], which writes its stream and drops the reference. May
    /// sleep.
    pub fn leave(&self, file: Arc<TraceFile<P>>) {
        self.push(Box::new(Left { file, next: None }));
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
        let mut left = self.left.with(Option::take);
        while let Some(mut first) = left {
            left = first.next.take();
            let writing = begin(first.file.storage());
            if writing.is_some() && first.file.help(may_sleep, &mut failures) {
                self.stats.helped.add(1);
            } else {
                self.push(first);
            }
        }
        failures
    }

    /// Removes all entries of a file that was [left](Engine::leave) and has been written. May
    /// sleep.
    pub fn take_left(&self, file: &Arc<TraceFile<P>>) {
        let mut found = None;
        self.left.with(|left| {
            let mut rest = left.take();
            while let Some(mut first) = rest {
                rest = first.next.take();
                let list = if Arc::ptr_eq(&first.file, file) { &mut found } else { &mut *left };
                first.next = list.take();
                *list = Some(first);
            }
        });
        // One by one: the default drop would recurse down the stack.
        while let Some(mut first) = found {
            found = first.next.take();
        }
    }

    /// Adds an entry, which is in no list, to the list.
    fn push(&self, mut first: Box<Left<P>>) {
        self.left.with(|left| {
            first.next = left.take();
            *left = Some(first);
        });
    }
}

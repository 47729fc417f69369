//! Trace files that the threads which made the records leave to the helper.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::{Counter, Engine, Failures, Mutex, Platform, TraceFile};

/// A list of files. Files may be in it more than once.
pub(crate) struct Left<P: Platform> {
    file: Arc<TraceFile<P>>,
    next: Option<Box<Left<P>>>,
}

impl<P: Platform> Engine<P> {
    /// Leaves a file to [`Engine::help_left`], which writes its stream, and drops the reference. May sleep.
    pub fn leave(&self, file: Arc<TraceFile<P>>) {
        self.push(Box::new(Left { file, next: None }));
    }

    /// Writes the files that were left, for threads that cannot: they were interrupted by a signal, and are on their way
    /// to it. The calling thread must have no signals: the records that it cannot write are dropped. May sleep; locks as
    /// [`ProcTrace::flush`](crate::ProcTrace::flush).
    ///
    /// Does not wait, as [`ProcTrace::help`](crate::ProcTrace::help): a file that is in use stays in the list, and so does
    /// one for which `begin` returns nothing. What it returns is dropped after the write.
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

    /// Takes a file off the list that was [left](Engine::leave) and is written. May sleep.
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
        // One after the other: the default would recurse down the stack.
        while let Some(mut first) = found {
            found = first.next.take();
        }
    }

    /// Adds a file, which is alone, to the list.
    fn push(&self, mut first: Box<Left<P>>) {
        self.left.with(|left| {
            first.next = left.take();
            *left = Some(first);
        });
    }
}

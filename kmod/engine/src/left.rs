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
    /// Does not wait, as [`ProcTrace::help`](crate::ProcTrace::help): a file that is in use stays in the list.
    pub fn help_left(&self, may_sleep: P::MaySleep) -> Failures<P> {
        let mut failures = Vec::new();
        let mut left = self.left.with(Option::take);
        while let Some(mut first) = left {
            left = first.next.take();
            if first.file.help(may_sleep, &mut failures) {
                self.stats.helped.add(1);
            } else {
                self.push(first);
            }
        }
        failures
    }

    /// Adds a file, which is alone, to the list.
    fn push(&self, mut first: Box<Left<P>>) {
        self.left.with(|left| {
            first.next = left.take();
            *left = Some(first);
        });
    }
}

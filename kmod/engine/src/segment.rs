//! The memory of queues: segments of fixed size, and stacks of them.
//!
//! Pushing to a stack and popping from it neither allocates nor frees. Both are therefore possible
//! where sleeping is not allowed.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;

use ktrace_format::{Record, Timespec};

use crate::{Platform, TraceFile};

/// Size of a segment in bytes. The largest record that is made where sleeping is not
/// allowed (`KTR_CAPFAIL`, 1104 bytes) fits.
pub const SEGMENT_LEN: usize = 4096;

/// Whole records, one after the other, that go to one file.
pub(crate) struct Segment<P: Platform> {
    bytes: Box<[u8]>,
    len: usize,
    file: Option<Arc<TraceFile<P>>>,
    /// Time at which the segment was opened.
    since: Timespec,
    below: Option<Box<Segment<P>>>,
}

impl<P: Platform> Segment<P> {
    /// Creates an empty segment. Allocates, and so may sleep.
    pub(crate) fn new(_: P::MaySleep) -> Box<Self> {
        let bytes = vec![0; SEGMENT_LEN].into_boxed_slice();
        Box::new(Segment { bytes, len: 0, file: None, since: Timespec::default(), below: None })
    }

    /// Sets the file that the records go to. The caller adds the first record next.
    pub(crate) fn open(&mut self, file: Arc<TraceFile<P>>, now: Timespec) {
        self.file = Some(file);
        self.since = now;
    }

    /// Returns the time at which the segment was opened for its first record.
    pub(crate) fn since(&self) -> Timespec {
        self.since
    }

    /// Returns the file that the records go to; `None` if the segment is empty.
    pub(crate) fn file(&self) -> Option<&Arc<TraceFile<P>>> {
        self.file.as_ref()
    }

    /// Returns whether the records go to `file`.
    pub(crate) fn is_for(&self, file: &Arc<TraceFile<P>>) -> bool {
        self.file.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, file))
    }

    /// Returns the records.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Adds a record. Returns false if there is no room for it, or if it goes to another file.
    pub(crate) fn push(&mut self, file: &Arc<TraceFile<P>>, record: &Record<'_>) -> bool {
        if !self.is_for(file) {
            return false;
        }
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        match record.encode(room) {
            Ok(len) => {
                self.len = self.len.saturating_add(len);
                true
            }
            Err(_) => false,
        }
    }

    /// Makes the segment empty again. Returns the reference to its file, to be dropped where
    /// sleeping is allowed.
    pub(crate) fn reset(&mut self) -> Option<Arc<TraceFile<P>>> {
        self.len = 0;
        self.file.take()
    }
}

/// A stack of segments.
pub(crate) struct Stack<P: Platform> {
    top: Option<Box<Segment<P>>>,
    len: usize,
}

impl<P: Platform> Stack<P> {
    pub(crate) const fn new() -> Self {
        Stack { top: None, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, mut segment: Box<Segment<P>>) {
        segment.below = self.top.take();
        self.top = Some(segment);
        self.len = self.len.saturating_add(1);
    }

    pub(crate) fn pop(&mut self) -> Option<Box<Segment<P>>> {
        let mut segment = self.top.take()?;
        self.top = segment.below.take();
        self.len = self.len.saturating_sub(1);
        Some(segment)
    }

    /// Returns the segments, from the top.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Segment<P>> {
        core::iter::successors(self.top.as_deref(), |segment| segment.below.as_deref())
    }

    /// Returns the same segments, the lowest on top.
    pub(crate) fn reversed(mut self) -> Self {
        let mut reversed = Stack::new();
        while let Some(segment) = self.pop() {
            reversed.push(segment);
        }
        reversed
    }
}

impl<P: Platform> Drop for Stack<P> {
    /// Frees the segments one by one: the default drop would recurse down the stack.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

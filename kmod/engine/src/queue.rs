//! The queue of a process: records made where sleeping is not allowed.

use alloc::boxed::Box;
use alloc::sync::Arc;

use ktrace_format::{Record, Timespec};

use crate::segment::{SEGMENT_LEN, Segment, Stack};
use crate::{Platform, TraceFile};

/// Segments that a queue has at the least, if its limit allows.
pub(crate) const SPARE_MIN: usize = 8;

/// Guarded by the queue lock of its process. Nothing here locks, allocates or frees.
///
/// # Invariants
///
/// Every segment in `full` and `last` has a file and at least one record; the segments
/// in `spare` have neither.
pub(crate) struct Queue<P: Platform> {
    /// The file that new records go to; none while the process is not traced.
    file: Option<Arc<TraceFile<P>>>,
    /// Records, the newest segment on top, all older than those in `last`.
    full: Stack<P>,
    /// The segment that records are added to.
    last: Option<Box<Segment<P>>>,
    spare: Stack<P>,
    /// Bytes in `full` and `last`.
    bytes: usize,
    /// Most segments that were in use at once.
    peak: usize,
    /// A record was dropped since the last one that got through.
    dropped: bool,
    /// What is queued was so when [`Queue::is_overdue`] was asked last.
    waited: bool,
}

/// A record that was queued.
pub(crate) struct Pushed {
    /// Its length in bytes.
    pub(crate) len: usize,
    /// It began another segment of a queue that is more than half full.
    pub(crate) crowded: bool,
}

/// Why a record was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// The process is not traced: nobody wants the record.
    NotTraced,
    /// There is no room for it.
    Full,
}

/// How a queue's spare memory compares to what it should be.
pub(crate) enum Balance<P: Platform> {
    /// It has what it should have.
    Even,
    /// So many segments are missing.
    Lacks(usize),
    /// One segment too many, to be freed.
    Surplus(#[expect(dead_code, reason = "dropped where that is allowed")] Box<Segment<P>>),
}

impl<P: Platform> Queue<P> {
    pub(crate) const fn new() -> Self {
        Queue {
            file: None,
            full: Stack::new(),
            last: None,
            spare: Stack::new(),
            bytes: 0,
            peak: 0,
            dropped: false,
            waited: false,
        }
    }

    pub(crate) fn file(&self) -> Option<&Arc<TraceFile<P>>> {
        self.file.as_ref()
    }

    /// Sends the records to come to another file, or nowhere. What is queued still goes to
    /// the old file, which is returned, to be dropped where sleeping is allowed.
    pub(crate) fn set_file(&mut self, file: Option<Arc<TraceFile<P>>>) -> Option<Arc<TraceFile<P>>> {
        self.dropped = false;
        core::mem::replace(&mut self.file, file)
    }

    /// Whether the next record that gets through is to say that others did not.
    pub(crate) fn take_drop_mark(&mut self) -> bool {
        core::mem::take(&mut self.dropped)
    }

    /// Has the next record that gets through say that others did not.
    pub(crate) fn mark_drop(&mut self) {
        self.dropped = true;
    }

    /// Adds a record with the time `now`.
    pub(crate) fn push(&mut self, mut record: Record<'_>, now: Timespec) -> Result<Pushed, NotQueued> {
        let Some(file) = &self.file else { return Err(NotQueued::NotTraced) };
        record.header.time = now;
        record.header.drop = self.dropped;
        let len = Record::encoded_len(&record.payload);
        let pushed = self.last.as_mut().is_some_and(|last| last.push(file, &record));
        if !pushed {
            let Some(mut segment) = self.spare.pop() else {
                self.dropped = true;
                return Err(NotQueued::Full);
            };
            segment.open(Arc::clone(file));
            if !segment.push(file, &record) {
                // Larger than a segment. The reference to the file is not the last one.
                segment.reset();
                self.spare.push(segment);
                self.dropped = true;
                return Err(NotQueued::Full);
            }
            if let Some(last) = self.last.replace(segment) {
                self.full.push(last);
            }
            self.peak = self.peak.max(self.full.len().saturating_add(1));
        }
        self.dropped = false;
        self.bytes = self.bytes.saturating_add(len);
        Ok(Pushed { len, crowded: !pushed && self.is_crowded() })
    }

    /// Whether more than half of the memory is in use.
    fn is_crowded(&self) -> bool {
        self.full.len().saturating_add(1) > self.spare.len()
    }

    /// Whether the queue is more than half full, or something in it was there at the last call,
    /// too.
    pub(crate) fn is_overdue(&mut self) -> bool {
        let pending = self.last.is_some();
        let waited = core::mem::replace(&mut self.waited, pending);
        pending && (waited || self.is_crowded())
    }

    /// The file that all records go to; none if they go to several, or there are none.
    pub(crate) fn only_file(&self) -> Option<&Arc<TraceFile<P>>> {
        let only = self.last.as_ref()?.file()?;
        let same = |segment: &Segment<P>| segment.file().is_some_and(|file| Arc::ptr_eq(file, only));
        self.full.iter().all(same).then_some(only)
    }

    /// Takes all records out, the oldest segment on top; and how many bytes they are.
    pub(crate) fn take(&mut self) -> (Stack<P>, usize) {
        let mut all = core::mem::replace(&mut self.full, Stack::new());
        if let Some(last) = self.last.take() {
            all.push(last);
        }
        self.waited = false;
        (all.reversed(), core::mem::take(&mut self.bytes))
    }

    /// Takes out the records that go to `file`, and returns how many bytes they are, too.
    pub(crate) fn take_for(&mut self, file: &Arc<TraceFile<P>>) -> (Stack<P>, usize) {
        let (mut all, bytes) = self.take();
        let (mut taken, mut taken_bytes) = (Stack::new(), 0_usize);
        while let Some(segment) = all.pop() {
            if segment.file().is_some_and(|of| Arc::ptr_eq(of, file)) {
                taken_bytes = taken_bytes.saturating_add(segment.bytes().len());
                taken.push(segment);
            } else if let Some(last) = self.last.replace(segment) {
                self.full.push(last);
            }
        }
        self.bytes = bytes.saturating_sub(taken_bytes);
        (taken, taken_bytes)
    }

    /// Takes segments back that were taken out, empty.
    pub(crate) fn give_back(&mut self, empty: &mut Stack<P>) {
        while let Some(segment) = empty.pop() {
            self.spare.push(segment);
        }
    }

    /// Bytes that are queued.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves memory from `fresh` to the queue until it has `room` bytes, or twice what was ever
    /// queued if that is more, within `limit` bytes.
    pub(crate) fn balance(&mut self, fresh: &mut Stack<P>, room: usize, limit: usize) -> Balance<P> {
        let wanted = self.wanted(room, limit);
        let lacks = wanted.saturating_sub(self.spare.len());
        if fresh.len() < lacks {
            // All or nothing: whoever queues meanwhile must not get more than the limit.
            return Balance::Lacks(lacks.saturating_sub(fresh.len()));
        }
        for segment in core::iter::from_fn(|| fresh.pop()).take(lacks) {
            self.spare.push(segment);
        }
        match self.spare.len() > wanted {
            true => self.spare.pop().map_or(Balance::Even, Balance::Surplus),
            false => Balance::Even,
        }
    }

    fn wanted(&self, room: usize, limit: usize) -> usize {
        let asked_for = room.div_ceil(SEGMENT_LEN);
        let for_bursts = self.peak.saturating_mul(2);
        let most = (limit / SEGMENT_LEN).max(1);
        asked_for.max(for_bursts).max(SPARE_MIN).min(most)
    }
}

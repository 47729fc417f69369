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
    /// Room and limit that the spare memory was last balanced for; none since it has changed.
    balanced_for: Option<(usize, usize)>,
    /// A record was dropped since the last one that got through.
    dropped: bool,
    /// When tracing to `file` began.
    began: Timespec,
    /// End of the stream of `file` when tracing to it began.
    joined: u64,
    /// What is queued was so when [`Queue::is_overdue`] was asked last.
    waited: bool,
    /// How often a drain was to write everything, whatever the policy is, and how often that is done.
    flush_wanted: u64,
    flush_done: u64,
    /// Bytes of records that got into a stream or were queued, and records that did not.
    made: u64,
    dropped_in_all: u64,
    /// Address of the file that tracing ended to because it could not be written, if nothing was
    /// traced to since.
    abandoned: Option<usize>,
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

/// What there was to do when a file could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned<T = ()> {
    /// The process was traced to it, and is not any more.
    Now(T),
    /// That was done before.
    Before,
    /// The process is traced to another file, or to this one since later, or somebody else has ended its tracing.
    Elsewhere,
}

/// How many bytes were dropped, and a file that is not traced to any more.
type Left<P> = (usize, Option<Arc<TraceFile<P>>>);

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
            balanced_for: None,
            dropped: false,
            began: Timespec { sec: 0, nsec: 0 },
            joined: 0,
            waited: false,
            flush_wanted: 0,
            flush_done: 0,
            made: 0,
            dropped_in_all: 0,
            abandoned: None,
        }
    }

    pub(crate) fn file(&self) -> Option<&Arc<TraceFile<P>>> {
        self.file.as_ref()
    }

    /// Sends the records to come to another file, whose stream ends at `joined`, or nowhere. What is
    /// queued still goes to the old file, which is returned, to be dropped where sleeping is allowed.
    pub(crate) fn set_file(
        &mut self,
        file: Option<Arc<TraceFile<P>>>,
        joined: u64,
    ) -> Option<Arc<TraceFile<P>>> {
        self.dropped = false;
        if file.is_some() {
            (self.began, self.joined) = (P::now(), joined);
            self.abandoned = None;
        }
        core::mem::replace(&mut self.file, file)
    }

    /// Ends tracing to a file of which a record before `end` in its stream could not be written, and
    /// drops what is queued for it. Returns how many bytes that was, and the reference to the file, to be
    /// dropped where sleeping is allowed.
    pub(crate) fn abandon(&mut self, file: &Arc<TraceFile<P>>, end: u64) -> Abandoned<Left<P>> {
        let address = Arc::as_ptr(file).addr();
        let current = self.file.as_ref().is_some_and(|current| Arc::ptr_eq(current, file));
        if current && self.joined < end {
            let (mut segments, bytes) = self.take_for(file);
            while let Some(mut segment) = segments.pop() {
                file.discard(segment.bytes());
                // Not the last reference: the caller has one.
                segment.reset();
                self.spare.push(segment);
            }
            let old = self.set_file(None, 0);
            self.abandoned = Some(address);
            return Abandoned::Now((bytes, old));
        }
        match self.abandoned == Some(address) {
            true => Abandoned::Before,
            false => Abandoned::Elsewhere,
        }
    }

    /// Has the next drain write everything, whatever the policy is.
    pub(crate) fn want_flush(&mut self) {
        self.flush_wanted = self.flush_wanted.saturating_add(1);
    }

    /// What a drain that begins now is to [confirm](Queue::flushed) when it has written everything;
    /// `None` if it need not. Another one that has begun need not be done yet.
    pub(crate) fn flush_wanted(&self) -> Option<u64> {
        (self.flush_done < self.flush_wanted).then_some(self.flush_wanted)
    }

    /// All was written that [`Queue::flush_wanted`] has asked for.
    pub(crate) fn flushed(&mut self, wanted: u64) {
        self.flush_done = self.flush_done.max(wanted);
    }

    /// Whether the next record that gets through is to say that others did not.
    pub(crate) fn has_drop_mark(&self) -> bool {
        self.dropped
    }

    /// A record has got through.
    pub(crate) fn clear_drop_mark(&mut self) {
        self.dropped = false;
    }

    /// Counts a record that does not get through, and has the next one that does say so.
    pub(crate) fn mark_drop(&mut self) {
        self.dropped = true;
        self.dropped_in_all = self.dropped_in_all.saturating_add(1);
    }

    /// Counts the bytes of a record that has got through.
    pub(crate) fn count_made(&mut self, len: usize) {
        self.made = self.made.saturating_add(len as u64);
    }

    /// Bytes of records that have got through, and how many records have not.
    pub(crate) fn made_and_dropped(&self) -> (u64, u64) {
        (self.made, self.dropped_in_all)
    }

    /// Returns whether the kernel may have noted a time for a record that comes now: none from before tracing to the file
    /// began.
    pub(crate) fn may_keep(&self, noted: Timespec) -> bool {
        noted >= self.began
    }

    /// Takes a `KTR_PROCCTOR` record for the beginning of tracing. Another thread may have made it, after the process's own
    /// has read the clock and gone to sleep.
    pub(crate) fn begin(&mut self, ctor: Timespec) {
        self.began = ctor;
    }

    /// Adds a record, which has its time, at the time `now`.
    pub(crate) fn push(&mut self, mut record: Record<'_>, now: Timespec) -> Result<Pushed, NotQueued> {
        let Some(file) = &self.file else { return Err(NotQueued::NotTraced) };
        record.header.drop = self.dropped;
        let len = Record::encoded_len(&record.payload);
        let pushed = self.last.as_mut().is_some_and(|last| last.push(file, &record));
        if !pushed {
            let Some(mut segment) = self.spare.pop() else {
                self.mark_drop();
                return Err(NotQueued::Full);
            };
            self.balanced_for = None;
            segment.open(Arc::clone(file), now);
            if !segment.push(file, &record) {
                // Larger than a segment. The reference to the file is not the last one.
                segment.reset();
                self.spare.push(segment);
                self.mark_drop();
                return Err(NotQueued::Full);
            }
            if let Some(last) = self.last.replace(segment) {
                self.full.push(last);
            }
            self.peak = self.peak.max(self.full.len().saturating_add(1));
        }
        self.dropped = false;
        self.count_made(len);
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

    /// Whether nothing is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The segments that hold records, from the newest on.
    fn in_use(&self) -> impl Iterator<Item = &Segment<P>> {
        self.last.as_deref().into_iter().chain(self.full.iter())
    }

    /// The file that the oldest records go to; none if there are no records.
    pub(crate) fn first_file(&self) -> Option<&Arc<TraceFile<P>>> {
        self.in_use().last()?.file()
    }

    /// When the oldest record was queued.
    pub(crate) fn since(&self) -> Option<Timespec> {
        Some(self.in_use().last()?.since())
    }

    /// How many segments hold records.
    fn segments(&self) -> usize {
        self.full.len().saturating_add(usize::from(self.last.is_some()))
    }

    /// How many files records go to, or more.
    pub(crate) fn files_max(&self) -> usize {
        let changes = self
            .in_use()
            .zip(self.in_use().skip(1))
            .filter(|(newer, older)| !newer.file().is_some_and(|file| older.is_for(file)));
        changes.count().saturating_add(usize::from(self.last.is_some()))
    }

    /// How many segments hold records for another file.
    fn segments_but(&self, file: &Arc<TraceFile<P>>) -> usize {
        self.in_use().filter(|segment| !segment.is_for(file)).count()
    }

    /// The file that all records go to, or would if there were any; none if they go to several.
    pub(crate) fn only_file(&self) -> Option<&Arc<TraceFile<P>>> {
        let Some(only) = self.first_file() else { return self.file() };
        (self.segments_but(only) == 0).then_some(only)
    }

    /// Takes all records out, the oldest segment on top; and how many bytes they are.
    pub(crate) fn take(&mut self) -> (Stack<P>, usize) {
        let mut all = core::mem::replace(&mut self.full, Stack::new());
        if let Some(last) = self.last.take() {
            all.push(last);
        }
        self.waited = false;
        self.balanced_for = None;
        (all.reversed(), core::mem::take(&mut self.bytes))
    }

    /// Takes out the records that go to `file`, the oldest segment on top; and how many bytes they are.
    pub(crate) fn take_for(&mut self, file: &Arc<TraceFile<P>>) -> (Stack<P>, usize) {
        let (mut all, bytes) = self.take();
        let (mut taken, mut taken_bytes) = (Stack::new(), 0_usize);
        while let Some(segment) = all.pop() {
            if segment.is_for(file) {
                taken_bytes = taken_bytes.saturating_add(segment.bytes().len());
                taken.push(segment);
            } else if let Some(last) = self.last.replace(segment) {
                self.full.push(last);
            }
        }
        self.bytes = bytes.saturating_sub(taken_bytes);
        (taken.reversed(), taken_bytes)
    }

    /// Bytes that are queued.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether [`Queue::balance`] has nothing to do for `room` and `limit`.
    pub(crate) fn is_balanced(&self, room: usize, limit: usize) -> bool {
        self.balanced_for == Some((room, limit))
    }

    /// Moves memory from `fresh` to the queue until it has `room` bytes, or twice what was ever
    /// queued if that is more, within `limit` bytes. What is queued for `taken` is about to be taken
    /// out.
    pub(crate) fn balance(
        &mut self,
        fresh: &mut Stack<P>,
        room: usize,
        limit: usize,
        taken: Option<&Arc<TraceFile<P>>>,
    ) -> Balance<P> {
        let kept = taken.map_or(self.segments(), |file| self.segments_but(file));
        let wanted = self.wanted(room, limit, kept);
        let lacks = wanted.saturating_sub(self.spare.len());
        if taken.is_some() && fresh.len() < lacks {
            // All or nothing: whoever queues meanwhile must not get more than the limit.
            return Balance::Lacks(lacks.saturating_sub(fresh.len()));
        }
        for segment in core::iter::from_fn(|| fresh.pop()).take(lacks) {
            self.spare.push(segment);
        }
        if self.spare.len() < wanted {
            // One after the other: several threads may be about to do this at once.
            return Balance::Lacks(1);
        }
        if self.spare.len() > wanted {
            return self.spare.pop().map_or(Balance::Even, Balance::Surplus);
        }
        if taken.is_none() {
            self.balanced_for = Some((room, limit));
        }
        Balance::Even
    }

    fn wanted(&self, room: usize, limit: usize, kept: usize) -> usize {
        let asked_for = room.div_ceil(SEGMENT_LEN);
        let for_bursts = self.peak.saturating_mul(2);
        let most = (limit / SEGMENT_LEN).max(1).saturating_sub(kept);
        asked_for.max(for_bursts).max(SPARE_MIN).min(most)
    }
}

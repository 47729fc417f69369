//! The queue of a process: records made where sleeping is not allowed.

use alloc::boxed::Box;
use alloc::sync::Arc;

use ktrace_format::{Record, Timespec};

use crate::help::{Look, Ticket};
use crate::segment::{SEGMENT_LEN, Segment, Stack};
use crate::{Platform, TraceFile};

/// Least number of segments of a queue, if its limit allows it.
pub(crate) const SPARE_MIN: usize = 8;

/// The queue of a process. Protected by its queue lock. Nothing here locks, allocates or frees.
///
/// # Invariants
///
/// Every segment in `full` and `last` has a file and at least one record; the segments in `spare`
/// have neither.
pub(crate) struct Queue<P: Platform> {
    /// The file that new records go to; `None` while the process is not traced.
    file: Option<Arc<TraceFile<P>>>,
    /// Segments with records, the newest on top. All records are older than those in `last`.
    full: Stack<P>,
    /// The segment that records are added to.
    last: Option<Box<Segment<P>>>,
    spare: Stack<P>,
    /// Bytes in `full` and `last`.
    bytes: usize,
    /// Greatest number of segments that were in use at once.
    peak: usize,
    /// Room and limit for which the spare memory was last balanced; `None` if it has changed since.
    balanced_for: Option<(usize, usize)>,
    /// Drop mark: set if a record was dropped after the last accepted record.
    dropped: bool,
    /// Time at which tracing to `file` began.
    began: Timespec,
    /// End of the stream of `file` when tracing to it began.
    joined: u64,
    /// The trace's entry of the list of traces whose records wait, while it is not in that list.
    ticket: Option<Ticket<P>>,
    /// Room that was asked for at the last call of [`Queue::balance`].
    room: usize,
    /// Set if records were queued at the last call of [`Queue::look`]. Cleared when records
    /// are taken out.
    waited: bool,
    /// Number of requests for a drain that writes everything, whatever the policy is, and number of
    /// requests that are done.
    flush_wanted: u64,
    flush_done: u64,
    /// Bytes of accepted records (in the stream, the queue or a file), and number of dropped
    /// records.
    made: u64,
    dropped_in_all: u64,
    /// Address of the last file, if tracing ended because it could not be written. Cleared when
    /// tracing to a file begins.
    abandoned: Option<usize>,
}

/// A record that was added to a queue.
pub(crate) struct Pushed {
    /// Length of the record in bytes.
    pub(crate) len: usize,
    /// Set if the record began another segment of a queue that is more than half full.
    pub(crate) crowded: bool,
}

/// Reason for which a record was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// The process is not traced, and the record is not wanted.
    NotTraced,
    /// The queue has no room for the record.
    Full,
}

/// Result of ending the tracing to a file that could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned<T = ()> {
    /// The process was traced to the file, and no longer is.
    Now(T),
    /// An earlier call has ended the tracing.
    Before,
    /// The process is traced to another file, or has begun to trace to this one later, or another
    /// thread has ended its tracing.
    Elsewhere,
}

/// Number of bytes dropped, and the file that is no longer traced to.
type Left<P> = (usize, Option<Arc<TraceFile<P>>>);

/// Spare memory of a queue, compared to its target.
pub(crate) enum Balance<P: Platform> {
    /// The target is met.
    Even,
    /// This number of segments is missing.
    Lacks(usize),
    /// One segment too many, to be freed.
    Surplus(#[expect(dead_code, reason = "dropped where that is allowed")] Box<Segment<P>>),
}

impl<P: Platform> Queue<P> {
    pub(crate) const fn new(ticket: Ticket<P>) -> Self {
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
            ticket: Some(ticket),
            room: 0,
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

    /// Sends further records to another file, whose stream ends at `joined`, or to none. Records
    /// that are queued still go to the old file. Returns the reference to the old file, to be
    /// dropped where sleeping is allowed.
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

    /// Ends tracing to a file of which a record before `end` in its stream could not be written.
    /// Drops the records queued for it. Returns the number of bytes dropped, and the reference to
    /// the file, to be dropped where sleeping is allowed.
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

    /// Makes the next drain write everything, whatever the policy is.
    pub(crate) fn want_flush(&mut self) {
        self.flush_wanted = self.flush_wanted.saturating_add(1);
    }

    /// Returns the request that a drain which begins now has to [confirm](Queue::flushed) after it
    /// has written everything; `None` if there is none. An earlier drain may still be running.
    pub(crate) fn flush_wanted(&self) -> Option<u64> {
        (self.flush_done < self.flush_wanted).then_some(self.flush_wanted)
    }

    /// Confirms that everything requested by [`Queue::flush_wanted`] was written.
    pub(crate) fn flushed(&mut self, wanted: u64) {
        self.flush_done = self.flush_done.max(wanted);
    }

    /// Returns whether the next accepted record has to carry `KTR_DROP`.
    pub(crate) fn has_drop_mark(&self) -> bool {
        self.dropped
    }

    /// Clears the drop mark, after a record was accepted.
    pub(crate) fn clear_drop_mark(&mut self) {
        self.dropped = false;
    }

    /// Counts a dropped record, and sets the drop mark for the next accepted record.
    pub(crate) fn mark_drop(&mut self) {
        self.dropped = true;
        self.dropped_in_all = self.dropped_in_all.saturating_add(1);
    }

    /// Counts the bytes of an accepted record.
    pub(crate) fn count_made(&mut self, len: usize) {
        self.made = self.made.saturating_add(len as u64);
    }

    /// Returns the bytes of accepted records, and the number of dropped records.
    pub(crate) fn made_and_dropped(&self) -> (u64, u64) {
        (self.made, self.dropped_in_all)
    }

    /// Returns whether a record made now may have the time `noted`, which the kernel has noted for
    /// it. It may not if tracing to the file began later.
    pub(crate) fn may_keep(&self, noted: Timespec) -> bool {
        noted >= self.began
    }

    /// Takes the time of a `KTR_PROCCTOR` record as the beginning of tracing. Another thread may
    /// have made that record, after the process's own thread had read the clock and gone to sleep.
    pub(crate) fn begin(&mut self, ctor: Timespec) {
        self.began = ctor;
    }

    /// Adds a record, which already has its time. `now` is the current time.
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

    /// Returns whether more than half of the memory is in use.
    fn is_crowded(&self) -> bool {
        self.full.len().saturating_add(1) > self.spare.len()
    }

    /// Checks the queued records. They are overdue if the last call has found records, or if the
    /// queue is more than half full.
    pub(crate) fn look(&mut self) -> Look {
        let is_empty = self.is_empty();
        let waited = core::mem::replace(&mut self.waited, !is_empty);
        match is_empty {
            true => Look::Nothing,
            false if waited || self.is_crowded() => Look::Overdue,
            false => Look::Waiting,
        }
    }

    /// Returns the ticket, if records begin to wait.
    #[inline(always)]
    pub(crate) fn take_ticket(&mut self) -> Option<Ticket<P>> {
        self.ticket.take()
    }

    /// Returns whether the trace has its ticket, and so is not in the list of those whose records
    /// wait.
    pub(crate) fn has_ticket(&self) -> bool {
        self.ticket.is_some()
    }

    /// Returns the ticket to the trace: no records wait.
    pub(crate) fn return_ticket(&mut self, ticket: &mut Option<Ticket<P>>) {
        self.ticket = ticket.take();
    }

    /// Returns the room that was asked for last.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Returns whether the queue holds no records.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Returns the segments that hold records, the newest first.
    fn in_use(&self) -> impl Iterator<Item = &Segment<P>> {
        self.last.as_deref().into_iter().chain(self.full.iter())
    }

    /// Returns the file that the oldest records go to; `None` if there are no records.
    pub(crate) fn first_file(&self) -> Option<&Arc<TraceFile<P>>> {
        self.in_use().last()?.file()
    }

    /// Returns the time at which the oldest record was queued.
    pub(crate) fn since(&self) -> Option<Timespec> {
        Some(self.in_use().last()?.since())
    }

    /// Returns the number of segments that hold records.
    fn segments(&self) -> usize {
        self.full.len().saturating_add(usize::from(self.last.is_some()))
    }

    /// Returns an upper bound for the number of files that queued records go to.
    pub(crate) fn files_max(&self) -> usize {
        let changes = self
            .in_use()
            .zip(self.in_use().skip(1))
            .filter(|(newer, older)| !newer.file().is_some_and(|file| older.is_for(file)));
        changes.count().saturating_add(usize::from(self.last.is_some()))
    }

    /// Returns the number of segments that hold records for other files than `file`.
    fn segments_but(&self, file: &Arc<TraceFile<P>>) -> usize {
        self.in_use().filter(|segment| !segment.is_for(file)).count()
    }

    /// Returns the file that all queued records go to, or the current file if there are no records.
    /// Returns `None` if records go to several files.
    pub(crate) fn only_file(&self) -> Option<&Arc<TraceFile<P>>> {
        let Some(only) = self.first_file() else { return self.file() };
        (self.segments_but(only) == 0).then_some(only)
    }

    /// Takes out all records. Returns their segments, the oldest on top, and their bytes.
    pub(crate) fn take(&mut self) -> (Stack<P>, usize) {
        let mut all = core::mem::replace(&mut self.full, Stack::new());
        if let Some(last) = self.last.take() {
            all.push(last);
        }
        self.waited = false;
        self.balanced_for = None;
        (all.reversed(), core::mem::take(&mut self.bytes))
    }

    /// Takes out the records that go to `file`. Returns their segments, the oldest on top, and
    /// their bytes.
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

    /// Returns the number of bytes in the queue.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether [`Queue::balance`] has nothing to do for `room` and `limit`.
    pub(crate) fn is_balanced(&self, room: usize, limit: usize) -> bool {
        self.balanced_for == Some((room, limit))
    }

    /// Moves memory from `fresh` to the queue until it has `room` bytes, or twice its highest use
    /// so far if that is more, within `limit` bytes. The records queued for `taken` are about to be
    /// taken out.
    pub(crate) fn balance(
        &mut self,
        fresh: &mut Stack<P>,
        room: usize,
        limit: usize,
        taken: Option<&Arc<TraceFile<P>>>,
    ) -> Balance<P> {
        self.room = room;
        let kept = taken.map_or(self.segments(), |file| self.segments_but(file));
        let wanted = self.wanted(room, limit, kept);
        let lacks = wanted.saturating_sub(self.spare.len());
        if taken.is_some() && fresh.len() < lacks {
            // All or nothing: records queued meanwhile must not exceed the limit.
            return Balance::Lacks(lacks.saturating_sub(fresh.len()));
        }
        for segment in core::iter::from_fn(|| fresh.pop()).take(lacks) {
            self.spare.push(segment);
        }
        if self.spare.len() < wanted {
            // One at a time: several threads may be about to do this at once.
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

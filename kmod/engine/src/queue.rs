//! The queue of a process: records made where sleeping is not allowed.

use alloc::boxed::Box;
use alloc::sync::Arc;

use ktrace_format::{Record, Timespec};

use crate::help::{Look, Ticket};
use crate::list::{Entry, List};
use crate::pool::{SEGMENT_LEN, Segment, Segments};
use crate::{Platform, TraceFile};

/// Segments that each queue has of its own.
pub(crate) const OWN: usize = 2;

/// Segments with records at which the queue of a process needs help, if its limit is higher.
const CROWDED: usize = 5;

/// The queue of a process. Protected by its queue lock. Nothing here allocates or frees.
///
/// # Invariants
///
/// Every segment in `full` and `last` has a file and at least one record; the segments in `own`
/// have neither.
pub(crate) struct Queue<P: Platform> {
    /// The file that new records go to; `None` while the process is not traced.
    file: Option<Arc<TraceFile<P>>>,
    /// Segments with records, the newest first. All records are older than those in `last`.
    full: Segments<P>,
    /// The segment that records are added to.
    last: Option<Box<Entry<Segment<P>>>>,
    /// Empty segments that no other process can take.
    own: Segments<P>,
    /// Bytes in `full` and `last`.
    bytes: usize,
    /// Drop mark: set if a record was dropped after the last accepted record.
    dropped: bool,
    /// Time at which tracing to `file` began.
    began: Timespec,
    /// End of the stream of `file` when tracing to it began.
    joined: u64,
    /// The trace's entry of the list of traces whose records wait, while it is not in that list.
    ticket: Option<Ticket<P>>,
    /// Set if records were queued at the last call of [`Queue::look`]. Cleared when records
    /// are taken out.
    waited: bool,
    /// Number of requests for a drain that writes everything, whatever the policy is, and number of
    /// requests that are done.
    flush_wanted: u64,
    flush_done: u64,
    /// Bytes of accepted records (in the stream, the queue or a file), and number of dropped
    /// records, since tracing began.
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
    /// Set if the record began another segment, and the queue is crowded or the pool of its user
    /// runs low.
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

impl<P: Platform> Queue<P> {
    pub(crate) const fn new(ticket: Ticket<P>) -> Self {
        Queue {
            file: None,
            full: List::new(),
            last: None,
            own: List::new(),
            bytes: 0,
            dropped: false,
            began: Timespec { sec: 0, nsec: 0 },
            joined: 0,
            ticket: Some(ticket),
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
        if self.file.is_none() && file.is_some() {
            (self.made, self.dropped_in_all) = (0, 0);
        }
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
                file.discard(segment.value.bytes());
                // Not the last reference: the caller has one.
                segment.value.reset();
                self.own.push(segment);
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

    /// Adds a record, which already has its time. `now` is the current time, and `limit` that of
    /// the queue in bytes. May take the pool lock.
    pub(crate) fn push(
        &mut self,
        mut record: Record<'_>,
        now: Timespec,
        limit: usize,
    ) -> Result<Pushed, NotQueued> {
        let Some(file) = &self.file else { return Err(NotQueued::NotTraced) };
        record.header.drop = self.dropped;
        let len = Record::encoded_len(&record.payload);
        let mut crowded = false;
        if !self.last.as_mut().is_some_and(|last| last.value.push(file, &record)) {
            let segment = if self.segments() >= segments_of(limit) || len > SEGMENT_LEN {
                None
            } else if let Some(own) = self.own.pop() {
                Some(own)
            } else {
                let (taken, low) = file.pool().take();
                crowded = low;
                taken
            };
            let Some(mut segment) = segment else {
                self.mark_drop();
                return Err(NotQueued::Full);
            };
            segment.value.open(Arc::clone(file), now);
            segment.value.push(file, &record);
            if let Some(last) = self.last.replace(segment) {
                self.full.push(last);
            }
            crowded |= self.is_crowded(limit);
        }
        self.dropped = false;
        self.count_made(len);
        self.bytes = self.bytes.saturating_add(len);
        Ok(Pushed { len, crowded })
    }

    /// Returns whether the queue holds more than other processes need to queue. `limit` is that of
    /// the queue in bytes.
    fn is_crowded(&self, limit: usize) -> bool {
        self.segments() >= CROWDED.min(segments_of(limit).div_ceil(2))
    }

    /// Checks the queued records. They are overdue if the last call has found records, or if the
    /// queue is crowded. `limit` is that of the queue in bytes.
    pub(crate) fn look(&mut self, limit: usize) -> Look {
        let is_empty = self.is_empty();
        let waited = core::mem::replace(&mut self.waited, !is_empty);
        match is_empty {
            true => Look::Nothing,
            false if waited || self.is_crowded(limit) => Look::Overdue,
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

    /// Returns whether the queue holds no records.
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Returns the segments that hold records, the newest first.
    fn in_use(&self) -> impl Iterator<Item = &Segment<P>> {
        self.last.as_deref().map(|last| &last.value).into_iter().chain(self.full.iter())
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

    /// Takes out all records. Returns their segments, the oldest first, and their bytes.
    pub(crate) fn take(&mut self) -> (Segments<P>, usize) {
        let mut all = core::mem::take(&mut self.full);
        if let Some(last) = self.last.take() {
            all.push(last);
        }
        self.waited = false;
        (all.reversed(), core::mem::take(&mut self.bytes))
    }

    /// Takes out the records that go to `file`. Returns their segments, the oldest first, and
    /// their bytes.
    pub(crate) fn take_for(&mut self, file: &Arc<TraceFile<P>>) -> (Segments<P>, usize) {
        let (mut all, bytes) = self.take();
        let (mut taken, mut taken_bytes) = (List::new(), 0_usize);
        while let Some(segment) = all.pop() {
            if segment.value.is_for(file) {
                taken_bytes = taken_bytes.saturating_add(segment.value.bytes().len());
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

    /// Returns the number of segments that the queue should have of its own.
    #[inline(always)]
    fn wanted(&self) -> usize {
        if self.file.is_some() { OWN } else { 0 }
    }

    /// Returns how many of these it lacks.
    #[inline(always)]
    pub(crate) fn lacks(&self) -> usize {
        self.wanted().saturating_sub(self.own.len())
    }

    /// Adds segments to those of the queue's own.
    pub(crate) fn restock(&mut self, mut supply: Segments<P>) {
        self.own.take_from(&mut supply, usize::MAX);
    }

    /// Returns whether the queue has too many segments of its own.
    pub(crate) fn has_surplus(&self) -> bool {
        self.own.len() > self.wanted()
    }

    /// Takes out the queue's own segments that are too many, or that are charged to another user
    /// than the one whose file is traced to. The caller frees them.
    pub(crate) fn take_surplus(&mut self) -> Segments<P> {
        let file = self.file.as_ref();
        let mut surplus = self.own.remove(|segment| !file.is_some_and(|file| file.pool().owns(segment)));
        while self.has_surplus() {
            let Some(segment) = self.own.pop() else { break };
            surplus.push(segment);
        }
        surplus
    }
}

/// Returns the number of segments of a queue with a limit of so many bytes.
fn segments_of(limit: usize) -> usize {
    (limit / SEGMENT_LEN).max(1)
}

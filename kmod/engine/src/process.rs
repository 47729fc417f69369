//! The trace of one process.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ktrace_format::{HEADER_LEN, Header, Kind, MAXCOMLEN, Payload, Record, Timespec, encode_header};

use crate::file::{Leave, Unwritten, WriteFailed, Writer};
use crate::queue::{Abandoned, Balance, NotQueued, Queue};
use crate::segment::{SEGMENT_LEN, Segment, Stack};
use crate::stream::Put;
use crate::{Counter, Engine, Event, Failures, Mutex, Platform, Policy, TraceFile};

/// Segments that a file keeps to be used again.
const FREE_MAX: usize = 8;

/// Who made a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Process.
    pub pid: i32,
    /// Thread.
    pub tid: i64,
    /// Name of the thread, ended by a NUL.
    pub comm: [u8; MAXCOMLEN + 1],
}

/// What is to follow when a record was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing: the process is not traced, or the record may wait.
    Nothing,
    /// The process is to be [drained](ProcTrace::drain) before it returns to user mode.
    Drain,
    /// As [`Pending::Drain`]; and as it may have no room left before, another thread should see
    /// whether it is overdue.
    Help,
}

/// A record that is made where sleeping is allowed.
pub struct Synchronous<'a> {
    pub(crate) kind: Kind,
    /// Length in bytes.
    pub(crate) len: usize,
    /// The time that the kernel has noted for it; none where that is when it is made.
    noted: Option<Timespec>,
    body: Body<'a>,
}

enum Body<'a> {
    /// To be encoded.
    Payload(&'a Payload<'a>),
    /// Room for the header, and the payload.
    Encoded(&'a mut [u8]),
}

/// The trace of one process: its file, and its queue.
///
/// Its records go into the stream of its file. Where that has no room, one that is made where
/// sleeping is not allowed is queued here, and until the queue is written no other record
/// passes it.
///
/// It lives from the first ktrace(2) on the process until the process exits.
pub struct ProcTrace<P: Platform> {
    engine: Arc<Engine<P>>,
    /// Queue lock.
    queue: P::Mutex<Queue<P>>,
}

/// How far the trace of a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcProgress {
    /// Bytes that are queued.
    pub queued: usize,
    /// Bytes of records since the process was traced first, queued or in a stream or a file.
    pub made: u64,
    /// Records since then for which there was no room.
    pub dropped: u64,
}

/// A record that is to be committed.
struct New<'a> {
    header: Header,
    record: Synchronous<'a>,
    policy: Policy,
}

/// What is to follow when a record was to be committed.
enum Step<P: Platform> {
    /// Nothing: it is in the stream, or written, or nobody wants it.
    Done,
    /// It is in the stream, and that is to be written to the end that it had then.
    Write(Arc<TraceFile<P>>, u64),
    /// It is in the stream, and has made a batch full.
    Due(Arc<TraceFile<P>>),
    /// What is before it in the file has to be written first.
    Behind(Arc<TraceFile<P>>),
    /// It cannot be a record.
    Unfit,
}

impl<P: Platform> ProcTrace<P> {
    /// A trace that goes nowhere yet, with memory for its queue. May sleep.
    pub fn new(engine: Arc<Engine<P>>, may_sleep: P::MaySleep) -> Self {
        let trace = ProcTrace { engine, queue: P::Mutex::new(c"ktrace_rs queue", Queue::new()) };
        trace.with_room(may_sleep, 0, &mut Stack::new(), None, |_| ());
        trace
    }

    /// The file that is traced to. Takes the queue lock.
    ///
    /// The reference may become the last one, and must be dropped where sleeping is allowed.
    pub fn file(&self) -> Option<Arc<TraceFile<P>>> {
        self.queue.with(|queue| queue.file().cloned())
    }

    /// Looks at the file that is traced to, under the queue lock, which `look` must not take.
    pub fn with_file<R>(&self, look: impl FnOnce(Option<&TraceFile<P>>) -> R) -> R {
        self.queue.with(|queue| look(queue.file().map(Arc::as_ref)))
    }

    /// Whether the process is traced to a file. Takes the queue lock.
    pub fn is_traced(&self) -> bool {
        self.with_file(|file| file.is_some())
    }

    /// Traces to another file from now on, or to none. Takes the queue lock, and under it the stream lock.
    ///
    /// Returns the old file. What is not written yet still goes there: whoever calls this has to
    /// call [`ProcTrace::flush`] with it, and drop it where sleeping is allowed.
    #[must_use = "the old file is to be flushed, and dropped where sleeping is allowed"]
    pub fn set_file(&self, file: Option<Arc<TraceFile<P>>>) -> Option<Arc<TraceFile<P>>> {
        let begins = file.is_some();
        self.queue.with(|queue| {
            let joined = file.as_ref().map_or(0, |file| file.end());
            let old = queue.set_file(file, joined);
            // Before a failed write can end tracing to the new file and count it off.
            self.engine.stats.procs.add(i64::from(begins).saturating_sub(i64::from(old.is_some())));
            old
        })
    }

    /// Adds a record that is made where sleeping is not allowed, and returns what is to follow.
    /// Takes the queue lock, and under it the stream lock.
    ///
    /// Where there is no room the record is counted as dropped, and the next one that gets
    /// through carries `KTR_DROP`. If the process is not traced nothing happens.
    ///
    /// `noted` is a time that the kernel has noted for the record: that of FreeBSD 15.1's
    /// `ktrcsw_out()`, which makes the record of a sleep after it. The record has it if it lies
    /// between the beginning of tracing to the file and now; otherwise, and without one, now.
    pub fn enqueue(&self, origin: &Origin, noted: Option<Timespec>, payload: &Payload<'_>) -> Pending {
        let mut record = Synchronous::payload(payload);
        let len = record.len;
        let mut header = header::<P>(origin, record.kind);
        P::watch(Event::Made { kind: header.kind, len, may_sleep: false });
        let (stats, at_once) = (&self.engine.stats, self.is_at_once(header.kind));
        let added = self.queue.with(|queue| {
            let Some(file) = queue.file() else { return Err(NotQueued::NotTraced) };
            record.noted = noted.filter(|noted| queue.may_keep(*noted));
            if queue.is_empty() {
                header.drop = queue.has_drop_mark();
                if let (Put::Done { due }, _) = file.put(&mut header, &mut record, false) {
                    queue.clear_drop_mark();
                    queue.count_made(len);
                    if header.kind == Kind::ProcCtor {
                        queue.begin(header.time);
                    }
                    if at_once {
                        queue.want_flush();
                    }
                    return Ok((due || at_once, None));
                }
            }
            let now = P::now();
            header.time = record.time(now);
            let pushed = queue.push(Record { header, payload: *payload }, now)?;
            if header.kind == Kind::ProcCtor {
                queue.begin(header.time);
            }
            if at_once {
                queue.want_flush();
            }
            // Before a drain can take the record and count it off.
            stats.queued.add(i64::try_from(pushed.len).unwrap_or(i64::MAX));
            Ok((true, Some((queue.bytes(), pushed.crowded))))
        });
        match added {
            Ok((due, None)) => match self.engine.settings.policy() {
                Policy::Batch if !due => Pending::Nothing,
                _ => Pending::Drain,
            },
            Ok((_, Some((bytes, crowded)))) => {
                P::watch(Event::Queued { kind: header.kind, len, queued: bytes });
                stats.note_queued(bytes);
                if crowded { Pending::Help } else { Pending::Drain }
            }
            Err(NotQueued::Full) => {
                stats.drop_one(header.kind);
                Pending::Help
            }
            Err(NotQueued::NotTraced) => Pending::Nothing,
        }
    }

    /// Adds a record that is made where sleeping is allowed, writes what the policy wants to be
    /// written, and returns what is to follow. May sleep; takes the queue lock, under it the stream lock; and as
    /// [`ProcTrace::flush`].
    ///
    /// `room` is how many bytes of records the process may make before it is drained again, as
    /// far as one can tell; they are set aside, within the limit of a queue.
    #[inline(always)]
    pub fn commit(
        &self,
        may_sleep: P::MaySleep,
        room: usize,
        origin: &Origin,
        record: Synchronous<'_>,
    ) -> (Pending, Failures<P>) {
        let Synchronous { kind, len, .. } = record;
        P::watch(Event::Made { kind, len, may_sleep: true });
        let policy = match (self.engine.settings.policy(), kind) {
            _ if self.is_at_once(kind) => Policy::Record,
            // The last one before the thread is back in user mode.
            (Policy::Return, Kind::Sysret) => Policy::Record,
            (policy, _) => policy,
        };
        let pending = if policy == Policy::Return { Pending::Drain } else { Pending::Nothing };
        let mut new = New { header: header::<P>(origin, kind), record, policy };
        let limit = self.engine.settings.queue_limit();
        // As a rule nothing is to be done but this.
        let put =
            self.queue.with(|queue| queue.is_balanced(room, limit).then(|| self.put_first(queue, &mut new)));
        match put {
            Some(Step::Done) => (pending, Vec::new()),
            put => (pending, self.commit_step(may_sleep, room, &mut new, put)),
        }
    }

    /// Does what is to follow when a record was to be added; it was not yet if `put` is nothing.
    #[cold]
    fn commit_step(
        &self,
        may_sleep: P::MaySleep,
        room: usize,
        new: &mut New<'_>,
        put: Option<Step<P>>,
    ) -> Failures<P> {
        let mut failures = Vec::new();
        let mut step = put.unwrap_or_else(|| {
            self.with_room(may_sleep, room, &mut Stack::new(), None, |queue| self.put(queue, new))
        });
        loop {
            step = match step {
                Step::Done => break,
                Step::Write(file, end) => {
                    file.flush_to(may_sleep, end, &mut failures);
                    break;
                }
                Step::Due(file) => {
                    // Where another thread writes, there is still room meanwhile.
                    file.try_with_writer(may_sleep, true, &mut failures, |leave, writer, failures| {
                        file.write_stream(may_sleep, leave, writer, failures);
                    });
                    break;
                }
                Step::Behind(file) => {
                    P::watch(Event::Full { file: file.storage() });
                    let step = self.commit_behind(may_sleep, room, new, &file, &mut failures);
                    P::watch(Event::Room { file: file.storage() });
                    step
                }
                Step::Unfit => {
                    self.drop_record(new.header.kind);
                    break;
                }
            };
        }
        failures
    }

    /// Writes what is to be written before the process returns to user mode: its queue, and what
    /// is in the stream of its file, unless the policy lets that wait. May sleep; locks as
    /// [`ProcTrace::flush`].
    pub fn drain(&self, may_sleep: P::MaySleep, room: usize) -> Failures<P> {
        let mut failures = Vec::new();
        let (queued, wanted, file) = self.with_room(may_sleep, room, &mut Stack::new(), None, |queue| {
            (!queue.is_empty(), queue.flush_wanted(), queue.file().cloned())
        });
        if queued {
            self.write_queue(may_sleep, room, &mut failures);
        }
        if let Some(file) = file
            && (wanted.is_some() || self.engine.settings.policy() != Policy::Batch || file.is_due())
        {
            file.flush_to(may_sleep, file.end(), &mut failures);
        }
        if let Some(wanted) = wanted {
            self.queue.with(|queue| queue.flushed(wanted));
        }
        failures
    }

    /// Writes the queue of the process, and all that is in the stream of `file`. May sleep; takes
    /// the commit lock of the file that is written, under it the queue lock and what the file system
    /// takes.
    pub fn flush(&self, may_sleep: P::MaySleep, room: usize, file: &Arc<TraceFile<P>>) -> Failures<P> {
        let mut failures = Vec::new();
        self.write_queue(may_sleep, room, &mut failures);
        file.flush_to(may_sleep, file.end(), &mut failures);
        failures
    }

    /// Ends the trace of a process that exits and is not traced any more: [flushes](ProcTrace::flush) the file that it
    /// was traced to, or [drains](ProcTrace::drain), and drops what a signal has kept it from writing if there is no room
    /// to keep that. May sleep; locks as [`ProcTrace::flush`].
    pub fn end(&self, may_sleep: P::MaySleep, file: Option<&Arc<TraceFile<P>>>) -> Failures<P> {
        let failures = match file {
            Some(file) => self.flush(may_sleep, 0, file),
            // The thread that ended tracing before may not have written all yet.
            None => self.drain(may_sleep, 0),
        };
        let (mut segments, bytes) = self.queue.with(Queue::take);
        while let Some(segment) = segments.pop() {
            if let Some(file) = segment.file() {
                file.discard(segment.bytes());
            }
        }
        self.engine.stats.count_off(bytes);
        failures
    }

    /// Writes queue and stream for a process that does not get to it. May sleep; locks as
    /// [`ProcTrace::flush`]. The calling thread must have no signals.
    ///
    /// Where the file system is suspended nothing happens: it may be the process that suspended it,
    /// and to go on it must not have to wait for this thread. Nor where another thread has the
    /// commit lock: it may wait for the disk, and others need help meanwhile. Nor where records go to
    /// several files: who set another one is about to write those for the first.
    pub fn help(&self, may_sleep: P::MaySleep, room: usize) -> Failures<P> {
        let mut failures = Vec::new();
        // The last reference may be this one: not to be dropped under a lock.
        let Some(file) = self.queue.with(|queue| queue.only_file().cloned()) else { return failures };
        file.try_with_writer(may_sleep, false, &mut failures, |leave, writer, failures| {
            let only =
                || self.queue.with(|queue| queue.only_file().is_some_and(|only| Arc::ptr_eq(only, &file)));
            if only() && self.write_to(may_sleep, room, &file, leave, writer, failures) {
                self.engine.stats.helped.add(1);
            }
        });
        failures
    }

    /// Whether another thread should [`help`](ProcTrace::help) the process, which does not get
    /// to writing: its queue is more than half full, or something of it or in the stream was there
    /// at an earlier look. Looks have numbers from one on.
    ///
    /// Tries the queue lock, and under it the stream lock: whoever has one makes a record right now, and
    /// gets to writing. To wait for a thread that makes one after the other might take for ever.
    pub fn is_overdue(&self, look: u32) -> bool {
        let overdue = self
            .queue
            .try_with(|queue| queue.is_overdue() | queue.file().is_some_and(|file| file.is_overdue(look)));
        overdue.unwrap_or(false)
    }

    /// Ends tracing to a file that could not be written, and drops what is queued for it. Takes the
    /// queue lock; neither sleeps nor frees.
    ///
    /// Nothing happens where the trace to that file began after the records were taken to be written:
    /// they are of another process that had the same number, or of an earlier trace.
    pub fn abandon(&self, failed: &WriteFailed<P>) -> Abandoned {
        let (bytes, old) = match self.queue.with(|queue| queue.abandon(&failed.file, failed.end)) {
            Abandoned::Now(left) => left,
            Abandoned::Before => return Abandoned::Before,
            Abandoned::Elsewhere => return Abandoned::Elsewhere,
        };
        self.engine.stats.procs.add(-1);
        self.engine.stats.count_off(bytes);
        // Not the last reference: the caller has one.
        drop(old);
        Abandoned::Now(())
    }

    /// Has the next drain write everything, whatever the policy is. Takes the queue lock.
    pub fn want_flush(&self) {
        self.queue.with(Queue::want_flush);
    }

    /// When the oldest record came in that is not written yet, of those that are queued and those in
    /// the stream. Takes the queue lock, and under it the stream lock.
    pub fn since(&self) -> Option<Timespec> {
        self.queue.with(|queue| {
            let gathered = queue.file().and_then(|file| file.since());
            queue.since().into_iter().chain(gathered).min()
        })
    }

    /// Bytes that are queued. Takes the queue lock.
    pub fn queued(&self) -> usize {
        self.queue.with(|queue| queue.bytes())
    }

    /// Returns how far the trace is, and what `look` says of the file that is traced to; `None` if the
    /// process is not traced. Takes the queue lock, which `look` must not take.
    ///
    /// The file is lent: a reference could become the last one, and closing the file waits for its disk.
    pub fn progress<R>(&self, look: impl FnOnce(&TraceFile<P>) -> R) -> Option<(ProcProgress, R)> {
        self.queue.with(|queue| {
            let (made, dropped) = queue.made_and_dropped();
            Some((ProcProgress { queued: queue.bytes(), made, dropped }, look(queue.file()?)))
        })
    }

    fn is_at_once(&self, kind: Kind) -> bool {
        self.engine.settings.at_once() & kind.facility() != 0
    }

    /// Sees to it that the queue has room for what comes before the next drain, and no more,
    /// and then runs `critical` under the queue lock, once, which takes out what is queued for
    /// `taken`. Uses memory of `fresh` before it allocates.
    fn with_room<R>(
        &self,
        may_sleep: P::MaySleep,
        room: usize,
        fresh: &mut Stack<P>,
        taken: Option<&Arc<TraceFile<P>>>,
        mut critical: impl FnMut(&mut Queue<P>) -> R,
    ) -> R {
        let limit = self.engine.settings.queue_limit();
        loop {
            let room = self.queue.with(|queue| match queue.balance(fresh, room, limit, taken) {
                Balance::Even => Ok(critical(queue)),
                uneven => Err(uneven),
            });
            match room {
                Ok(result) => return result,
                Err(Balance::Lacks(segments)) => {
                    for _ in 0..segments {
                        fresh.push(Segment::new(may_sleep));
                    }
                }
                Err(surplus) => drop(surplus),
            }
        }
    }

    /// Writes what is queued, whichever files it goes to; what is queued meanwhile may stay.
    fn write_queue(&self, may_sleep: P::MaySleep, room: usize, failures: &mut Failures<P>) {
        for _ in 0..self.queue.with(|queue| queue.files_max()) {
            let Some(file) = self.queue.with(|queue| queue.first_file().cloned()) else { return };
            let written = file.with_writer(may_sleep, failures, |leave, writer, failures| {
                self.write_to(may_sleep, room, &file, leave, writer, failures);
            });
            if written.is_none() {
                return;
            }
        }
    }

    /// Writes the stream of a file, and what is queued for it; false if there is neither.
    fn write_to(
        &self,
        may_sleep: P::MaySleep,
        room: usize,
        file: &Arc<TraceFile<P>>,
        leave: &Leave<P>,
        writer: &mut Writer<P>,
        failures: &mut Failures<P>,
    ) -> bool {
        let Writer { spare, free, .. } = writer;
        // At once: all that this process has in the stream is older than what it has queued.
        let (end, queued) = self.with_room(may_sleep, room, free, Some(file), |queue| {
            (file.take_stream(spare), queue.take_for(file))
        });
        let any = queued.1 != 0 || !spare.bytes().is_empty();
        file.write_taken(may_sleep, leave, writer, end, failures, |writer, failures| {
            self.write_queued(file, leave, writer, queued, failures);
        });
        any
    }

    /// Writes segments that were taken out of the queue, and how many bytes they are.
    fn write_queued(
        &self,
        file: &Arc<TraceFile<P>>,
        leave: &Leave<P>,
        writer: &mut Writer<P>,
        (mut segments, bytes): (Stack<P>, usize),
        failures: &mut Failures<P>,
    ) {
        while let Some(mut segment) = segments.pop() {
            file.write(leave, segment.bytes(), None, &mut writer.unwritten, failures);
            // Not the last reference: the caller has one.
            drop(segment.reset());
            if writer.free.len() < FREE_MAX {
                writer.free.push(segment);
            }
        }
        self.engine.stats.count_off(bytes);
    }

    /// Adds a record to the stream of the file that is traced to, unless something is queued. The
    /// queue is locked; takes the stream lock.
    #[inline(always)]
    fn put_first(&self, queue: &mut Queue<P>, new: &mut New<'_>) -> Step<P> {
        let Some(file) = queue.file() else { return Step::Done };
        if !queue.is_empty() {
            return Step::Behind(Arc::clone(file));
        }
        new.header.drop = queue.has_drop_mark();
        let step = match file.put(&mut new.header, &mut new.record, true) {
            (Put::Done { .. }, end) if new.policy == Policy::Record => Step::Write(Arc::clone(file), end),
            (Put::Done { due: true }, _) if new.policy == Policy::Batch => Step::Due(Arc::clone(file)),
            (Put::Done { .. }, _) => Step::Done,
            (Put::Full | Put::TooLong, _) => return Step::Behind(Arc::clone(file)),
            (Put::Unfit, _) => return Step::Unfit,
        };
        queue.clear_drop_mark();
        queue.count_made(new.record.len);
        step
    }

    /// As [`ProcTrace::put_first`], where that was not tried or not possible: out of the way of most records.
    #[cold]
    fn put(&self, queue: &mut Queue<P>, new: &mut New<'_>) -> Step<P> {
        self.put_first(queue, new)
    }

    /// Has a record added, or written, that is to be behind others in its file. Where another thread writes
    /// these there may be room for the record, and then it does not wait for that thread.
    fn commit_behind(
        &self,
        may_sleep: P::MaySleep,
        room: usize,
        new: &mut New<'_>,
        file: &Arc<TraceFile<P>>,
        failures: &mut Failures<P>,
    ) -> Step<P> {
        let tried = file.try_with_writer(may_sleep, true, failures, |leave, writer, failures| {
            self.write_before(may_sleep, room, new, file, leave, writer, failures)
        });
        match tried.unwrap_or_else(|| self.queue.with(|queue| self.put(queue, new))) {
            Step::Behind(current) if Arc::ptr_eq(&current, file) => {
                let written = file.with_writer(may_sleep, failures, |leave, writer, failures| {
                    self.write_before(may_sleep, room, new, file, leave, writer, failures)
                });
                written.unwrap_or_else(|| {
                    // Its thread has a signal to go to, and there is no room for it until the file is written.
                    self.drop_record(new.header.kind);
                    Step::Done
                })
            }
            step => step,
        }
    }

    /// Writes what is before a record in its file, and adds the record to the stream then, or
    /// writes it, too, if it is too long for that.
    #[expect(clippy::too_many_arguments, reason = "they are what the callers have at hand")]
    fn write_before(
        &self,
        may_sleep: P::MaySleep,
        room: usize,
        new: &mut New<'_>,
        file: &Arc<TraceFile<P>>,
        leave: &Leave<P>,
        writer: &mut Writer<P>,
        failures: &mut Failures<P>,
    ) -> Step<P> {
        let Writer { spare, free, .. } = writer;
        let (step, taken) = self.with_room(may_sleep, room, free, Some(file), |queue| {
            let step = self.put(queue, new);
            // Others may have made room meanwhile, or the record goes elsewhere by now.
            let behind = matches!(&step, Step::Behind(current) if Arc::ptr_eq(current, file));
            if !behind && queue.is_empty() {
                return (step, None);
            }
            let ((end, time), queued) = (file.take_stream_at(spare), queue.take_for(file));
            match if behind { self.put(queue, new) } else { step } {
                Step::Behind(_) if behind => {
                    let drop = queue.has_drop_mark();
                    queue.clear_drop_mark();
                    queue.count_made(new.record.len);
                    (Step::Done, Some((end, queued, Some((drop, time)))))
                }
                step => (step, Some((end, queued, None))),
            }
        });
        if let Some((end, queued, alone)) = taken {
            file.write_taken(may_sleep, leave, writer, end, failures, |writer, failures| {
                self.write_queued(file, leave, writer, queued, failures);
                if let Some((drop, time)) = alone {
                    (new.header.drop, new.header.time) = (drop, time);
                    self.write_alone(file, leave, new, &mut writer.unwritten, failures);
                }
            });
        }
        step
    }

    /// Writes a record that is in no stream.
    fn write_alone(
        &self,
        file: &Arc<TraceFile<P>>,
        leave: &Leave<P>,
        new: &mut New<'_>,
        unwritten: &mut Unwritten,
        failures: &mut Failures<P>,
    ) {
        let mut encoded = Vec::new();
        if let Body::Payload(_) = new.record.body {
            encoded.resize(new.record.len, 0);
        }
        match new.record.finished(&mut new.header, &mut encoded) {
            Some(bytes) => file.write(leave, bytes, None, unwritten, failures),
            None => self.drop_record(new.header.kind),
        }
    }

    /// Counts a record for which there is no room; the next one carries `KTR_DROP`.
    fn drop_record(&self, kind: Kind) {
        self.engine.stats.drop_one(kind);
        self.queue.with(|queue| queue.mark_drop());
    }
}

impl<P: Platform> Drop for ProcTrace<P> {
    /// The seed's rule: on tear-down nothing is pending.
    fn drop(&mut self) {
        debug_assert_eq!(self.queued(), 0, "records pending at process tear-down");
        debug_assert!(!self.is_traced(), "process traced at its tear-down");
    }
}

impl<'a> Synchronous<'a> {
    /// A record that is to be encoded.
    #[inline]
    pub fn payload(payload: &'a Payload<'a>) -> Self {
        let len = Record::encoded_len(payload);
        Synchronous { kind: payload.kind(), len, noted: None, body: Body::Payload(payload) }
    }

    /// A record that the caller has encoded, but for the header, for which the first 64 bytes are left.
    pub fn encoded(kind: Kind, record: &'a mut [u8]) -> Self {
        Synchronous { kind, len: record.len(), noted: None, body: Body::Encoded(record) }
    }

    /// Returns its type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the time of the record, which is made now.
    #[inline(always)]
    pub(crate) fn time(&self, now: Timespec) -> Timespec {
        match self.noted {
            Some(noted) if noted <= now => noted,
            _ => now,
        }
    }

    /// Writes the record to `out`, which is as long, and its length to `header`; `None` if the format has
    /// no room for that.
    #[inline(always)]
    pub(crate) fn encode(&mut self, header: &mut Header, out: &mut [u8]) -> Option<()> {
        header.len = u32::try_from(out.len().checked_sub(HEADER_LEN)?).ok()?;
        let body = match &self.body {
            Body::Payload(payload) => {
                return encode_header(header, out).ok().and(payload.encode(out.get_mut(HEADER_LEN..)?));
            }
            Body::Encoded(record) => record.get(HEADER_LEN..)?,
        };
        encode_header(header, out).ok()?;
        out.get_mut(HEADER_LEN..)?.copy_from_slice(body);
        Some(())
    }

    /// The record's bytes: its own, or `out`, which is as long as the record.
    fn finished<'b>(&'b mut self, header: &mut Header, out: &'b mut [u8]) -> Option<&'b [u8]> {
        let record = match &mut self.body {
            Body::Encoded(record) => record,
            Body::Payload(payload) => {
                payload.encode(out.get_mut(HEADER_LEN..)?)?;
                out
            }
        };
        header.len = u32::try_from(record.len().checked_sub(HEADER_LEN)?).ok()?;
        encode_header(header, record).ok()?;
        Some(record)
    }
}

/// A header that lacks its length, time and drop mark.
fn header<P: Platform>(origin: &Origin, kind: Kind) -> Header {
    Header {
        len: 0,
        kind,
        drop: false,
        pid: origin.pid,
        comm: origin.comm,
        time: Timespec::default(),
        tid: origin.tid,
        cpu: P::cpu(),
    }
}

const _: () = assert!(SEGMENT_LEN <= crate::BATCH_BYTES_MIN);

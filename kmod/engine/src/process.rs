//! The trace of one process.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use ktrace_format::{HEADER_LEN, Header, Kind, MAXCOMLEN, Payload, Record, Timespec, encode_header};

use crate::file::{Leave, Unwritten, WriteFailed, Writer};
use crate::help::{Look, Ticket};
use crate::list::{Entry, List};
use crate::pool::{SEGMENT_LEN, Segments};
use crate::queue::{Abandoned, NotQueued, OWN, Queue};
use crate::stream::Put;
use crate::{Counter, Engine, Event, Failures, Mutex, Platform, Policy, TraceFile};

/// Process and thread that made a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Process ID.
    pub pid: i32,
    /// Thread ID.
    pub tid: i64,
    /// Name of the thread, ended by a NUL.
    pub comm: [u8; MAXCOMLEN + 1],
}

/// Work that remains after a record was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// None: the process is not traced, or the record may wait.
    Nothing,
    /// The process is to be [drained](ProcTrace::drain) before it returns to user mode.
    Drain,
    /// The process is to be drained as for [`Pending::Drain`], but may run out of room before that.
    /// Another thread should check whether it is overdue.
    Help,
}

/// A record that is made where sleeping is allowed.
pub struct Synchronous<'a> {
    pub(crate) kind: Kind,
    /// Length in bytes.
    pub(crate) len: usize,
    /// Time that the kernel has noted for the record; `None` for the time at which it is made.
    noted: Option<Timespec>,
    body: Body<'a>,
}

enum Body<'a> {
    /// Payload to be encoded.
    Payload(&'a Payload<'a>),
    /// Room for the header, and the encoded payload.
    Encoded(&'a mut [u8]),
}

/// The trace of one process: its file and its queue.
///
/// Its records go into the stream of its file. If the stream has no room, a record made where
/// sleeping is not allowed is queued here. Until the queue is written, no other record of the
/// process passes it.
///
/// The trace lives from the first ktrace(2) on the process until the process exits, or until it is
/// detached some time after tracing of the process has ended.
pub struct ProcTrace<P: Platform> {
    engine: Arc<Engine<P>>,
    /// Queue lock.
    queue: P::Mutex<Queue<P>>,
}

/// Progress of the trace of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcProgress {
    /// Bytes in the queue.
    pub queued: usize,
    /// Bytes of records made since tracing of the process began, in the queue, a stream or a file.
    pub made: u64,
    /// Records dropped since then, because there was no room for them.
    pub dropped: u64,
}

/// A record to be committed.
struct New<'a> {
    header: Header,
    record: Synchronous<'a>,
    policy: Policy,
}

/// Step that follows an attempt to add a record.
enum Step<P: Platform> {
    /// None: the record is in the stream or written, or it is not wanted.
    Done,
    /// The record is in the stream, which is to be written up to this end.
    Write(Arc<TraceFile<P>>, u64),
    /// The record is in the stream, and has completed a batch.
    Due(Arc<TraceFile<P>>),
    /// The records before it in the file have to be written first.
    Behind(Arc<TraceFile<P>>),
    /// The record does not fit into the format.
    Unfit,
}

impl<P: Platform> ProcTrace<P> {
    /// Creates a trace without a file, and without memory for its queue. May sleep.
    pub fn new(engine: Arc<Engine<P>>, _: P::MaySleep) -> Arc<Self> {
        engine.stats.traces.add(1);
        Arc::new_cyclic(|this| {
            let ticket = Entry::new(Weak::clone(this));
            ProcTrace { engine, queue: P::Mutex::new(c"ktrace_rs queue", Queue::new(ticket)) }
        })
    }

    /// Gives the queue the memory that it needs while the process is traced to `file`. May sleep;
    /// takes the pool lock and the queue lock.
    pub fn stock(&self, may_sleep: P::MaySleep, file: &TraceFile<P>) {
        let supply = file.pool().supply(may_sleep, OWN);
        self.queue.with(|queue| queue.restock(supply));
    }

    /// Returns the file that is traced to. Takes the queue lock.
    ///
    /// The reference may become the last one, and must be dropped where sleeping is allowed.
    pub fn file(&self) -> Option<Arc<TraceFile<P>>> {
        self.queue.with(|queue| queue.file().cloned())
    }

    /// Runs `look` on the file that is traced to, under the queue lock. `look` must not take that
    /// lock.
    pub fn with_file<R>(&self, look: impl FnOnce(Option<&TraceFile<P>>) -> R) -> R {
        self.queue.with(|queue| look(queue.file().map(Arc::as_ref)))
    }

    /// Returns whether the process is traced to a file. Takes the queue lock.
    pub fn is_traced(&self) -> bool {
        self.with_file(|file| file.is_some())
    }

    /// Traces to another file from now on, or to none. Takes the queue lock, and under it the
    /// stream lock.
    ///
    /// Returns the old file. Records that are not written yet still go there. The caller has to
    /// call [`ProcTrace::flush`] with it, and to drop it where sleeping is allowed.
    #[must_use = "the old file is to be flushed, and dropped where sleeping is allowed"]
    pub fn set_file(&self, file: Option<Arc<TraceFile<P>>>) -> Option<Arc<TraceFile<P>>> {
        let begins = file.is_some();
        self.queue.with(|queue| {
            let joined = file.as_ref().map_or(0, |file| file.end());
            let old = queue.set_file(file, joined);
            // Before a failed write can end tracing to the new file and decrement the counter.
            self.engine.stats.procs.add(i64::from(begins).saturating_sub(i64::from(old.is_some())));
            old
        })
    }

    /// Adds a record that is made where sleeping is not allowed, and returns the work that remains.
    /// Takes the queue lock, and under it the stream lock.
    ///
    /// If there is no room, the record is counted as dropped, and the next accepted record carries
    /// `KTR_DROP`. If the process is not traced, nothing happens.
    ///
    /// `noted` is a time that the kernel has noted for the record. `ktrcsw_out()` of FreeBSD 15.1
    /// passes one, as it makes the record of a sleep after the sleep. The record gets that time if
    /// it lies between the beginning of tracing to the file and now. Otherwise it gets the current
    /// time.
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
                    self.note_waiting(queue);
                    return Ok((due || at_once, None));
                }
            }
            let now = P::now();
            header.time = record.time(now);
            let limit = self.engine.settings.queue_limit();
            let pushed = queue.push(Record { header, payload: *payload }, now, limit)?;
            if header.kind == Kind::ProcCtor {
                queue.begin(header.time);
            }
            if at_once {
                queue.want_flush();
            }
            // Before a drain can take the record and subtract its bytes.
            stats.queued.add(i64::try_from(pushed.len).unwrap_or(i64::MAX));
            self.note_waiting(queue);
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

    /// Adds a record that is made where sleeping is allowed, writes the records that the policy
    /// wants written, and returns the work that remains. May sleep; takes the queue lock, under it
    /// the stream lock, and the locks of [`ProcTrace::flush`].
    #[inline(always)]
    pub fn commit(
        &self,
        may_sleep: P::MaySleep,
        origin: &Origin,
        record: Synchronous<'_>,
    ) -> (Pending, Failures<P>) {
        let Synchronous { kind, len, .. } = record;
        P::watch(Event::Made { kind, len, may_sleep: true });
        let policy = match (self.engine.settings.policy(), kind) {
            _ if self.is_at_once(kind) => Policy::Record,
            // The last record before the thread is back in user mode.
            (Policy::Return, Kind::Sysret) => Policy::Record,
            (policy, _) => policy,
        };
        let pending = if policy == Policy::Return { Pending::Drain } else { Pending::Nothing };
        let mut new = New { header: header::<P>(origin, kind), record, policy };
        // As a rule, this is all there is to do.
        match self.queue.with(|queue| self.put_first(queue, &mut new)) {
            Step::Done => (pending, Vec::new()),
            step => (pending, self.commit_step(may_sleep, &mut new, step)),
        }
    }

    /// Takes the steps that follow an attempt to add a record.
    #[cold]
    fn commit_step(&self, may_sleep: P::MaySleep, new: &mut New<'_>, mut step: Step<P>) -> Failures<P> {
        let mut failures = Vec::new();
        loop {
            step = match step {
                Step::Done => break,
                Step::Write(file, end) => {
                    file.flush_to(may_sleep, end, &mut failures);
                    break;
                }
                Step::Due(file) => {
                    // While another thread is writing, the stream still has room.
                    file.try_with_writer(may_sleep, true, &mut failures, |leave, writer, failures| {
                        file.write_stream(leave, writer, failures);
                    });
                    break;
                }
                Step::Behind(file) => {
                    P::watch(Event::Full { file: file.storage() });
                    let step = self.commit_behind(may_sleep, new, &file, &mut failures);
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

    /// Writes the records that have to be written before the process returns to user mode: its
    /// queue, and the stream of its file, unless the policy lets that wait. May sleep; takes the
    /// locks of [`ProcTrace::flush`].
    pub fn drain(&self, may_sleep: P::MaySleep) -> Failures<P> {
        let mut failures = Vec::new();
        let (queued, wanted, file) = self
            .restocked(may_sleep, |queue| (!queue.is_empty(), queue.flush_wanted(), queue.file().cloned()));
        if queued {
            self.write_queue(may_sleep, &mut failures);
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

    /// Writes the queue of the process, and the whole stream of `file`. Frees the memory that the
    /// queue needs no more. May sleep; takes the commit lock of the file that is written, under it
    /// the queue lock and the locks of the file system.
    pub fn flush(&self, may_sleep: P::MaySleep, file: &Arc<TraceFile<P>>) -> Failures<P> {
        let mut failures = Vec::new();
        self.write_queue(may_sleep, &mut failures);
        file.flush_to(may_sleep, file.end(), &mut failures);
        // Freed here, with nothing locked.
        drop(self.queue.with(Queue::take_surplus));
        failures
    }

    /// Ends the trace of a process that exits and is no longer traced. [Flushes](ProcTrace::flush)
    /// `file`, to which the process was traced, or [drains](ProcTrace::drain) the process if that
    /// is `None`. Drops the records that a signal has kept it from writing if there is no room to
    /// keep them. May sleep; takes the locks of [`ProcTrace::flush`].
    pub fn end(&self, may_sleep: P::MaySleep, file: Option<&Arc<TraceFile<P>>>) -> Failures<P> {
        let failures = match file {
            Some(file) => self.flush(may_sleep, file),
            // The thread that ended tracing before may not have written all records yet.
            None => self.drain(may_sleep),
        };
        let (mut segments, bytes) = self.queue.with(Queue::take);
        while let Some(segment) = segments.pop() {
            if let Some(file) = segment.value.file() {
                file.discard(segment.value.bytes());
            }
        }
        self.engine.stats.count_off(bytes);
        failures
    }

    /// Writes queue and stream for a process that does not get to writing. May sleep; takes the
    /// locks of [`ProcTrace::flush`]. The calling thread must have no signals.
    ///
    /// Does nothing in three cases:
    ///
    /// - The file system is suspended. The process may have suspended it, and must not have to wait
    ///   for this thread before it continues.
    /// - Another thread holds the commit lock or has the file locked. That thread may be waiting
    ///   for the disk, and other processes need help meanwhile.
    /// - Queued records go to several files. The thread that has set a new file is about to write
    ///   the records for the old one.
    pub fn help(&self, may_sleep: P::MaySleep) -> Failures<P> {
        let mut failures = Vec::new();
        // This reference may be the last one, which must not be dropped under a lock.
        let Some(file) = self.queue.with(|queue| queue.only_file().cloned()) else { return failures };
        file.try_with_writer(may_sleep, false, &mut failures, |leave, writer, failures| {
            let only =
                || self.queue.with(|queue| queue.only_file().is_some_and(|only| Arc::ptr_eq(only, &file)));
            if only() && self.write_to(may_sleep, &file, leave, writer, failures) {
                self.engine.stats.helped.add(1);
            }
        });
        failures
    }

    /// Returns whether another thread should [`help`](ProcTrace::help) the process, which does not
    /// get to writing. It should if the queue is crowded, or if an earlier check found
    /// records in the queue or the stream that are still there. `look` is the number of this check.
    /// The first check has number one.
    ///
    /// Tries the queue lock, and under it the stream lock. A thread that holds one is making a
    /// record, and gets to writing. To wait for a thread that makes one record after the other
    /// could take forever.
    pub fn is_overdue(&self, look: u32) -> bool {
        self.look(look, &mut None) == Look::Overdue
    }

    /// Checks the records like [`ProcTrace::is_overdue`]. Takes the ticket back if there are none.
    pub(crate) fn look(&self, look: u32, ticket: &mut Option<Ticket<P>>) -> Look {
        let found = self.queue.try_with(|queue| {
            let gathered = queue.file().map_or(Look::Nothing, |file| file.look(look));
            let found = queue.look(self.engine.settings.queue_limit()).max(gathered);
            if found == Look::Nothing && ticket.is_some() {
                queue.return_ticket(ticket);
            }
            found
        });
        found.unwrap_or(Look::Waiting)
    }

    /// Ends tracing to a file that could not be written, and drops the records queued for it. Takes
    /// the queue lock; neither sleeps nor frees.
    ///
    /// Does nothing if the trace to that file began after the failed records were taken out. They
    /// are records of another process that had the same number, or of an earlier trace.
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

    /// Makes the next drain write everything, whatever the policy is. Takes the queue lock.
    pub fn want_flush(&self) {
        self.queue.with(Queue::want_flush);
    }

    /// Returns the time at which the oldest record was added that is still in the queue or the
    /// stream. Takes the queue lock, and under it the stream lock.
    pub fn since(&self) -> Option<Timespec> {
        self.queue.with(|queue| {
            let gathered = queue.file().and_then(|file| file.since());
            queue.since().into_iter().chain(gathered).min()
        })
    }

    /// Returns the number of bytes in the queue. Takes the queue lock.
    pub fn queued(&self) -> usize {
        self.queue.with(|queue| queue.bytes())
    }

    /// Returns the progress of the trace, and the result of `look` for the file that is traced to.
    /// Returns `None` if the process is not traced. Takes the queue lock, which `look` must not
    /// take.
    ///
    /// The file is lent: a reference could become the last one, and closing the file waits for its
    /// disk.
    pub fn progress<R>(&self, look: impl FnOnce(&TraceFile<P>) -> R) -> Option<(ProcProgress, R)> {
        self.queue.with(|queue| {
            let (made, dropped) = queue.made_and_dropped();
            Some((ProcProgress { queued: queue.bytes(), made, dropped }, look(queue.file()?)))
        })
    }

    fn is_at_once(&self, kind: Kind) -> bool {
        self.engine.settings.at_once() & kind.facility() != 0
    }

    /// Gives the queue the memory that it should have of its own. Then runs `critical` once under
    /// the queue lock. May sleep; takes the pool lock, alone and under the queue lock.
    fn restocked<R>(&self, may_sleep: P::MaySleep, mut critical: impl FnMut(&mut Queue<P>) -> R) -> R {
        let done = self.queue.with(|queue| match queue.file() {
            Some(file) if queue.lacks() != 0 => Err((Arc::clone(file), queue.lacks())),
            _ if queue.has_surplus() => Ok((critical(queue), queue.take_surplus())),
            _ => Ok((critical(queue), List::new())),
        });
        let (file, lacks) = match done {
            Ok((result, _surplus)) => return result,
            Err(lacking) => lacking,
        };
        let supply = file.pool().supply(may_sleep, lacks);
        self.queue.with(|queue| {
            queue.restock(supply);
            critical(queue)
        })
    }

    /// Writes the queued records, whichever files they go to. Records queued meanwhile may stay.
    fn write_queue(&self, may_sleep: P::MaySleep, failures: &mut Failures<P>) {
        for _ in 0..self.queue.with(|queue| queue.files_max()) {
            let Some(file) = self.queue.with(|queue| queue.first_file().cloned()) else { return };
            let written = file.with_writer(may_sleep, failures, |leave, writer, failures| {
                self.write_to(may_sleep, &file, leave, writer, failures);
            });
            if written.is_none() {
                return;
            }
        }
    }

    /// Writes the stream of a file and the records queued for it. Returns false if there are none.
    fn write_to(
        &self,
        may_sleep: P::MaySleep,
        file: &Arc<TraceFile<P>>,
        leave: &Leave<P>,
        writer: &mut Writer<P>,
        failures: &mut Failures<P>,
    ) -> bool {
        let spare = &mut writer.spare;
        // Both at once: all records of this process in the stream are older than its queued ones.
        let (end, queued) =
            self.restocked(may_sleep, |queue| (file.take_stream(spare), queue.take_for(file)));
        let any = queued.1 != 0 || spare.as_ref().is_some_and(|spare| !spare.bytes().is_empty());
        file.write_taken(leave, writer, end, failures, |unwritten, failures| {
            self.write_queued(may_sleep, file, leave, unwritten, queued, failures);
        });
        any
    }

    /// Writes segments that were taken out of the queue, and that hold `bytes` bytes.
    fn write_queued(
        &self,
        may_sleep: P::MaySleep,
        file: &Arc<TraceFile<P>>,
        leave: &Leave<P>,
        unwritten: &mut Unwritten<P>,
        (mut segments, bytes): (Segments<P>, usize),
        failures: &mut Failures<P>,
    ) {
        let mut written = List::new();
        while let Some(mut segment) = segments.pop() {
            file.write(leave, segment.value.bytes(), None, unwritten, failures);
            // Not the last reference: the caller has one.
            drop(segment.value.reset());
            written.push(segment);
        }
        file.pool().give(may_sleep, written);
        self.engine.stats.count_off(bytes);
    }

    /// Adds a record to the stream of the file that is traced to, unless the queue holds records.
    /// The queue lock is held; takes the stream lock.
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
        self.note_waiting(queue);
        step
    }

    /// Notes that a record waits in the stream or the queue. The queue lock is held; takes the
    /// waiting lock if none waited at the last check.
    #[inline(always)]
    fn note_waiting(&self, queue: &mut Queue<P>) {
        if let Some(ticket) = queue.take_ticket() {
            self.engine.wait(ticket);
        }
    }

    /// Adds a record like [`ProcTrace::put_first`], if that was not possible before. Kept out of
    /// line, because most records do not need it.
    #[cold]
    fn put(&self, queue: &mut Queue<P>, new: &mut New<'_>) -> Step<P> {
        self.put_first(queue, new)
    }

    /// Adds or writes a record that has to follow others in its file. If another thread is writing
    /// these, the stream may have room. The record is then added without waiting for that thread.
    fn commit_behind(
        &self,
        may_sleep: P::MaySleep,
        new: &mut New<'_>,
        file: &Arc<TraceFile<P>>,
        failures: &mut Failures<P>,
    ) -> Step<P> {
        let tried = file.try_with_writer(may_sleep, true, failures, |leave, writer, failures| {
            self.write_before(may_sleep, new, file, leave, writer, failures)
        });
        match tried.unwrap_or_else(|| self.queue.with(|queue| self.put(queue, new))) {
            Step::Behind(current) if Arc::ptr_eq(&current, file) => {
                let written = file.with_writer(may_sleep, failures, |leave, writer, failures| {
                    self.write_before(may_sleep, new, file, leave, writer, failures)
                });
                written.unwrap_or_else(|| {
                    // The thread has a pending signal. There is no room until the file is written.
                    self.drop_record(new.header.kind);
                    Step::Done
                })
            }
            step => step,
        }
    }

    /// Writes the records before a record in its file, then adds the record to the stream. A record
    /// that is too long for the stream is written as well.
    fn write_before(
        &self,
        may_sleep: P::MaySleep,
        new: &mut New<'_>,
        file: &Arc<TraceFile<P>>,
        leave: &Leave<P>,
        writer: &mut Writer<P>,
        failures: &mut Failures<P>,
    ) -> Step<P> {
        let spare = &mut writer.spare;
        let (step, taken) = self.restocked(may_sleep, |queue| {
            let step = self.put(queue, new);
            // Other threads may have made room, or the record goes to another file by now.
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
            file.write_taken(leave, writer, end, failures, |unwritten, failures| {
                self.write_queued(may_sleep, file, leave, unwritten, queued, failures);
                if let Some((drop, time)) = alone {
                    (new.header.drop, new.header.time) = (drop, time);
                    self.write_alone(file, leave, new, unwritten, failures);
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
        unwritten: &mut Unwritten<P>,
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

    /// Counts a record for which there is no room as dropped; the next one carries `KTR_DROP`.
    fn drop_record(&self, kind: Kind) {
        self.engine.stats.drop_one(kind);
        self.queue.with(|queue| queue.mark_drop());
    }
}

impl<P: Platform> Drop for ProcTrace<P> {
    /// Takes the ticket out of the list. Asserts that no records are pending on tear-down, and that
    /// the process is not traced.
    fn drop(&mut self) {
        if !self.queue.with(|queue| queue.has_ticket()) {
            let this: *const Self = self;
            let mine = |other: &Weak<Self>| core::ptr::eq(other.as_ptr(), this);
            drop(self.engine.waiting.with(|waiting| waiting.remove(mine)));
        }
        self.engine.stats.traces.add(-1);
        debug_assert_eq!(self.queued(), 0, "records pending at process tear-down");
        debug_assert!(!self.is_traced(), "process traced at its tear-down");
    }
}

impl<'a> Synchronous<'a> {
    /// Creates a record from a payload that is to be encoded.
    #[inline]
    pub fn payload(payload: &'a Payload<'a>) -> Self {
        let len = Record::encoded_len(payload);
        Synchronous { kind: payload.kind(), len, noted: None, body: Body::Payload(payload) }
    }

    /// Creates a record from bytes that the caller has encoded. The first 64 bytes are reserved for
    /// the header.
    pub fn encoded(kind: Kind, record: &'a mut [u8]) -> Self {
        Synchronous { kind, len: record.len(), noted: None, body: Body::Encoded(record) }
    }

    /// Returns the type of the record.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the time of the record, which is made at the time `now`.
    #[inline(always)]
    pub(crate) fn time(&self, now: Timespec) -> Timespec {
        match self.noted {
            Some(noted) if noted <= now => noted,
            _ => now,
        }
    }

    /// Writes the record to `out`, which has the record's length, and the length to `header`.
    /// Returns `None` if the record does not fit into the format.
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

    /// Encodes the header, and returns the record's bytes. These are its own, or `out`, which has
    /// the record's length.
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

/// Returns a header without length, time and drop mark.
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

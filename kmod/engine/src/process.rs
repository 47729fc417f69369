//! The trace of one process.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ktrace_format::{HEADER_LEN, Header, Kind, MAXCOMLEN, Payload, Record, Timespec, encode_header};

use crate::file::Leave;
use crate::queue::{Balance, NotQueued, Queue, SPARE_MIN};
use crate::segment::{Segment, Stack};
use crate::{Counter, Engine, Mutex, Platform, SleepLock, Storage, TraceFile, WriteFailed};

/// Capacity that the buffer for synchronous records keeps from one to the next.
const SCRATCH_LEN: usize = 4096;

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

/// What is to follow when a record was to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing: the process is not traced.
    Nothing,
    /// The process is to be drained before it returns to user mode.
    Drain,
    /// As [`Pending::Drain`]; and as it may have no room left before, another thread should see
    /// whether it is overdue.
    Help,
}

/// A record that is committed by the thread that makes it.
pub enum Synchronous<'a> {
    /// To be encoded.
    Payload(&'a Payload<'a>),
    /// Encoded by the caller, but for the header, for which the first 64 bytes are left.
    Encoded {
        /// Type of the record.
        kind: Kind,
        /// Room for the header, and the payload.
        record: &'a mut [u8],
    },
}

/// The trace of one process: its file, its queue, and the order in which it writes.
///
/// It lives from the first ktrace(2) on the process until the process exits.
pub struct ProcTrace<P: Platform> {
    engine: Arc<Engine<P>>,
    /// Commit lock.
    commit: P::SleepLock<Writer<P>>,
    /// Queue lock.
    queue: P::Mutex<Queue<P>>,
}

/// What the thread works with that writes. Guarded by the commit lock.
struct Writer<P: Platform> {
    /// Synchronous records are encoded in it.
    scratch: Vec<u8>,
    /// Segments whose records were written, to be used again.
    free: Stack<P>,
}

impl<P: Platform> ProcTrace<P> {
    /// A trace that goes nowhere yet, with memory for its queue. May sleep.
    pub fn new(engine: Arc<Engine<P>>, may_sleep: P::MaySleep) -> Self {
        let writer = Writer { scratch: Vec::new(), free: Stack::new() };
        let trace =
            ProcTrace { engine, commit: P::SleepLock::new(writer), queue: P::Mutex::new(Queue::new()) };
        trace.with_room(may_sleep, 0, &mut Stack::new(), |_| ());
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

    /// Traces to another file from now on, or to none. What is queued goes to the old file at
    /// the next [`ProcTrace::drain`]. Takes the queue lock.
    ///
    /// Returns the old file, to be dropped where sleeping is allowed.
    #[must_use = "the last reference must be dropped where sleeping is allowed"]
    pub fn set_file(&self, file: Option<Arc<TraceFile<P>>>) -> Option<Arc<TraceFile<P>>> {
        let begins = file.is_some();
        self.queue.with(|queue| {
            let old = queue.set_file(file);
            // Before a failed write can end tracing to the new file and count it off.
            self.engine.stats.procs.add(i64::from(begins).saturating_sub(i64::from(old.is_some())));
            old
        })
    }

    /// Queues a record that is made where sleeping is not allowed, and returns what is to follow.
    /// Takes the queue lock.
    ///
    /// Where there is no room the record is counted as dropped, and the next one that gets
    /// through carries `KTR_DROP`. If the process is not traced nothing happens.
    pub fn enqueue(&self, origin: &Origin, payload: &Payload<'_>) -> Pending {
        let record = Record { header: header::<P>(origin, payload.kind()), payload: *payload };
        let stats = &self.engine.stats;
        let queued = self.queue.with(|queue| {
            let pushed = queue.push(record, P::now())?;
            // Before a drain can take the record and count it off.
            stats.queued.add(i64::try_from(pushed.len).unwrap_or(i64::MAX));
            Ok((queue.bytes(), pushed.crowded))
        });
        match queued {
            Ok((bytes, crowded)) => {
                stats.note_queued(bytes);
                if crowded { Pending::Help } else { Pending::Drain }
            }
            Err(NotQueued::Full) => {
                stats.drop_one(payload.kind());
                Pending::Help
            }
            Err(NotQueued::NotTraced) => Pending::Nothing,
        }
    }

    /// Writes what is queued and then the record. May sleep; takes the commit lock, under it
    /// the queue lock and what the file system takes.
    ///
    /// `room` is how many bytes of records the process may make before it is drained again, as
    /// far as one can tell; they are set aside, within the limit of a queue.
    ///
    /// Where writing fails the process is not traced to that file any more.
    pub fn commit(
        &self,
        may_sleep: P::MaySleep,
        room: usize,
        origin: &Origin,
        record: Synchronous<'_>,
    ) -> Result<(), WriteFailed> {
        self.commit.with(may_sleep, |writer| {
            let (queued, file, header) = self.with_room(may_sleep, room, &mut writer.free, |queue| {
                let file = queue.file().cloned();
                let header = Header {
                    time: P::now(),
                    drop: queue.take_drop_mark(),
                    ..header::<P>(origin, record.kind())
                };
                (queue.take(), file, header)
            });
            let mut failed = Vec::new();
            let drained = self.write_queued(may_sleep, None, &mut writer.free, queued, &mut failed);
            let Some(file) = file else { return drained };
            if failed.iter().any(|failed| Arc::ptr_eq(failed, &file)) && !self.traces_to(&file) {
                self.engine.stats.drop_one(record.kind());
                return drained;
            }
            drained.and(self.write_one(may_sleep, &mut writer.scratch, header, record, &file))
        })
    }

    /// Writes what is queued. May sleep; locks as [`ProcTrace::commit`].
    pub fn drain(&self, may_sleep: P::MaySleep, room: usize) -> Result<(), WriteFailed> {
        self.commit.with(may_sleep, |writer| {
            let queued = self.with_room(may_sleep, room, &mut writer.free, Queue::take);
            self.write_queued(may_sleep, None, &mut writer.free, queued, &mut Vec::new())
        })
    }

    /// Writes what is queued, for a process that does not get to it. May sleep; locks as
    /// [`ProcTrace::commit`].
    ///
    /// Where the file system is suspended nothing happens: it may be the process that suspended it,
    /// and to go on it must not have to wait for this thread. Nor where another thread has the
    /// commit lock: it may wait for the disk, or for a suspended file system, and others need
    /// help meanwhile. Nor where records go to several files: who set another one is about to
    /// write those for the first.
    pub fn help(&self, may_sleep: P::MaySleep, room: usize) -> Result<(), WriteFailed> {
        // The last reference may be this one: not to be dropped under the commit lock.
        let Some(file) = self.queue.with(|queue| queue.only_file().cloned()) else { return Ok(()) };
        let helped = self.commit.try_with(may_sleep, |writer| {
            let Some(leave) = file.storage().try_start_write(may_sleep) else { return Ok(()) };
            let queued = self.with_room(may_sleep, room, &mut writer.free, |queue| {
                // Others may have written these, or queued some for another file, before.
                queue.only_file().is_some_and(|only| Arc::ptr_eq(only, &file)).then(|| queue.take())
            });
            let Some(queued) = queued else { return Ok(()) };
            self.engine.stats.helped.add(1);
            self.write_queued(may_sleep, Some(&leave), &mut writer.free, queued, &mut Vec::new())
        });
        helped.unwrap_or(Ok(()))
    }

    /// Whether another thread should [`help`](ProcTrace::help) the process, which does not get
    /// to writing: its queue is more than half full, or what is in it was there at the last call,
    /// too. Takes the queue lock.
    pub fn is_overdue(&self) -> bool {
        self.queue.with(Queue::is_overdue)
    }

    /// Bytes that are queued. Takes the queue lock.
    pub fn queued(&self) -> usize {
        self.queue.with(|queue| queue.bytes())
    }

    fn traces_to(&self, file: &Arc<TraceFile<P>>) -> bool {
        self.queue.with(|queue| queue.file().is_some_and(|current| Arc::ptr_eq(current, file)))
    }

    /// Sees to it that the queue has room for what comes before the next drain, and no more,
    /// and then runs `critical` under the queue lock, once. Uses memory of `fresh` before it
    /// allocates.
    fn with_room<R>(
        &self,
        may_sleep: P::MaySleep,
        room: usize,
        fresh: &mut Stack<P>,
        mut critical: impl FnMut(&mut Queue<P>) -> R,
    ) -> R {
        let limit = self.engine.queue_limit();
        loop {
            let room = self.queue.with(|queue| match queue.balance(fresh, room, limit) {
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

    /// Writes segments that were taken from the queue, and keeps some of their memory in `free`.
    /// `leave` is for the file of all of them, if there is any. Files that could not be written are
    /// put into `failed`.
    fn write_queued(
        &self,
        may_sleep: P::MaySleep,
        leave: Option<&Leave<P>>,
        free: &mut Stack<P>,
        (mut segments, bytes): (Stack<P>, usize),
        failed: &mut Vec<Arc<TraceFile<P>>>,
    ) -> Result<(), WriteFailed> {
        let mut result = Ok(());
        while let Some(mut segment) = segments.pop() {
            if let Some(file) = segment.file() {
                if failed.iter().any(|failed| Arc::ptr_eq(failed, file)) {
                    file.discard(segment.bytes());
                } else if let Err(error) = match leave {
                    Some(leave) => file.commit(leave, segment.bytes()),
                    None => file.commit(&file.storage().start_write(may_sleep), segment.bytes()),
                } {
                    self.abandon(file);
                    failed.push(Arc::clone(file));
                    result = Err(error);
                }
            }
            drop(segment.reset());
            if free.len() < SPARE_MIN {
                free.push(segment);
            }
        }
        self.engine.stats.queued.add(i64::try_from(bytes).unwrap_or(i64::MAX).wrapping_neg());
        result
    }

    /// Encodes a synchronous record and writes it.
    fn write_one(
        &self,
        may_sleep: P::MaySleep,
        scratch: &mut Vec<u8>,
        header: Header,
        record: Synchronous<'_>,
        file: &Arc<TraceFile<P>>,
    ) -> Result<(), WriteFailed> {
        let bytes: &[u8] = match record {
            Synchronous::Payload(payload) => {
                scratch.resize(Record::encoded_len(payload), 0);
                match (Record { header, payload: *payload }).encode(scratch) {
                    Ok(_) => scratch,
                    Err(_) => return self.drop_record(header.kind),
                }
            }
            Synchronous::Encoded { record, .. } => {
                let len = record.len().checked_sub(HEADER_LEN).and_then(|len| u32::try_from(len).ok());
                let Some(len) = len else { return self.drop_record(header.kind) };
                match encode_header(&Header { len, ..header }, record) {
                    Ok(()) => record,
                    Err(_) => return self.drop_record(header.kind),
                }
            }
        };
        let result = file.commit(&file.storage().start_write(may_sleep), bytes);
        scratch.truncate(SCRATCH_LEN);
        scratch.shrink_to(SCRATCH_LEN);
        if result.is_err() {
            self.abandon(file);
        }
        result
    }

    /// Counts a record that the format has no room for; the next one carries `KTR_DROP`.
    fn drop_record(&self, kind: Kind) -> Result<(), WriteFailed> {
        self.engine.stats.drop_one(kind);
        self.queue.with(|queue| queue.mark_drop());
        Ok(())
    }

    /// Stops tracing to a file that cannot be written, unless another one was set meanwhile. What
    /// was queued during the write is dropped: nothing must follow the records that are missing.
    fn abandon(&self, file: &Arc<TraceFile<P>>) {
        let abandoned = self.queue.with(|queue| {
            let current = queue.file().is_some_and(|current| Arc::ptr_eq(current, file));
            if !current {
                return None;
            }
            self.engine.stats.procs.add(-1);
            Some((queue.take_for(file), queue.set_file(None)))
        });
        let Some(((mut segments, bytes), old)) = abandoned else { return };
        let mut empty = Stack::new();
        while let Some(mut segment) = segments.pop() {
            file.discard(segment.bytes());
            drop(segment.reset());
            empty.push(segment);
        }
        self.engine.stats.queued.add(i64::try_from(bytes).unwrap_or(i64::MAX).wrapping_neg());
        self.queue.with(|queue| queue.give_back(&mut empty));
        drop(old);
    }
}

impl<P: Platform> Drop for ProcTrace<P> {
    /// The seed's rule: on tear-down nothing is pending.
    fn drop(&mut self) {
        debug_assert_eq!(self.queued(), 0, "records pending at process tear-down");
        debug_assert!(!self.is_traced(), "process traced at its tear-down");
    }
}

impl Synchronous<'_> {
    fn kind(&self) -> Kind {
        match self {
            Synchronous::Payload(payload) => payload.kind(),
            Synchronous::Encoded { kind, .. } => *kind,
        }
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

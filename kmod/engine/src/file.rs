//! Trace files, and the path of records from a stream or queue to the file.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ktrace_format::{Header, Kind, Timespec, split_record};

use crate::budget::Charge;
use crate::help::Look;
use crate::list::{Entry, Shared};
use crate::pool::Pool;
use crate::stream::{Buffer, Put, Stream, Tally};
use crate::{Counter, Engine, Errno, Event, Mutex, Platform, SleepLock, Storage, Synchronous};

/// A file that one ktrace(2) call opened for writing, shared by the processes traced to it.
///
/// Its records are gathered in a [`Stream`] and written from there. When a process stops tracing to
/// the file, its records have to be [flushed](crate::ProcTrace::flush). The last reference must be
/// dropped where sleeping is allowed.
pub struct TraceFile<P: Platform> {
    storage: P::Storage,
    engine: Arc<Engine<P>>,
    /// The pool of the user who has opened the file.
    pool: Arc<Pool<P>>,
    /// Stream lock.
    stream: P::Mutex<Stream<P>>,
    /// Commit lock.
    commit: P::SleepLock<Writer<P>>,
    /// End of the stream up to which all records were written or dropped.
    written: AtomicU64,
    /// Set if a record could not be written.
    failed: AtomicBool,
    /// Set if the file is in the list of files that have large buffers. Changed under the commit
    /// lock.
    is_buffered: AtomicBool,
    /// Numbers of successful writes, and of the bytes and records written. Changed under the commit
    /// lock.
    commits: AtomicU64,
    bytes: AtomicU64,
    records: AtomicU64,
}

/// A file in the list of open files, which others may [share](TraceFile::shared).
pub(crate) type Open<P> =
    Shared<<<P as Platform>::Storage as Storage<<P as Platform>::MaySleep>>::Target, TraceFile<P>>;

/// Progress of a trace file since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileProgress {
    /// Successful writes.
    pub commits: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Records written.
    pub records: u64,
    /// Bytes that wait in the stream.
    pub gathered: usize,
}

/// Batch of the buffer of a file that is new or idle, in bytes.
const SMALL: usize = crate::BATCH_BYTES_MIN;

/// Kept bytes at which no more records are taken out of streams and queues.
const KEPT_MAX: usize = crate::BATCH_BYTES_MAX;

/// The writing thread's state. Protected by the commit lock.
pub(crate) struct Writer<P: Platform> {
    /// Buffer to be exchanged for the stream's buffer. Empty except during a write. `None` if the
    /// file is new or idle, or if the memory was refused.
    pub(crate) spare: Option<Box<Buffer<P>>>,
    /// State of failed and interrupted writes.
    pub(crate) unwritten: Unwritten<P>,
    /// End of the stream at the last check for an idle file.
    checked: u64,
}

/// State of failed and interrupted writes. Protected by the commit lock.
pub(crate) struct Unwritten<P: Platform> {
    /// Processes of which a record could not be written.
    failed: Vec<i32>,
    /// Records whose write was interrupted by a signal. They are written before all others.
    kept: Vec<u8>,
    /// Charges for the memory of `kept`.
    charges: Vec<Charge<P>>,
    /// End of the stream when the records being written, or kept, were taken out.
    end: u64,
    /// Set if the file is left to the helper.
    is_left: bool,
    /// Set if the writing thread has signals: records are kept if a signal interrupts it.
    has_signals: bool,
}

/// A `vn_start_write()` reference to the file system of a file.
pub(crate) type Leave<P> = <<P as Platform>::Storage as Storage<<P as Platform>::MaySleep>>::Leave;

/// Failure to write records of a process. Its tracing to that file is to be ended with
/// [`ProcTrace::abandon`](crate::ProcTrace::abandon).
pub struct WriteFailed<P: Platform> {
    /// The process, which need not be the process of the writing thread. It may have exited, and
    /// its number may belong to another process now.
    pub pid: i32,
    /// Error of the write.
    pub errno: Errno,
    /// Set if a write of its records to the file failed before.
    pub again: bool,
    /// The file.
    pub file: Arc<TraceFile<P>>,
    /// End of the file's stream when the records were taken out. A trace that began after that has
    /// made none of them.
    pub(crate) end: u64,
}

/// The processes whose records could not be written, each once for each file.
pub type Failures<P> = Vec<WriteFailed<P>>;

impl<P: Platform> TraceFile<P> {
    /// Creates a trace file from a file that is open for writing, with a small buffer. May sleep;
    /// takes the pools lock and the pool lock.
    pub fn new(may_sleep: P::MaySleep, engine: Arc<Engine<P>>, storage: P::Storage) -> Arc<Self> {
        engine.stats.files.add(1);
        let pool = Pool::of(may_sleep, &engine, storage.user());
        let charge = pool.budget().charge(Buffer::<P>::len(SMALL));
        let buffer = charge.map(|charge| Buffer::new(may_sleep, charge, SMALL));
        let unwritten = Unwritten {
            failed: Vec::new(),
            kept: Vec::new(),
            charges: Vec::new(),
            end: 0,
            is_left: false,
            has_signals: false,
        };
        Arc::new(TraceFile {
            storage,
            engine,
            pool,
            stream: P::Mutex::new(c"ktrace_rs stream", Stream::new(buffer)),
            commit: P::SleepLock::new(Writer { spare: None, unwritten, checked: 0 }),
            written: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            is_buffered: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            records: AtomicU64::new(0),
        })
    }

    /// Returns the open file with the same [target](Storage::target), if there is one, and drops
    /// this one. Otherwise returns this one, which may be shared from now on. May sleep; takes the
    /// open lock.
    ///
    /// Records of one thread keep their order only within one stream. They would not if a thread
    /// began to trace to another opening of its file while records of an earlier trace wait. A file
    /// that waits to be written is still open, even if no process is traced to it any more.
    pub fn shared(self: Arc<Self>, _: P::MaySleep) -> Arc<Self> {
        Shared::find_or_add(&self.engine.open, self.storage.target(), Arc::clone(&self))
    }

    /// Returns the pool of the user who has opened the file.
    pub(crate) fn pool(&self) -> &Arc<Pool<P>> {
        &self.pool
    }

    /// Returns the progress since the file was opened. Takes the stream lock.
    pub fn progress(&self) -> FileProgress {
        FileProgress {
            commits: self.commits.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            gathered: self.stream.with(|stream| stream.bytes().len()),
        }
    }

    /// Returns the file itself.
    pub fn storage(&self) -> &P::Storage {
        &self.storage
    }

    /// Returns the time at which the oldest record in the stream was added. Takes the stream lock.
    pub(crate) fn since(&self) -> Option<Timespec> {
        self.stream.with(|stream| stream.since())
    }

    /// Returns the end of the stream: see [`Stream::end`]. Takes the stream lock.
    pub(crate) fn end(&self) -> u64 {
        self.stream.with(|stream| stream.end())
    }

    /// Returns whether the records in the stream are a batch. Takes the stream lock.
    pub(crate) fn is_due(&self) -> bool {
        self.stream.with(|stream| stream.is_due(P::now(), &self.engine.settings))
    }

    /// Adds a record to the stream. Also returns the end of the stream after that. Takes the stream
    /// lock.
    pub(crate) fn put(
        &self,
        header: &mut Header,
        record: &mut Synchronous<'_>,
        may_sleep: bool,
    ) -> (Put, u64) {
        self.stream.with(|stream| {
            let put = stream.put(header, record, may_sleep, &self.engine.settings);
            if let Put::Done { .. } = put {
                // Before other threads can write the record and subtract its bytes.
                self.engine.stats.queued.add(i64::try_from(record.len).unwrap_or(i64::MAX));
            }
            (put, stream.end())
        })
    }

    /// Checks the records in the stream: see [`Stream::look`]. Tries the stream lock. A thread that
    /// holds it is making a record.
    pub(crate) fn look(&self, look: u32) -> Look {
        self.stream.try_with(|stream| stream.look(look)).unwrap_or(Look::Waiting)
    }

    /// Writes the stream up to `end` at least, unless a signal interrupts the thread. Records that
    /// another thread is writing are written on return, too. May sleep; takes the commit lock,
    /// under it the stream lock and the locks of the file system.
    pub(crate) fn flush_to(self: &Arc<Self>, may_sleep: P::MaySleep, end: u64, failures: &mut Failures<P>) {
        if self.written.load(Ordering::Acquire) >= end {
            return;
        }
        self.with_writer(may_sleep, failures, |leave, writer, failures| {
            // Another thread may have written the records meanwhile.
            if self.written.load(Ordering::Acquire) < end {
                self.write_stream(leave, writer, failures);
            }
        });
    }

    /// Writes all records in the stream, for a thread without signals. Returns false, with nothing
    /// done, if the file system is suspended, or if another thread holds the commit lock or has the
    /// file locked. May sleep.
    pub(crate) fn help(self: &Arc<Self>, may_sleep: P::MaySleep, failures: &mut Failures<P>) -> bool {
        let helped = self.try_with_writer(may_sleep, false, failures, |leave, writer, failures| {
            writer.unwritten.is_left = false;
            self.write_stream(leave, writer, failures);
        });
        helped.is_some()
    }

    /// Runs `write` with a `vn_start_write()` reference and the commit lock held, after writing the
    /// kept records. Returns `None` without running it if the thread is interrupted again and there
    /// is no room to keep more. May sleep.
    ///
    /// The reference comes first. A thread that waits for a suspended file system must not hold the
    /// lock: the thread that has suspended it may need the lock.
    pub(crate) fn with_writer<R>(
        self: &Arc<Self>,
        may_sleep: P::MaySleep,
        failures: &mut Failures<P>,
        write: impl FnOnce(&Leave<P>, &mut Writer<P>, &mut Failures<P>) -> R,
    ) -> Option<R> {
        let leave = self.storage.start_write(may_sleep);
        self.commit.with(may_sleep, |writer| {
            writer.unwritten.has_signals = true;
            let has_room = self.write_kept(&leave, &mut writer.unwritten, failures);
            has_room.then(|| write(&leave, self.prepare(may_sleep, writer), failures))
        })
    }

    /// Runs `write` like [`TraceFile::with_writer`]. Also returns `None` without running it if the
    /// file system is suspended, or if another thread holds the commit lock or has the file locked.
    /// No records are kept for a thread without signals.
    pub(crate) fn try_with_writer<R>(
        self: &Arc<Self>,
        may_sleep: P::MaySleep,
        has_signals: bool,
        failures: &mut Failures<P>,
        write: impl FnOnce(&Leave<P>, &mut Writer<P>, &mut Failures<P>) -> R,
    ) -> Option<R> {
        let leave = self.storage.try_start_write(may_sleep)?;
        let written = self.commit.try_with(may_sleep, |writer| {
            writer.unwritten.has_signals = has_signals;
            let has_room = self.write_kept(&leave, &mut writer.unwritten, failures);
            has_room.then(|| write(&leave, self.prepare(may_sleep, writer), failures))
        });
        written.flatten()
    }

    /// Makes sure that there is a spare buffer for batches of the size that is set, if the user may
    /// have the memory. May sleep; the commit lock is held.
    fn prepare<'a>(self: &Arc<Self>, may_sleep: P::MaySleep, writer: &'a mut Writer<P>) -> &'a mut Writer<P> {
        let batch = self.engine.settings.batch_bytes();
        if writer.spare.as_ref().is_none_or(|spare| spare.batch() != batch) {
            // The old one first: there may be memory for one only.
            writer.spare = None;
            let charge = self.pool.budget().charge(Buffer::<P>::len(batch));
            writer.spare = charge.map(|charge| Buffer::new(may_sleep, charge, batch));
            if writer.spare.is_some() && !self.is_buffered.swap(true, Ordering::Relaxed) {
                let entry = Entry::new(Arc::downgrade(self));
                self.engine.buffered.with(|buffered| buffered.push(entry));
            }
        }
        writer
    }

    /// Exchanges the buffers for a small one, unless records were added since the last call. Returns
    /// whether that was done. May sleep; tries the commit lock, and takes under it the stream lock.
    ///
    /// The stream is never without a buffer. Otherwise records that cannot wait for one would be
    /// queued, and processes that share the file would get out of order.
    pub(crate) fn free_if_idle(&self, may_sleep: P::MaySleep) -> bool {
        let freed = self.commit.try_with(may_sleep, |writer| {
            let end = self.end();
            if core::mem::replace(&mut writer.checked, end) != end {
                return false;
            }
            let charge = self.pool.budget().charge_anyway(Buffer::<P>::len(SMALL));
            let mut buffer = Some(Buffer::new(may_sleep, charge, SMALL));
            let is_idle = self.stream.with(|stream| stream.exchange_if_empty(&mut buffer));
            if is_idle {
                writer.spare = None;
                self.is_buffered.store(false, Ordering::Relaxed);
            }
            is_idle
        });
        freed.unwrap_or(false)
    }

    /// Takes all records out of the stream, and returns its end after that. Takes the stream lock.
    pub(crate) fn take_stream(&self, spare: &mut Option<Box<Buffer<P>>>) -> u64 {
        self.stream.with(|stream| stream.take(spare))
    }

    /// Takes records out like [`TraceFile::take_stream`], and also returns the current time.
    pub(crate) fn take_stream_at(&self, spare: &mut Option<Box<Buffer<P>>>) -> (u64, Timespec) {
        self.stream.with(|stream| (stream.take(spare), P::now()))
    }

    /// Writes records that were taken out of the stream, then runs `behind` to write records that
    /// follow them in the file.
    pub(crate) fn write_taken(
        self: &Arc<Self>,
        leave: &Leave<P>,
        writer: &mut Writer<P>,
        end: u64,
        failures: &mut Failures<P>,
        behind: impl FnOnce(&mut Unwritten<P>, &mut Failures<P>),
    ) {
        let Writer { spare, unwritten, .. } = writer;
        unwritten.end = end;
        if let Some(spare) = spare {
            self.write(leave, spare.bytes(), Some(spare.tally()), unwritten, failures);
        }
        behind(unwritten, failures);
        if unwritten.kept.is_empty() {
            self.written.store(end, Ordering::Release);
        }
        if let Some(spare) = spare {
            self.engine.stats.count_off(spare.bytes().len());
            spare.clear();
        }
    }

    /// Writes all records in the stream.
    pub(crate) fn write_stream(
        self: &Arc<Self>,
        leave: &Leave<P>,
        writer: &mut Writer<P>,
        failures: &mut Failures<P>,
    ) {
        let end = self.take_stream(&mut writer.spare);
        self.write_taken(leave, writer, end, failures, |_, _| ());
    }

    /// Appends whole records with one write. `tally` is their number by type, if known.
    ///
    /// If that write fails for more than one record, the records are written one by one, so that
    /// all records that fit are in the file. A record that fails, and the further records of its
    /// process, are counted as dropped. The process is added to `failures`. May sleep; the commit
    /// lock is held.
    ///
    /// An interrupted write does not mean that the file has failed. The records, and all records
    /// behind them, are kept for the next thread that writes, at the latest the helper.
    pub(crate) fn write(
        self: &Arc<Self>,
        leave: &Leave<P>,
        records: &[u8],
        tally: Option<&Tally>,
        unwritten: &mut Unwritten<P>,
        failures: &mut Failures<P>,
    ) {
        if !unwritten.kept.is_empty() {
            return self.keep(records, unwritten);
        }
        if failures.iter().any(|failed| Arc::ptr_eq(&failed.file, self)) {
            return self.write_each(leave, records, None, unwritten, failures);
        }
        match self.append(leave, records) {
            Ok(()) => self.count_written(records, tally),
            Err(errno) if unwritten.is_kept_after(errno) => self.keep(records, unwritten),
            Err(errno) => self.write_each(leave, records, Some(errno), unwritten, failures),
        }
    }

    /// Writes the kept records. Returns whether there is room to keep more after that.
    fn write_kept(
        self: &Arc<Self>,
        leave: &Leave<P>,
        unwritten: &mut Unwritten<P>,
        failures: &mut Failures<P>,
    ) -> bool {
        if unwritten.kept.is_empty() {
            return true;
        }
        let (kept, charges) = (core::mem::take(&mut unwritten.kept), core::mem::take(&mut unwritten.charges));
        self.write(leave, &kept, None, unwritten, failures);
        drop(charges);
        self.engine.stats.count_off(kept.len());
        if unwritten.kept.is_empty() {
            self.written.store(unwritten.end, Ordering::Release);
        }
        unwritten.kept.len() < KEPT_MAX
    }

    /// Keeps records that the current thread cannot write, and leaves the file to the helper.
    #[cold]
    fn keep(self: &Arc<Self>, records: &[u8], unwritten: &mut Unwritten<P>) {
        if records.is_empty() {
            return;
        }
        unwritten.charges.push(self.pool.budget().charge_anyway(records.len()));
        unwritten.kept.extend_from_slice(records);
        self.engine.stats.queued.add(i64::try_from(records.len()).unwrap_or(i64::MAX));
        if !core::mem::replace(&mut unwritten.is_left, true) {
            self.engine.leave(Arc::clone(self));
        }
    }

    /// Appends records one by one. `error` is the error of the write of all of them, if that was
    /// tried.
    #[cold]
    fn write_each(
        self: &Arc<Self>,
        leave: &Leave<P>,
        mut records: &[u8],
        error: Option<Errno>,
        unwritten: &mut Unwritten<P>,
        failures: &mut Failures<P>,
    ) {
        let mut first = true;
        while let Some((header, record, rest)) = split_record(records) {
            let failed_before =
                failures.iter().any(|failed| failed.pid == header.pid && Arc::ptr_eq(&failed.file, self));
            // A batch of one record was tried already.
            let result = match error {
                Some(errno) if first && rest.is_empty() => Err(errno),
                _ if failed_before => Err(Errno(0)),
                _ => self.append(leave, record),
            };
            if let Err(errno) = result {
                if unwritten.is_kept_after(errno) {
                    return self.keep(records, unwritten);
                }
                self.engine.stats.drop_one(header.kind);
                self.failed.store(true, Ordering::Relaxed);
                if !failed_before {
                    let again = unwritten.failed.contains(&header.pid);
                    if !again {
                        unwritten.failed.push(header.pid);
                    }
                    let (file, end) = (Arc::clone(self), unwritten.end);
                    failures.push(WriteFailed { pid: header.pid, errno, again, file, end });
                }
            } else {
                self.count_records(header.kind, 1);
            }
            records = rest;
            first = false;
        }
    }

    /// Counts records as dropped.
    pub(crate) fn discard(&self, mut records: &[u8]) {
        while let Some((header, _, rest)) = split_record(records) {
            self.engine.stats.drop_one(header.kind);
            records = rest;
        }
    }

    /// Counts records that were written.
    fn count_written(&self, mut records: &[u8], tally: Option<&Tally>) {
        if let Some(tally) = tally {
            return tally.iter().for_each(|(kind, n)| self.count_records(kind, n));
        }
        while let Some((header, _, rest)) = split_record(records) {
            self.count_records(header.kind, 1);
            records = rest;
        }
    }

    fn count_records(&self, kind: Kind, n: u32) {
        self.engine.stats.records.get(kind).add(i64::from(n));
        count(&self.records, u64::from(n));
    }

    #[inline(always)]
    fn append(&self, leave: &Leave<P>, records: &[u8]) -> Result<(), Errno> {
        if records.is_empty() {
            return Ok(());
        }
        let begun = P::ticks();
        self.storage.append(leave, records)?;
        let ticks = P::ticks().wrapping_sub(begun).cast_signed().max(0);
        P::watch(Event::Committed { file: &self.storage, records, ticks: ticks.cast_unsigned() });
        let stats = &self.engine.stats;
        stats.waited.add(ticks);
        stats.commits.add(1);
        stats.bytes.add(i64::try_from(records.len()).unwrap_or(i64::MAX));
        count(&self.commits, 1);
        count(&self.bytes, records.len() as u64);
        Ok(())
    }
}

impl<P: Platform> Unwritten<P> {
    /// Returns whether records are kept after a write failed with `errno`.
    fn is_kept_after(&self, errno: Errno) -> bool {
        self.has_signals && errno.is_interrupted()
    }
}

/// Adds to a counter that only the holder of the commit lock changes.
fn count(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).saturating_add(n), Ordering::Relaxed);
}

impl<P: Platform> Drop for TraceFile<P> {
    /// Takes the file out of the engine's lists. Counts the records in the stream as dropped. They were added while writes to
    /// the file failed, and no process is traced to it any more.
    fn drop(&mut self) {
        let this: *const Self = self;
        Shared::remove(&self.engine.open, this);
        if self.is_buffered.load(Ordering::Relaxed) {
            let mine = |other: &Weak<Self>| core::ptr::eq(other.as_ptr(), this);
            drop(self.engine.buffered.with(|buffered| buffered.remove(mine)));
        }
        debug_assert!(
            self.since().is_none() || self.failed.load(Ordering::Relaxed),
            "records pending in a file that is closed"
        );
        self.stream.with(|stream| {
            self.discard(stream.bytes());
            self.engine.stats.count_off(stream.bytes().len());
        });
        self.engine.stats.files.add(-1);
    }
}

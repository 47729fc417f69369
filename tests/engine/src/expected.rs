//! A model of the engine that is too simple to be wrong: lists of records.
//!
//! It predicts exactly the records in each file, in each stream and in each queue. One thing is
//! left open: whether a record is queued or dropped, between the queue's own room and the limit.

use std::mem;

use ktrace_doubles::{EFBIG, EIO, ENOSPC};
use ktrace_engine::{BATCH_RECORDS_DEFAULT, Pending, Policy, QUEUE_LIMIT_DEFAULT, SEGMENT_LEN};
use ktrace_format::{Kind, PerKind};

/// The number of segments that a queue has of its own after a drain.
const OWN: usize = 2;

/// The files of the model's world: the disk, and the opener's limit. The first two are two openings
/// of one file.
pub(crate) const FILES: [(usize, Option<usize>); 4] = [(0, None), (0, None), (1, None), (2, Some(20_000))];
pub(crate) const DISKS: usize = 3;
pub(crate) const PROCESSES: usize = 3;

/// A record that was made, without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
    /// The length in a file.
    pub(crate) len: usize,
    pub(crate) pid: usize,
    pub(crate) drop: bool,
}

/// The expected fate of a record that is made where sleeping is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The process is not traced.
    Ignored,
    /// The record goes into the stream.
    Gathered,
    /// The record is queued: the queue has room of its own.
    Queued,
    /// The record is dropped, because it would exceed the limit of the queue.
    Dropped,
    /// The engine may queue or drop the record.
    Open,
}

/// The next step of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Done,
    /// A write of the stream.
    Write(usize),
    /// A write of the records that precede the new one in the file.
    Behind(usize),
}

#[derive(Clone, Default)]
pub(crate) struct DiskModel {
    /// The records, with the file that each was written to.
    pub(crate) records: Vec<(usize, Made)>,
    pub(crate) size: usize,
    pub(crate) capacity: Option<usize>,
    pub(crate) dead: bool,
}

struct FileModel {
    stream: Vec<Made>,
    /// The batch size in bytes when the stream got its buffer.
    batch: usize,
    /// The number of times that the stream was taken out to be written.
    taken: u64,
}

struct ProcessModel {
    file: Option<usize>,
    /// The file's `taken` when the process was set to it.
    joined: u64,
    queue: Vec<Segment>,
    /// Whether a record was dropped since the last one that was taken.
    mark: bool,
    /// The number of records to be written at once, and its value at the last drain.
    wanted: u64,
    done: u64,
    abandoned: Option<usize>,
    /// The files that are still to be flushed.
    left: Vec<usize>,
}

struct Segment {
    file: usize,
    free: usize,
    records: Vec<Made>,
}

/// The operations that happen during a write.
type During<'a> = Box<dyn FnOnce(&mut Model) + 'a>;

/// An operation that writes.
pub(crate) struct Operation<'a> {
    /// The operations that happen during the first write.
    during: Option<During<'a>>,
    /// The failures: PID, errno, file, and the file's `taken` after these records were taken out.
    failures: Vec<(usize, i32, usize, u64)>,
    /// The number of failures from earlier calls.
    before: usize,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(during: impl FnOnce(&mut Model) + 'a) -> Self {
        Operation { during: Some(Box::new(during)), failures: Vec::new(), before: 0 }
    }
}

pub(crate) struct Model {
    processes: Vec<ProcessModel>,
    files: Vec<FileModel>,
    pub(crate) disks: Vec<DiskModel>,
    pub(crate) records: PerKind<u64>,
    pub(crate) dropped: PerKind<u64>,
    pub(crate) queued_max: usize,
    pub(crate) helped: u64,
    pub(crate) limit: usize,
    pub(crate) policy: Policy,
    pub(crate) batch_bytes: usize,
    pub(crate) batch_records: usize,
    pub(crate) at_once: u32,
}

impl Model {
    pub(crate) fn new(batch_bytes: usize) -> Self {
        let process = |_| ProcessModel {
            file: None,
            joined: 0,
            queue: Vec::new(),
            mark: false,
            wanted: 0,
            done: 0,
            abandoned: None,
            left: Vec::new(),
        };
        let file = |_| FileModel { stream: Vec::new(), batch: batch_bytes, taken: 0 };
        Model {
            processes: (0..PROCESSES).map(process).collect(),
            files: FILES.iter().map(file).collect(),
            disks: vec![DiskModel::default(); DISKS],
            records: PerKind::default(),
            dropped: PerKind::default(),
            queued_max: 0,
            helped: 0,
            limit: QUEUE_LIMIT_DEFAULT,
            policy: Policy::Batch,
            batch_bytes,
            batch_records: BATCH_RECORDS_DEFAULT,
            at_once: 0,
        }
    }

    pub(crate) fn file(&self, pid: usize) -> Option<usize> {
        self.processes[pid].file
    }

    /// Returns the number of bytes in the queue of a process.
    pub(crate) fn queued(&self, pid: usize) -> usize {
        self.processes[pid].queue.iter().map(|segment| len(&segment.records)).sum()
    }

    /// Returns the number of bytes in all streams and queues.
    pub(crate) fn pending(&self) -> usize {
        let in_streams: usize = self.files.iter().map(|file| len(&file.stream)).sum();
        in_streams + (0..PROCESSES).map(|pid| self.queued(pid)).sum::<usize>()
    }

    pub(crate) fn set(&mut self, pid: usize, file: Option<usize>) {
        let process = &mut self.processes[pid];
        let old = mem::replace(&mut process.file, file);
        process.left.extend(old);
        process.mark = false;
        if let Some(file) = file {
            process.abandoned = None;
            process.joined = self.files[file].taken;
        }
    }

    pub(crate) fn fate(&self, pid: usize, len: usize) -> Fate {
        let process = &self.processes[pid];
        let Some(file) = process.file else { return Fate::Ignored };
        if process.queue.is_empty() && self.fits(file, len, false) {
            return Fate::Gathered;
        }
        let last = process.queue.last().filter(|last| last.file == file && last.free >= len);
        let segments = process.queue.len() + 1;
        if last.is_some() {
            Fate::Queued
        } else if segments > self.limit / SEGMENT_LEN || len > SEGMENT_LEN {
            Fate::Dropped
        } else if segments <= OWN {
            Fate::Queued
        } else {
            Fate::Open
        }
    }

    fn fits(&self, file: usize, record: usize, may_sleep: bool) -> bool {
        let FileModel { stream, batch, .. } = &self.files[file];
        let room = if may_sleep { *batch } else { batch + batch / 8 };
        record <= batch / 4 && len(stream) + record <= room
    }

    fn is_due(&self, file: usize) -> bool {
        let FileModel { stream, batch, .. } = &self.files[file];
        len(stream) >= *batch || stream.len() >= self.batch_records
    }

    /// Puts a record into the stream. Returns what must follow.
    pub(crate) fn gather(&mut self, mut made: Made) -> Pending {
        let process = &mut self.processes[made.pid];
        let Some(file) = process.file else { return Pending::Nothing };
        made.drop = mem::take(&mut process.mark);
        let at_once = made.kind.facility() & self.at_once != 0;
        process.wanted += u64::from(at_once);
        self.files[file].stream.push(made);
        let waits = self.policy == Policy::Batch && !self.is_due(file) && !at_once;
        if waits { Pending::Nothing } else { Pending::Drain }
    }

    pub(crate) fn enqueue(&mut self, mut made: Made) {
        let process = &mut self.processes[made.pid];
        let Some(file) = process.file else { return };
        let (pid, len) = (made.pid, made.len);
        made.drop = mem::take(&mut process.mark);
        process.wanted += u64::from(made.kind.facility() & self.at_once != 0);
        match process.queue.last_mut().filter(|last| last.file == file && last.free >= len) {
            Some(last) => {
                last.free -= len;
                last.records.push(made);
            }
            None => process.queue.push(Segment { file, free: SEGMENT_LEN - len, records: vec![made] }),
        }
        self.queued_max = self.queued_max.max(self.queued(pid));
    }

    pub(crate) fn drop_queued(&mut self, pid: usize, kind: Kind) {
        self.processes[pid].mark = true;
        *self.dropped.get_mut(kind) += 1;
    }

    /// Makes a record where sleeping is allowed. Returns what must follow.
    pub(crate) fn commit(&mut self, operation: &mut Operation<'_>, made: &Made) -> Pending {
        let at_once = made.kind.facility() & self.at_once != 0;
        let last_of_call = self.policy == Policy::Return && made.kind == Kind::Sysret;
        let policy = if at_once || last_of_call { Policy::Record } else { self.policy };
        let mut step = self.put(policy, made);
        while let Step::Behind(file) = step {
            step = self.commit_behind(operation, policy, made, file);
        }
        if let Step::Write(file) = step {
            self.write_stream(operation, file);
        }
        if policy == Policy::Return { Pending::Drain } else { Pending::Nothing }
    }

    fn put(&mut self, policy: Policy, made: &Made) -> Step {
        let process = &mut self.processes[made.pid];
        let Some(file) = process.file else { return Step::Done };
        if !process.queue.is_empty() || !self.fits(file, made.len, true) {
            return Step::Behind(file);
        }
        let drop = mem::take(&mut self.processes[made.pid].mark);
        self.files[file].stream.push(Made { drop, ..made.clone() });
        match policy {
            Policy::Record => Step::Write(file),
            Policy::Batch if self.is_due(file) => Step::Write(file),
            _ => Step::Done,
        }
    }

    fn commit_behind(
        &mut self,
        operation: &mut Operation<'_>,
        policy: Policy,
        made: &Made,
        file: usize,
    ) -> Step {
        let stream = self.take_stream(file);
        let queued = self.take_queue(made.pid, file);
        let mut step = self.put(policy, made);
        let mut alone = Vec::new();
        if let Step::Behind(_) = step {
            let drop = mem::take(&mut self.processes[made.pid].mark);
            alone.push(Made { drop, ..made.clone() });
            step = Step::Done;
        }
        self.write_taken(operation, file, [stream, queued, alone].concat());
        step
    }

    /// Drains a process on its return to user mode.
    pub(crate) fn drain(&mut self, operation: &mut Operation<'_>, pid: usize) {
        let ProcessModel { wanted, done, file, .. } = self.processes[pid];
        self.write_queue(operation, pid);
        if let Some(file) = file
            && (done < wanted || self.policy != Policy::Batch || self.is_due(file))
        {
            self.write_stream(operation, file);
        }
        self.processes[pid].done = wanted;
    }

    /// Flushes the files that the process does not trace to any more.
    pub(crate) fn finish(&mut self, operation: &mut Operation<'_>, pid: usize) {
        for file in mem::take(&mut self.processes[pid].left) {
            operation.before = operation.failures.len();
            self.write_queue(operation, pid);
            self.write_stream(operation, file);
        }
    }

    /// Writes on the process's behalf, as another thread.
    pub(crate) fn help(&mut self, operation: &mut Operation<'_>, pid: usize) {
        let process = &self.processes[pid];
        let Some(file) = process.queue.first().map(|first| first.file).or(process.file) else { return };
        if process.queue.iter().all(|segment| segment.file == file) {
            let any = !process.queue.is_empty() || !self.files[file].stream.is_empty();
            self.helped += u64::from(any);
            self.write_to(operation, pid, file);
        }
    }

    fn write_queue(&mut self, operation: &mut Operation<'_>, pid: usize) {
        let files = self.processes[pid].queue.chunk_by(|one, next| one.file == next.file).count();
        for _ in 0..files {
            let Some(first) = self.processes[pid].queue.first() else { return };
            self.write_to(operation, pid, first.file);
        }
    }

    fn write_to(&mut self, operation: &mut Operation<'_>, pid: usize, file: usize) {
        let (stream, queued) = (self.take_stream(file), self.take_queue(pid, file));
        self.write_taken(operation, file, [stream, queued].concat());
    }

    fn write_stream(&mut self, operation: &mut Operation<'_>, file: usize) {
        if !self.files[file].stream.is_empty() {
            let stream = self.take_stream(file);
            self.write_taken(operation, file, stream);
        }
    }

    fn take_stream(&mut self, file: usize) -> Vec<Made> {
        let file = &mut self.files[file];
        file.taken += 1;
        file.batch = self.batch_bytes;
        mem::take(&mut file.stream)
    }

    fn take_queue(&mut self, pid: usize, file: usize) -> Vec<Made> {
        let queue = &mut self.processes[pid].queue;
        let taken = queue.extract_if(.., |segment| segment.file == file);
        taken.flat_map(|segment| segment.records).collect()
    }

    fn write_taken(&mut self, operation: &mut Operation<'_>, file: usize, records: Vec<Made>) {
        let taken = self.files[file].taken;
        for made in records {
            if let Some(during) = operation.during.take() {
                during(self);
            }
            let failed = |(pid, _, of, _): &(usize, i32, usize, u64)| (*pid, *of) == (made.pid, file);
            if operation.failures[operation.before..].iter().any(failed) {
                *self.dropped.get_mut(made.kind) += 1;
                continue;
            }
            let pid = made.pid;
            if let Some(errno) = self.append(file, made) {
                operation.failures.push((pid, errno, file, taken));
            }
        }
    }

    fn append(&mut self, file: usize, made: Made) -> Option<i32> {
        let (disk, limit) = FILES[file];
        let disk = &mut self.disks[disk];
        let size = disk.size + made.len;
        let error = if disk.dead {
            Some(EIO)
        } else if limit.is_some_and(|limit| size > limit) {
            Some(EFBIG)
        } else if disk.capacity.is_some_and(|capacity| size > capacity) {
            Some(ENOSPC)
        } else {
            None
        };
        let counters = if error.is_some() { &mut self.dropped } else { &mut self.records };
        *counters.get_mut(made.kind) += 1;
        if error.is_none() {
            disk.size = size;
            disk.records.push((file, made));
        }
        error.map(|errno| errno.0)
    }

    /// Ends the tracing of processes whose records could not be written. Returns the reported PIDs
    /// and errnos.
    pub(crate) fn settle(&mut self, operation: Operation<'_>) -> Vec<(i32, i32)> {
        let mut told = Vec::new();
        for (pid, errno, file, taken) in operation.failures {
            let before = self.processes[pid].abandoned == Some(file);
            if self.processes[pid].file == Some(file) && self.processes[pid].joined < taken {
                self.abandon(pid, file);
            } else if before {
                continue;
            }
            told.push((pid as i32, errno));
        }
        told
    }

    /// Ends tracing to the file, and drops the records queued for it.
    fn abandon(&mut self, pid: usize, file: usize) {
        for made in self.take_queue(pid, file) {
            *self.dropped.get_mut(made.kind) += 1;
        }
        let process = &mut self.processes[pid];
        (process.file, process.mark, process.abandoned) = (None, false, Some(file));
    }
}

/// Returns the length of some records in bytes.
fn len(records: &[Made]) -> usize {
    records.iter().map(|made| made.len).sum()
}

//! A model of the engine that is too simple to be wrong: lists of records.
//!
//! It says exactly what is in each file, and leaves only one thing open: whether a record is
//! queued or dropped, between the room that is promised and the limit.

use ktrace_engine::{QUEUE_LIMIT_DEFAULT, SEGMENT_LEN};
use ktrace_format::{Kind, PerKind};
use ktrace_sim::{EFBIG, EIO, ENOSPC};

/// Segments that a queue can hold at the least, if its limit allows.
const PROMISED: usize = 8;

/// The files of the model's world: which disk, and its opener's limit. The first two are two
/// openings of one file.
pub(crate) const FILES: [(usize, Option<usize>); 4] = [(0, None), (0, None), (1, None), (2, Some(6000))];
pub(crate) const DISKS: usize = 3;
pub(crate) const PROCESSES: usize = 3;

/// A record that was made; its time is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
    /// Length in a file.
    pub(crate) len: usize,
    pub(crate) pid: usize,
    pub(crate) drop: bool,
}

/// What is to become of a record that is made where sleeping is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody wants it.
    Ignored,
    /// There is room that was promised.
    Queued,
    /// The limit would be passed.
    Dropped,
    /// The engine may do either.
    Open,
}

#[derive(Clone, Default)]
pub(crate) struct DiskModel {
    pub(crate) records: Vec<Made>,
    pub(crate) size: usize,
    pub(crate) capacity: Option<usize>,
    pub(crate) dead: bool,
}

struct ProcessModel {
    file: Option<usize>,
    queue: Vec<(usize, Made)>,
    bytes: usize,
    /// A record was dropped since the last one that got through.
    mark: bool,
    /// The limit when the queue was last drained, and the room asked for then.
    limit: usize,
    room: usize,
    packing: Packing,
    /// What a drain took out of the queue, and the record to be written after it.
    in_flight: Vec<(usize, Made)>,
    synchronous: Option<(usize, Made)>,
}

/// Segments that records fill if each goes behind the last one or into a new segment.
#[derive(Clone, Copy, Default)]
struct Packing {
    segments: usize,
    free: usize,
    file: usize,
}

impl Packing {
    fn with(self, file: usize, len: usize) -> Self {
        if self.segments > 0 && self.file == file && len <= self.free {
            return Packing { free: self.free - len, ..self };
        }
        Packing { segments: self.segments + 1, free: SEGMENT_LEN.saturating_sub(len), file }
    }
}

pub(crate) struct Model {
    processes: Vec<ProcessModel>,
    pub(crate) disks: Vec<DiskModel>,
    pub(crate) records: PerKind<u64>,
    pub(crate) dropped: PerKind<u64>,
    pub(crate) queued_max: usize,
    pub(crate) limit: usize,
}

impl Model {
    pub(crate) fn new() -> Self {
        let process = |_| ProcessModel {
            file: None,
            queue: Vec::new(),
            bytes: 0,
            mark: false,
            limit: QUEUE_LIMIT_DEFAULT,
            room: 0,
            packing: Packing::default(),
            in_flight: Vec::new(),
            synchronous: None,
        };
        Model {
            processes: (0..PROCESSES).map(process).collect(),
            disks: vec![DiskModel::default(); DISKS],
            records: PerKind::default(),
            dropped: PerKind::default(),
            queued_max: 0,
            limit: QUEUE_LIMIT_DEFAULT,
        }
    }

    pub(crate) fn file(&self, pid: usize) -> Option<usize> {
        self.processes[pid].file
    }

    pub(crate) fn queued(&self, pid: usize) -> usize {
        self.processes[pid].bytes
    }

    pub(crate) fn set(&mut self, pid: usize, file: Option<usize>) {
        self.processes[pid].file = file;
        self.processes[pid].mark = false;
    }

    pub(crate) fn fate(&self, pid: usize, len: usize) -> Fate {
        let process = &self.processes[pid];
        let Some(file) = process.file else { return Fate::Ignored };
        let promised = PROMISED.max(process.room.div_ceil(SEGMENT_LEN)).min(process.limit / SEGMENT_LEN);
        if process.bytes + len > process.limit {
            Fate::Dropped
        } else if len <= SEGMENT_LEN && process.packing.with(file, len).segments <= promised {
            Fate::Queued
        } else {
            Fate::Open
        }
    }

    pub(crate) fn enqueue(&mut self, mut made: Made) {
        let process = &mut self.processes[made.pid];
        let Some(file) = process.file else { return };
        process.packing = process.packing.with(file, made.len);
        process.bytes += made.len;
        made.drop = std::mem::take(&mut process.mark);
        self.queued_max = self.queued_max.max(process.bytes);
        process.queue.push((file, made));
    }

    pub(crate) fn drop_queued(&mut self, pid: usize, kind: Kind) {
        self.processes[pid].mark = true;
        *self.dropped.get_mut(kind) += 1;
    }

    /// A drain, or a commit of `made`, takes what is queued and sees to room for more.
    pub(crate) fn take(&mut self, pid: usize, room: usize, made: Option<Made>) {
        let process = &mut self.processes[pid];
        process.in_flight = std::mem::take(&mut process.queue);
        process.bytes = 0;
        process.packing = Packing::default();
        (process.limit, process.room) = (self.limit, room);
        process.synchronous = made.and_then(|made| {
            let drop = std::mem::take(&mut process.mark);
            Some((process.file?, Made { drop, ..made }))
        });
    }

    /// What was taken is written. The errno that the engine is to return, if any.
    pub(crate) fn write(&mut self, pid: usize) -> Option<i32> {
        let mut failed = Vec::new();
        let mut result = None;
        for (file, made) in std::mem::take(&mut self.processes[pid].in_flight) {
            if failed.contains(&file) {
                *self.dropped.get_mut(made.kind) += 1;
            } else if let Some(errno) = self.append(file, made) {
                self.abandon(pid, file);
                failed.push(file);
                result = Some(errno);
            }
        }
        let Some((file, made)) = self.processes[pid].synchronous.take() else { return result };
        if failed.contains(&file) && self.processes[pid].file != Some(file) {
            *self.dropped.get_mut(made.kind) += 1;
            return result;
        }
        let written = self.append(file, made);
        if written.is_some() {
            self.abandon(pid, file);
        }
        result.or(written)
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
            disk.records.push(made);
        }
        error.map(|errno| errno.0)
    }

    /// Tracing to the file ends, and what is queued for it is dropped.
    fn abandon(&mut self, pid: usize, file: usize) {
        if self.processes[pid].file != Some(file) {
            return;
        }
        self.set(pid, None);
        let process = &mut self.processes[pid];
        process.queue.retain(|(of, made)| {
            if *of == file {
                process.bytes -= made.len;
                *self.dropped.get_mut(made.kind) += 1;
            }
            *of != file
        });
    }
}

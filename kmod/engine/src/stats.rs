//! What all traces of the system share: the limit of a queue, and the statistics.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use ktrace_format::{Kind, PerKind};

use crate::{Counter, Errno, Platform, SEGMENT_LEN};

/// Bytes that one process may have queued, unless set otherwise.
pub const QUEUE_LIMIT_DEFAULT: usize = 256 * 1024;

/// Least that the limit can be set to: one segment.
pub const QUEUE_LIMIT_MIN: usize = SEGMENT_LEN;

/// Most that the limit can be set to.
pub const QUEUE_LIMIT_MAX: usize = 16 * 1024 * 1024;

/// Milliseconds in which a process's records are written wherever it is, unless set otherwise.
pub const LATENCY_DEFAULT: u32 = 50;

/// Most that it can be set to; the least is one.
pub const LATENCY_MAX: u32 = 10_000;

const EINVAL: Errno = Errno(22);

/// Shared by all traces.
pub struct Engine<P: Platform> {
    queue_limit: AtomicUsize,
    latency: AtomicU32,
    /// What has happened so far.
    pub stats: Stats<P>,
}

/// Counters since the module was loaded. A record that was made is in a file, or in a
/// queue, or counted as dropped.
pub struct Stats<P: Platform> {
    /// Records written to trace files.
    pub records: PerKind<P::Counter>,
    /// Records that no trace file holds: the queue was full, or writing failed.
    pub dropped: PerKind<P::Counter>,
    /// Bytes written to trace files.
    pub bytes: P::Counter,
    /// Successful writes to trace files.
    pub commits: P::Counter,
    /// Times that another thread wrote for a process that was overdue.
    pub helped: P::Counter,
    /// Bytes that wait in queues now.
    pub queued: P::Counter,
    /// Processes that are traced now.
    pub procs: P::Counter,
    /// Trace files that are open now.
    pub files: P::Counter,
    queued_max: AtomicU64,
}

impl<P: Platform> Engine<P> {
    /// An engine with the default limit and all counters zero. May sleep.
    pub fn new() -> Self {
        Engine {
            queue_limit: AtomicUsize::new(QUEUE_LIMIT_DEFAULT),
            latency: AtomicU32::new(LATENCY_DEFAULT),
            stats: Stats {
                records: PerKind::from_fn(|_| P::Counter::new()),
                dropped: PerKind::from_fn(|_| P::Counter::new()),
                bytes: P::Counter::new(),
                commits: P::Counter::new(),
                helped: P::Counter::new(),
                queued: P::Counter::new(),
                procs: P::Counter::new(),
                files: P::Counter::new(),
                queued_max: AtomicU64::new(0),
            },
        }
    }

    /// Bytes that one process may have queued.
    pub fn queue_limit(&self) -> usize {
        self.queue_limit.load(Relaxed)
    }

    /// Sets how many bytes one process may have queued; takes effect as queues are drained.
    ///
    /// `EINVAL` (22) outside of [`QUEUE_LIMIT_MIN`] and [`QUEUE_LIMIT_MAX`].
    pub fn set_queue_limit(&self, bytes: usize) -> Result<(), Errno> {
        if !(QUEUE_LIMIT_MIN..=QUEUE_LIMIT_MAX).contains(&bytes) {
            return Err(EINVAL);
        }
        self.queue_limit.store(bytes, Relaxed);
        Ok(())
    }

    /// Milliseconds after which a record that its process has not written is overdue: see
    /// [`ProcTrace::is_overdue`](crate::ProcTrace::is_overdue).
    pub fn latency(&self) -> u32 {
        self.latency.load(Relaxed)
    }

    /// Sets the latency.
    ///
    /// `EINVAL` (22) for zero and for more than [`LATENCY_MAX`].
    pub fn set_latency(&self, milliseconds: u32) -> Result<(), Errno> {
        if !(1..=LATENCY_MAX).contains(&milliseconds) {
            return Err(EINVAL);
        }
        self.latency.store(milliseconds, Relaxed);
        Ok(())
    }
}

impl<P: Platform> Default for Engine<P> {
    fn default() -> Self {
        Engine::new()
    }
}

impl<P: Platform> Stats<P> {
    /// Most bytes that one process has had queued at once.
    pub fn queued_max(&self) -> u64 {
        self.queued_max.load(Relaxed)
    }

    /// Notes that a process has `bytes` queued.
    pub(crate) fn note_queued(&self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes > self.queued_max.load(Relaxed) {
            self.queued_max.fetch_max(bytes, Relaxed);
        }
    }

    /// Counts a record that no file will hold.
    pub(crate) fn drop_one(&self, kind: Kind) {
        self.dropped.get(kind).add(1);
    }

    /// Sum over all types.
    pub fn total(counters: &PerKind<P::Counter>) -> u64 {
        counters.iter().fold(0, |sum: u64, (_, counter)| sum.wrapping_add(counter.fetch()))
    }
}

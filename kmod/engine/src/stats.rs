//! The state shared by all traces of the system: the settings and the statistics.

use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use ktrace_format::{Kind, PerKind};

use crate::file::Open;
use crate::help::{Buffered, Left, Waiting};
use crate::list::{List, Rounds};
use crate::pool::SharedPool;
use crate::{Counter, Event, Mutex, Platform, Settings};

/// The state shared by all traces.
pub struct Engine<P: Platform> {
    /// The settings of all traces.
    pub settings: Settings,
    /// The statistics of all traces.
    pub stats: Stats<P>,
    /// The files that others may [share](crate::TraceFile::shared).
    pub(crate) open: P::Mutex<List<Open<P>>>,
    pub(crate) left: P::Mutex<Left<P>>,
    pub(crate) waiting: P::Mutex<Waiting<P>>,
    /// Number of checks of the waiting list so far.
    pub(crate) looks: AtomicU32,
    pub(crate) buffered: P::Mutex<Buffered<P>>,
    /// Second of the last call of [`Engine::free_idle`] that did something.
    pub(crate) freed: AtomicI64,
    /// The pools of all users.
    pub(crate) pools: P::Mutex<List<SharedPool<P>>>,
    /// Bytes of memory that are charged to users.
    pub(crate) memory_used: AtomicUsize,
}

/// Counters since the module was loaded. A record that was made is in a file, is waiting to be
/// written, or is counted as dropped.
pub struct Stats<P: Platform> {
    /// Records written to trace files.
    pub records: PerKind<P::Counter>,
    /// Records that no trace file holds: the queue was full, or the write failed.
    pub dropped: PerKind<P::Counter>,
    /// Bytes written to trace files.
    pub bytes: P::Counter,
    /// Successful writes to trace files.
    pub commits: P::Counter,
    /// Times that another thread wrote for a process that was overdue, or wrote a file that was
    /// left.
    pub helped: P::Counter,
    /// Time that writes to trace files took, in units of [`Platform::ticks`].
    pub waited: P::Counter,
    /// Bytes that wait in streams and queues now, or are kept after an interrupted write.
    pub queued: P::Counter,
    /// Processes that are traced now.
    pub procs: P::Counter,
    /// Traces that exist now, those of processes that are no longer traced among them.
    pub traces: P::Counter,
    /// Trace files that are open now.
    pub files: P::Counter,
    queued_max: AtomicU64,
}

impl<P: Platform> Engine<P> {
    /// Creates an engine with the default settings and all counters zero. May sleep.
    pub fn new() -> Self {
        Engine {
            settings: Settings::new(),
            stats: Stats {
                records: PerKind::from_fn(|_| P::Counter::new()),
                dropped: PerKind::from_fn(|_| P::Counter::new()),
                bytes: P::Counter::new(),
                commits: P::Counter::new(),
                helped: P::Counter::new(),
                waited: P::Counter::new(),
                queued: P::Counter::new(),
                procs: P::Counter::new(),
                traces: P::Counter::new(),
                files: P::Counter::new(),
                queued_max: AtomicU64::new(0),
            },
            open: P::Mutex::new(c"ktrace_rs open", List::new()),
            left: P::Mutex::new(c"ktrace_rs left", Rounds::new()),
            waiting: P::Mutex::new(c"ktrace_rs waiting", Rounds::new()),
            looks: AtomicU32::new(0),
            buffered: P::Mutex::new(c"ktrace_rs buffered", Rounds::new()),
            freed: AtomicI64::new(0),
            pools: P::Mutex::new(c"ktrace_rs pools", List::new()),
            memory_used: AtomicUsize::new(0),
        }
    }

    /// Returns the memory in bytes that traces use for records.
    pub fn memory_used(&self) -> usize {
        self.memory_used.load(Relaxed)
    }
}

impl<P: Platform> Default for Engine<P> {
    fn default() -> Self {
        Engine::new()
    }
}

impl<P: Platform> Stats<P> {
    /// Returns the greatest number of bytes that the queue of one process has held.
    pub fn queued_max(&self) -> u64 {
        self.queued_max.load(Relaxed)
    }

    /// Notes that the queue of a process holds `bytes` now.
    pub(crate) fn note_queued(&self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes > self.queued_max.load(Relaxed) {
            self.queued_max.fetch_max(bytes, Relaxed);
        }
    }

    /// Subtracts bytes that no longer wait from `queued`.
    pub(crate) fn count_off(&self, bytes: usize) {
        self.queued.add(i64::try_from(bytes).unwrap_or(i64::MAX).wrapping_neg());
    }

    /// Counts a record that no file will hold as dropped.
    pub(crate) fn drop_one(&self, kind: Kind) {
        P::watch(Event::Dropped { kind });
        self.dropped.get(kind).add(1);
    }

    /// Returns the sum over all types.
    pub fn total(counters: &PerKind<P::Counter>) -> u64 {
        counters.iter().fold(0, |sum: u64, (_, counter)| sum.wrapping_add(counter.fetch()))
    }
}

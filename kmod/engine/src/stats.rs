//! What all traces of the system share: the settings, and the statistics.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ktrace_format::{Kind, PerKind};

use crate::left::Left;
use crate::{Counter, Event, Mutex, Platform, Settings};

/// Shared by all traces.
pub struct Engine<P: Platform> {
    /// How they work.
    pub settings: Settings,
    /// What has happened so far.
    pub stats: Stats<P>,
    /// Lock of the files that are left to the helper; last, as the stream lock.
    pub(crate) left: P::Mutex<Option<Box<Left<P>>>>,
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
    /// Time that writes to trace files took, in units of [`Platform::ticks`].
    pub waited: P::Counter,
    /// Bytes that wait in streams and queues now.
    pub queued: P::Counter,
    /// Processes that are traced now.
    pub procs: P::Counter,
    /// Trace files that are open now.
    pub files: P::Counter,
    queued_max: AtomicU64,
}

impl<P: Platform> Engine<P> {
    /// An engine with the default settings and all counters zero. May sleep.
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
                files: P::Counter::new(),
                queued_max: AtomicU64::new(0),
            },
            left: P::Mutex::new(c"ktrace_rs left", None),
        }
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

    /// Counts off bytes that do not wait any more.
    pub(crate) fn count_off(&self, bytes: usize) {
        self.queued.add(i64::try_from(bytes).unwrap_or(i64::MAX).wrapping_neg());
    }

    /// Counts a record that no file will hold.
    pub(crate) fn drop_one(&self, kind: Kind) {
        P::watch(Event::Dropped { kind });
        self.dropped.get(kind).add(1);
    }

    /// Sum over all types.
    pub fn total(counters: &PerKind<P::Counter>) -> u64 {
        counters.iter().fold(0, |sum: u64, (_, counter)| sum.wrapping_add(counter.fetch()))
    }
}

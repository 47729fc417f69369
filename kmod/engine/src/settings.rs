//! What can be set while processes are traced: honoured at once, and by all traces.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};

use ktrace_format::Timespec;

use crate::{Errno, SEGMENT_LEN};

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

/// Bytes of a batch, unless set otherwise.
pub const BATCH_BYTES_DEFAULT: usize = 64 * 1024;
/// Least that a batch can be set to.
pub const BATCH_BYTES_MIN: usize = 8 * 1024;
/// Most that a batch can be set to.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Records of a batch, unless set otherwise: as many as there is room for.
pub const BATCH_RECORDS_DEFAULT: usize = BATCH_RECORDS_MAX;
/// Most that it can be set to; the least is one.
pub const BATCH_RECORDS_MAX: usize = 1_000_000;

const EINVAL: Errno = Errno(22);

/// When records are written to their file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Policy {
    /// Each at once by the thread that makes it, where that may sleep, and otherwise before that
    /// is back in user mode.
    Record,
    /// Before the thread that makes them is back in user mode.
    Return,
    /// When a batch has been gathered.
    Batch,
}

impl Policy {
    /// All of them, in the order of their numbers.
    pub const ALL: [Policy; 3] = [Policy::Record, Policy::Return, Policy::Batch];

    /// `record`, `return`, `batch`.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::Record => "record",
            Policy::Return => "return",
            Policy::Batch => "batch",
        }
    }
}

/// The settings of all traces.
pub struct Settings {
    queue_limit: AtomicUsize,
    latency: AtomicU32,
    policy: AtomicU8,
    batch_bytes: AtomicUsize,
    batch_records: AtomicUsize,
    at_once: AtomicU32,
}

impl Settings {
    pub(crate) const fn new() -> Self {
        Settings {
            queue_limit: AtomicUsize::new(QUEUE_LIMIT_DEFAULT),
            latency: AtomicU32::new(LATENCY_DEFAULT),
            policy: AtomicU8::new(Policy::Batch as u8),
            batch_bytes: AtomicUsize::new(BATCH_BYTES_DEFAULT),
            batch_records: AtomicUsize::new(BATCH_RECORDS_DEFAULT),
            at_once: AtomicU32::new(0),
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

    /// Milliseconds in which records are written wherever their process is.
    pub fn latency(&self) -> u32 {
        self.latency.load(Relaxed)
    }

    /// Sets the latency. Takes effect as batches begin; whoever looks for what is
    /// [overdue](crate::ProcTrace::is_overdue) has it take effect at once.
    ///
    /// `EINVAL` (22) for zero and for more than [`LATENCY_MAX`].
    pub fn set_latency(&self, milliseconds: u32) -> Result<(), Errno> {
        if !(1..=LATENCY_MAX).contains(&milliseconds) {
            return Err(EINVAL);
        }
        self.latency.store(milliseconds, Relaxed);
        Ok(())
    }

    /// When a record of that time, with those after it, is a batch.
    pub(crate) fn due_at(&self, time: Timespec) -> Timespec {
        let nsec = time.nsec.saturating_add(i64::from(self.latency()).saturating_mul(500_000));
        Timespec { sec: time.sec.saturating_add(nsec / 1_000_000_000), nsec: nsec % 1_000_000_000 }
    }

    /// When records are written.
    pub fn policy(&self) -> Policy {
        match self.policy.load(Relaxed) {
            0 => Policy::Record,
            1 => Policy::Return,
            _ => Policy::Batch,
        }
    }

    /// Sets when records are written.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(policy as u8, Relaxed);
    }

    /// Bytes of a batch.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes.load(Relaxed)
    }

    /// Sets the bytes of a batch; takes effect as batches are written.
    ///
    /// `EINVAL` (22) outside of [`BATCH_BYTES_MIN`] and [`BATCH_BYTES_MAX`].
    pub fn set_batch_bytes(&self, bytes: usize) -> Result<(), Errno> {
        if !(BATCH_BYTES_MIN..=BATCH_BYTES_MAX).contains(&bytes) {
            return Err(EINVAL);
        }
        self.batch_bytes.store(bytes, Relaxed);
        Ok(())
    }

    /// Most records of a batch.
    pub fn batch_records(&self) -> usize {
        self.batch_records.load(Relaxed)
    }

    /// Sets the most records of a batch.
    ///
    /// `EINVAL` (22) for zero and for more than [`BATCH_RECORDS_MAX`].
    pub fn set_batch_records(&self, records: usize) -> Result<(), Errno> {
        if !(1..=BATCH_RECORDS_MAX).contains(&records) {
            return Err(EINVAL);
        }
        self.batch_records.store(records, Relaxed);
        Ok(())
    }

    /// Types of record (`KTRFAC_…`) that are written as under [`Policy::Record`] under every policy.
    pub fn at_once(&self) -> u32 {
        self.at_once.load(Relaxed)
    }

    /// Sets which types are written as under [`Policy::Record`] under every policy.
    pub fn set_at_once(&self, facilities: u32) {
        self.at_once.store(facilities, Relaxed);
    }
}

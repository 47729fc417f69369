//! The settings of all traces. They may be changed while processes are traced, and apply to traces
//! that are already running.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};

use ktrace_format::Timespec;

use crate::{Errno, SEGMENT_LEN};

/// Default limit of the bytes in the queue of one process.
pub const QUEUE_LIMIT_DEFAULT: usize = 256 * 1024;
/// Least value of the queue limit: one segment.
pub const QUEUE_LIMIT_MIN: usize = SEGMENT_LEN;
/// Greatest value of the queue limit.
pub const QUEUE_LIMIT_MAX: usize = 16 * 1024 * 1024;

/// Limit of the memory of all traces, in bytes, until it is set.
pub const MEMORY_LIMIT_DEFAULT: usize = 64 * 1024 * 1024;
/// Limit of the memory of one user's traces, in bytes, until it is set.
pub const USER_MEMORY_LIMIT_DEFAULT: usize = MEMORY_LIMIT_DEFAULT / 4;

/// Default latency: milliseconds within which the records of a process are written, wherever the
/// process is.
pub const LATENCY_DEFAULT: u32 = 50;
/// Greatest latency; the least is one millisecond.
pub const LATENCY_MAX: u32 = 10_000;

/// Default size of a batch in bytes.
pub const BATCH_BYTES_DEFAULT: usize = 64 * 1024;
/// Least size of a batch in bytes.
pub const BATCH_BYTES_MIN: usize = 8 * 1024;
/// Greatest size of a batch in bytes.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Default number of records of a batch: as many as there is room for.
pub const BATCH_RECORDS_DEFAULT: usize = BATCH_RECORDS_MAX;
/// Greatest number of records of a batch; the least is one.
pub const BATCH_RECORDS_MAX: usize = 1_000_000;

const EINVAL: Errno = Errno(22);

/// Policy that says when records are written to their file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Policy {
    /// Each record is written at once by the thread that makes it, if that thread may sleep.
    /// Otherwise it is written before the thread returns to user mode.
    Record,
    /// Records are written before the thread that makes them returns to user mode.
    Return,
    /// Records are written when a batch has been gathered.
    Batch,
}

impl Policy {
    /// All policies, in the order of their numbers.
    pub const ALL: [Policy; 3] = [Policy::Record, Policy::Return, Policy::Batch];

    /// Returns the name of the policy: `record`, `return` or `batch`.
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
    memory_limit: AtomicUsize,
    user_memory_limit: AtomicUsize,
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
            memory_limit: AtomicUsize::new(MEMORY_LIMIT_DEFAULT),
            user_memory_limit: AtomicUsize::new(USER_MEMORY_LIMIT_DEFAULT),
        }
    }

    /// Returns the limit of the bytes in the queue of one process.
    pub fn queue_limit(&self) -> usize {
        self.queue_limit.load(Relaxed)
    }

    /// Sets the limit of the bytes in the queue of one process. Takes effect on records that are
    /// queued later.
    ///
    /// `EINVAL` (22) outside of [`QUEUE_LIMIT_MIN`] and [`QUEUE_LIMIT_MAX`].
    pub fn set_queue_limit(&self, bytes: usize) -> Result<(), Errno> {
        if !(QUEUE_LIMIT_MIN..=QUEUE_LIMIT_MAX).contains(&bytes) {
            return Err(EINVAL);
        }
        self.queue_limit.store(bytes, Relaxed);
        Ok(())
    }

    /// Returns the latency: milliseconds within which records are written, wherever their process
    /// is.
    pub fn latency(&self) -> u32 {
        self.latency.load(Relaxed)
    }

    /// Sets the latency. Takes effect on batches that begin later. A thread that checks for
    /// [overdue](crate::ProcTrace::is_overdue) processes applies it at once.
    ///
    /// `EINVAL` (22) for zero and for more than [`LATENCY_MAX`].
    pub fn set_latency(&self, milliseconds: u32) -> Result<(), Errno> {
        if !(1..=LATENCY_MAX).contains(&milliseconds) {
            return Err(EINVAL);
        }
        self.latency.store(milliseconds, Relaxed);
        Ok(())
    }

    /// Returns the time at which a batch becomes due: half of the latency after `time`, at which
    /// its first record was added.
    pub(crate) fn due_at(&self, time: Timespec) -> Timespec {
        let nsec = time.nsec.saturating_add(i64::from(self.latency()).saturating_mul(500_000));
        Timespec { sec: time.sec.saturating_add(nsec / 1_000_000_000), nsec: nsec % 1_000_000_000 }
    }

    /// Returns the policy.
    pub fn policy(&self) -> Policy {
        match self.policy.load(Relaxed) {
            0 => Policy::Record,
            1 => Policy::Return,
            _ => Policy::Batch,
        }
    }

    /// Sets the policy.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(policy as u8, Relaxed);
    }

    /// Returns the size of a batch in bytes.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes.load(Relaxed)
    }

    /// Sets the size of a batch in bytes. Takes effect on a file when a batch is written to it.
    ///
    /// `EINVAL` (22) outside of [`BATCH_BYTES_MIN`] and [`BATCH_BYTES_MAX`].
    pub fn set_batch_bytes(&self, bytes: usize) -> Result<(), Errno> {
        if !(BATCH_BYTES_MIN..=BATCH_BYTES_MAX).contains(&bytes) {
            return Err(EINVAL);
        }
        self.batch_bytes.store(bytes, Relaxed);
        Ok(())
    }

    /// Returns the number of records at which a batch is complete.
    pub fn batch_records(&self) -> usize {
        self.batch_records.load(Relaxed)
    }

    /// Sets the number of records at which a batch is complete.
    ///
    /// `EINVAL` (22) for zero and for more than [`BATCH_RECORDS_MAX`].
    pub fn set_batch_records(&self, records: usize) -> Result<(), Errno> {
        if !(1..=BATCH_RECORDS_MAX).contains(&records) {
            return Err(EINVAL);
        }
        self.batch_records.store(records, Relaxed);
        Ok(())
    }

    /// Returns the record types (`KTRFAC_…`) that are written as under [`Policy::Record`] under
    /// every policy.
    pub fn at_once(&self) -> u32 {
        self.at_once.load(Relaxed)
    }

    /// Sets the record types that are written as under [`Policy::Record`] under every policy.
    pub fn set_at_once(&self, facilities: u32) {
        self.at_once.store(facilities, Relaxed);
    }

    /// Returns the limit of the memory of all traces, in bytes. Only root may use the last eighth.
    pub fn memory_limit(&self) -> usize {
        self.memory_limit.load(Relaxed)
    }

    /// Sets the limit of the memory of all traces, in bytes. Takes effect on memory that is
    /// allocated later.
    pub fn set_memory_limit(&self, bytes: usize) {
        self.memory_limit.store(bytes, Relaxed);
    }

    /// Returns the limit of the memory of one user's traces, in bytes.
    pub fn user_memory_limit(&self) -> usize {
        self.user_memory_limit.load(Relaxed)
    }

    /// Sets the limit of the memory of one user's traces, in bytes. Takes effect on memory that is
    /// allocated later.
    pub fn set_user_memory_limit(&self, bytes: usize) {
        self.user_memory_limit.store(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use core::fmt::Debug;

    use super::*;

    /// Checks that values out of range are refused with `EINVAL` and change nothing, and that others
    /// are set.
    fn check<T: Copy + Debug + PartialEq>(
        get: impl Fn(&Settings) -> T,
        set: impl Fn(&Settings, T) -> Result<(), Errno>,
        default: T,
        refused: &[T],
        accepted: &[T],
    ) {
        let settings = Settings::new();
        assert_eq!(get(&settings), default);
        for value in accepted {
            assert_eq!(set(&settings, *value), Ok(()));
            assert_eq!(get(&settings), *value);
            for refused in refused {
                assert_eq!(set(&settings, *refused), Err(EINVAL), "{refused:?}");
                assert_eq!(get(&settings), *value);
            }
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        check(
            Settings::queue_limit,
            Settings::set_queue_limit,
            QUEUE_LIMIT_DEFAULT,
            &[0, 1, QUEUE_LIMIT_MIN - 1, QUEUE_LIMIT_MAX + 1, usize::MAX],
            &[QUEUE_LIMIT_MIN, QUEUE_LIMIT_MAX],
        );
        check(
            Settings::latency,
            Settings::set_latency,
            LATENCY_DEFAULT,
            &[0, LATENCY_MAX + 1, u32::MAX],
            &[1, LATENCY_MAX],
        );
        check(
            Settings::batch_bytes,
            Settings::set_batch_bytes,
            BATCH_BYTES_DEFAULT,
            &[0, 1, BATCH_BYTES_MIN - 1, BATCH_BYTES_MAX + 1, usize::MAX],
            &[BATCH_BYTES_MIN, BATCH_BYTES_MIN + 1, BATCH_BYTES_MAX],
        );
        check(
            Settings::batch_records,
            Settings::set_batch_records,
            BATCH_RECORDS_DEFAULT,
            &[0, BATCH_RECORDS_MAX + 1, usize::MAX],
            &[1, BATCH_RECORDS_MAX],
        );
    }

    #[test]
    fn policies_and_their_names() {
        let settings = Settings::new();
        assert_eq!(settings.policy(), Policy::Batch);
        for policy in Policy::ALL {
            settings.set_policy(policy);
            assert_eq!(settings.policy(), policy);
        }
        assert_eq!(Policy::ALL.map(Policy::name), ["record", "return", "batch"]);
    }

    #[test]
    fn types_that_are_written_at_once() {
        let settings = Settings::new();
        assert_eq!(settings.at_once(), 0);
        settings.set_at_once(u32::MAX);
        assert_eq!(settings.at_once(), u32::MAX);
    }
}

//! Time: the host's, or, where the schedule is a seed's, a number that grows when it is read.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kernel_sys as sys;

use crate::flaw::{self, Other};
use crate::heap::JUNK;
use crate::host::{config, current};
use crate::{heap, kvar};

/// 2026-01-01, in seconds.
const EPOCH: u64 = 1_767_225_600;
/// What the clock of its own grows by when it is read, in nanoseconds.
const STEP: u64 = 1000;

static TICKS: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds since the start; never less than before.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    if config().deterministic {
        return TICKS.fetch_add(STEP, Ordering::Relaxed) + STEP;
    }
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A switch to another thread takes as long, too.
pub(crate) fn pass() {
    TICKS.fetch_add(2 * STEP, Ordering::Relaxed);
}

/// Sets the clock of its own forward to `time`.
pub(crate) fn advance_to(time: u64) {
    TICKS.fetch_max(time, Ordering::Relaxed);
}

/// A time that nobody has written to.
pub(crate) fn junk() -> sys::timespec {
    let word = i64::from_ne_bytes(JUNK);
    sys::timespec { tv_sec: word, tv_nsec: word }
}

pub(crate) unsafe extern "C" fn nanotime(time: *mut sys::timespec) {
    let mut now = now();
    if flaw::shows(Other::ClockBack, 100) {
        now = 0;
    }
    if flaw::shows(Other::OrderReversed, 100) {
        current().proc().lock();
        current().proc().unlock();
    }
    if flaw::shows(Other::SleepUnderLock, 100) {
        // SAFETY: a type of the kernel's.
        unsafe { heap::malloc(64, kvar::m_iov(), sys::M_WAITOK.cast_signed()) };
    }
    // SAFETY: the caller's.
    unsafe {
        (*time).tv_sec = (EPOCH + now / 1_000_000_000).cast_signed();
        (*time).tv_nsec = (now % 1_000_000_000).cast_signed();
    }
}

/// What `cpu_ticks` points to: a tick is a nanosecond here.
pub(crate) unsafe extern "C" fn ticks() -> u64 {
    now()
}

pub(crate) unsafe extern "C" fn cputick2usec(ticks: u64) -> u64 {
    ticks / 1000
}

/// Nanoseconds of a `sbintime_t`.
pub(crate) fn nanoseconds(time: sys::sbintime_t) -> u64 {
    let ns = (i128::from(time) * 1_000_000_000) >> 32;
    u64::try_from(ns).unwrap_or(0)
}

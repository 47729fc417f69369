//! Time. The host's clock, or in a deterministic schedule a number that grows on each read.

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
/// The step by which each read advances the deterministic clock, in nanoseconds.
const STEP: u64 = 1000;

static TICKS: AtomicU64 = AtomicU64::new(0);

/// Returns the nanoseconds since the start. Never goes backwards.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    if config().deterministic {
        return TICKS.fetch_add(STEP, Ordering::Relaxed) + STEP;
    }
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Advances the deterministic clock by the time that a switch of threads takes.
pub(crate) fn pass() {
    TICKS.fetch_add(2 * STEP, Ordering::Relaxed);
}

/// Sets the deterministic clock forward to `time`.
pub(crate) fn advance_to(time: u64) {
    TICKS.fetch_max(time, Ordering::Relaxed);
}

/// Returns a time value that stands for uninitialised memory.
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
        // SAFETY: the type is one of the kernel's.
        unsafe { heap::malloc(64, kvar::m_iov(), sys::M_WAITOK.cast_signed()) };
    }
    // SAFETY: the caller keeps the contract of this kernel function.
    unsafe {
        (*time).tv_sec = (EPOCH + now / 1_000_000_000).cast_signed();
        (*time).tv_nsec = (now % 1_000_000_000).cast_signed();
    }
}

/// Reads the CPU's ticks. `cpu_ticks` points to this function; a tick is a nanosecond here.
pub(crate) unsafe extern "C" fn ticks() -> u64 {
    now()
}

pub(crate) unsafe extern "C" fn cputick2usec(ticks: u64) -> u64 {
    ticks / 1000
}

/// Converts an `sbintime_t` to nanoseconds.
pub(crate) fn nanoseconds(time: sys::sbintime_t) -> u64 {
    let ns = (i128::from(time) * 1_000_000_000) >> 32;
    u64::try_from(ns).unwrap_or(0)
}

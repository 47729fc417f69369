//! Per-CPU counters (counter(9)).

use kernel_sys as sys;

use crate::machine::counter_u64_add;

/// A counter with a part for each CPU. Adding to it takes no lock and touches no shared cache line.
pub(crate) struct CpuCounter(sys::counter_u64_t);

// SAFETY: all CPUs may use a counter(9) at once.
unsafe impl Send for CpuCounter {}
// SAFETY: as above.
unsafe impl Sync for CpuCounter {}

impl CpuCounter {
    /// Returns the kernel's counter, which the entries add to.
    pub(crate) fn as_ptr(&self) -> sys::counter_u64_t {
        self.0
    }
}

impl ktrace_engine::Counter for CpuCounter {
    /// Allocates a counter. May sleep.
    fn new() -> Self {
        // SAFETY: counters are allocated at load, where sleeping is allowed.
        CpuCounter(unsafe { sys::counter_u64_alloc(sys::M_WAITOK.cast_signed()) })
    }

    fn add(&self, n: i64) {
        // SAFETY: the counter lives as long as self.
        unsafe { counter_u64_add(self.0, n) };
    }

    fn fetch(&self) -> u64 {
        // SAFETY: the counter lives as long as self.
        unsafe { sys::counter_u64_fetch(self.0) }
    }
}

impl Drop for CpuCounter {
    fn drop(&mut self) {
        // SAFETY: nobody else uses the counter any more. entry::count_with() requires it to outlive
        // its use by the entries.
        unsafe { sys::counter_u64_free(self.0) };
    }
}

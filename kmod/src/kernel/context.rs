//! What the caller's context allows, as values.

use core::marker::PhantomData;

use kernel_sys as sys;

use super::proc::CurrentThread;

/// Proof that the caller may sleep: it holds no mutex, no spin lock, and is in no
/// interrupt, epoch or critical section (locking(9)).
#[derive(Clone, Copy)]
pub(crate) struct MaySleep(PhantomData<*const ()>);

impl MaySleep {
    /// # Safety
    ///
    /// The caller may sleep, for as long as the value is used.
    pub(crate) unsafe fn new() -> Self {
        MaySleep(PhantomData)
    }
}

/// The current thread is inside the tracer (`TDP_INKTRACE`): it makes no records, and what
/// it writes is limited by the trace file's limit, not by its own.
pub(crate) struct InKtrace {
    thread: CurrentThread,
}

impl InKtrace {
    /// Enters the tracer; `None` if the thread is inside it already.
    pub(crate) fn enter() -> Option<Self> {
        let thread = CurrentThread::get();
        if thread.is_in_ktrace() {
            return None;
        }
        // SAFETY: td_pflags belongs to its thread alone, which is the current one.
        unsafe { (*thread.as_ptr()).td_pflags |= sys::TDP_INKTRACE.cast_signed() };
        Some(InKtrace { thread })
    }

    /// The current thread.
    pub(crate) fn thread(&self) -> CurrentThread {
        self.thread
    }
}

impl Drop for InKtrace {
    fn drop(&mut self) {
        // SAFETY: as in enter().
        unsafe { (*self.thread.as_ptr()).td_pflags &= !sys::TDP_INKTRACE.cast_signed() };
    }
}

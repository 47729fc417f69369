//! Values that prove the context of the caller.

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
    /// The caller may sleep for as long as the value is in use.
    pub(crate) unsafe fn new() -> Self {
        MaySleep(PhantomData)
    }
}

/// The presence of the current thread inside the tracer (`TDP_INKTRACE`).
///
/// Meanwhile the thread makes no records. Its writes are subject to the trace file's size limit,
/// not to its own.
pub(crate) struct InKtrace {
    thread: CurrentThread,
}

impl InKtrace {
    /// Enters the tracer. Returns `None` if the thread is already inside.
    pub(crate) fn enter() -> Option<Self> {
        let thread = CurrentThread::get();
        if thread.is_in_ktrace() {
            return None;
        }
        // SAFETY: td_pflags is private to its thread, which is the current one.
        unsafe { (*thread.as_ptr()).td_pflags |= sys::TDP_INKTRACE.cast_signed() };
        Some(InKtrace { thread })
    }

    /// Returns the current thread.
    pub(crate) fn thread(&self) -> CurrentThread {
        self.thread
    }
}

impl Drop for InKtrace {
    fn drop(&mut self) {
        // SAFETY: as in enter(). The value is not Send, so the current thread is the one that
        // entered.
        unsafe { (*self.thread.as_ptr()).td_pflags &= !sys::TDP_INKTRACE.cast_signed() };
    }
}

//! Values that prove the context of the caller.

use core::marker::PhantomData;
use core::sync::atomic::{Ordering, compiler_fence};

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
        let flags = thread.pflags();
        flags.store(flags.load(Ordering::Relaxed) | sys::TDP_INKTRACE.cast_signed(), Ordering::Relaxed);
        // Before the thread loads its trace. barrier() orders the CPU: see kernel::retire.
        compiler_fence(Ordering::SeqCst);
        Some(InKtrace { thread })
    }

    /// Returns the current thread.
    pub(crate) fn thread(&self) -> CurrentThread {
        self.thread
    }
}

impl Drop for InKtrace {
    fn drop(&mut self) {
        // The value is not Send, so the current thread is the one that entered. Behind its last use
        // of the trace: see kernel::retire.
        let flags = self.thread.pflags();
        flags.store(flags.load(Ordering::Relaxed) & !sys::TDP_INKTRACE.cast_signed(), Ordering::Release);
    }
}

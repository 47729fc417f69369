//! Retirement: detaching the traces of processes that live on and are no longer traced.
//!
//! A thread inside the tracer ([`InKtrace`](super::context::InKtrace)) uses the trace of its process
//! without a lock. It first sets `TDP_INKTRACE`, and then loads `p_ktrioparms`. A trace is therefore
//! retired in three steps:
//!
//! 1. It is marked in `p_ktrioparms`, with the process locked.
//! 2. Every CPU passes a memory [`barrier`].
//! 3. It is detached, with the process locked, if no thread of the process is inside the tracer.
//!
//! A thread that loads the pointer behind the barrier of its CPU finds the mark, and takes that for
//! no trace. A thread that has loaded it before had set `TDP_INKTRACE` before that, so step 3 sees
//! the flag until the thread leaves the tracer. A thread that was not running has passed the barrier
//! of a CPU, too: the scheduler orders its stores on the last CPU before its loads on the next one.
//! A new thread is on the list of its process before it runs, and an exiting one stays there until
//! it has entered the tracer for the last time.
//!
//! The mark is no obstacle for threads that have the process locked. A process that is traced again
//! loses it, and keeps its trace. So does one with a thread inside the tracer, until a later
//! attempt. A process that exits meanwhile detaches its trace itself.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use super::context::MaySleep;
use super::proc::{AllProc, ProcLocked, ProcTree};
use super::stop::barrier;
use crate::platform::Trace;

/// Set while a thread retires traces. Between the steps of one thread, no other may set a mark:
/// it would not have passed that thread's barrier.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Retires the traces of up to `most` processes that are not traced and have nothing queued.
/// Returns the references of these processes, to be dropped where sleeping is allowed. Does nothing
/// if another thread is at it. May sleep.
pub(crate) fn retire_traces(may_sleep: MaySleep, most: usize) -> Vec<Arc<Trace>> {
    // Not allocated under the locks: the page daemon may need the list to free memory.
    let mut retired = Vec::with_capacity(most);
    if BUSY.swap(true, Ordering::Acquire) {
        return retired;
    }
    let mut marked: usize = 0;
    {
        let all_processes = AllProc::lock(may_sleep);
        for p in all_processes.processes().filter(|p| p.has_trace() && p.traceflag() == 0) {
            let p = p.lock();
            if marked < most && is_unneeded(&p) {
                p.begin_retiring();
                marked = marked.saturating_add(1);
            }
        }
    }
    if marked != 0 {
        barrier();
        let all_processes = AllProc::lock(may_sleep);
        for p in all_processes.processes().filter(|p| p.is_retiring()) {
            // There is room for all: no others are marked than those above.
            retired.extend(end_retiring(&p.lock()));
        }
    }
    BUSY.store(false, Ordering::Release);
    retired
}

/// Returns whether the process does not need its trace, and probably will not keep it either. A
/// thread may hang in the tracer, and must not cause a barrier at each attempt.
fn is_unneeded(p: &ProcLocked<'_>) -> bool {
    // Stays so with the process locked: no thread begins to trace it, and without a file nothing is
    // queued.
    let is_idle = |trace: &Trace| !trace.is_traced() && trace.queued() == 0;
    p.proc().traceflag() == 0 && p.trace().is_some_and(is_idle) && !p.is_in_ktrace()
}

/// Detaches a marked trace, or removes the mark. The barrier is passed.
fn end_retiring(p: &ProcLocked<'_>) -> Option<Arc<Trace>> {
    if !p.proc().is_retiring() {
        return None;
    }
    if p.is_in_ktrace() || ProcTree::may_have_seen(p) {
        p.keep_trace();
        return None;
    }
    // SAFETY: the trace was marked before the barrier. A thread of the process that got a reference
    // before has left the tracer, and one that enters gets none, as explained above.
    unsafe { p.detach() }
}

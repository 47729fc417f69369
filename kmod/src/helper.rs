//! The helper: writes for processes that cannot do it themselves.
//!
//! Whoever makes a record writes it, at the latest when it returns to user mode. A process that
//! stays in the kernel does not get there: asleep, its last records would reach the file when it
//! wakes up; busy, its queue could become full. The helper writes for these; and for those whose write a signal has
//! interrupted (NFS with `intr`, FUSE), as it gets none itself. It writes for nobody else.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use ktrace_engine::{Counter as _, Errno, LATENCY_MAX, Platform as _};

use crate::kernel::context::{InKtrace, MaySleep};
use crate::kernel::kproc::Worker;
use crate::kernel::proc::gather_traced;
use crate::module;
use crate::platform::{Kernel, Trace};
use crate::points::write_failed;

/// The worker of the helper that runs; null where there is none.
static WORKER: AtomicPtr<Worker> = AtomicPtr::new(core::ptr::null_mut());

/// The helper, from load to unload.
///
/// Dropping it waits until it is gone. May sleep. No other thread may be inside the module.
pub(crate) struct Helper {
    _worker: Box<Worker>,
}

impl Helper {
    /// Starts the helper, which has nothing to do until [`module::engine`] returns something. An
    /// errno of kproc_create(9) if that fails. May sleep.
    pub(crate) fn start(may_sleep: MaySleep) -> Result<Helper, Errno> {
        let worker = Box::new(Worker::start(may_sleep, c"ktrace_rs", work)?);
        WORKER.store((&raw const *worker).cast_mut(), Ordering::Release);
        Ok(Helper { _worker: worker })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        WORKER.store(core::ptr::null_mut(), Ordering::Release);
    }
}

/// Has the helper look for something to do: a process begins to be traced, or a queue fills up
/// faster than its process empties it. Default mutexes may be held.
pub(crate) fn wake() {
    // SAFETY: the worker stays until no thread is inside the module.
    if let Some(worker) = unsafe { WORKER.load(Ordering::Acquire).as_ref() } {
        worker.wake();
    }
}

/// Milliseconds since the oldest record was made that is not written yet; zero if all are. May
/// sleep.
pub(crate) fn oldest(may_sleep: MaySleep) -> u64 {
    let oldest = module::with_engine(|_| {
        traced(may_sleep).into_iter().filter_map(|Traced { trace, .. }| trace.since()).min()
    });
    oldest.flatten().map_or(0, |oldest| Kernel::now().since(oldest) / 1_000_000)
}

/// The looks so far; zero is none.
static LOOKS: AtomicU32 = AtomicU32::new(0);

/// Writes whatever is overdue, and returns when to look again. While nobody is traced, and nothing waits, that is
/// seldom: whoever begins to trace wakes it.
fn work(may_sleep: MaySleep) -> Option<u32> {
    module::with_engine(|engine| {
        let _inside = InKtrace::enter()?;
        if engine.stats.queued.fetch() != 0 {
            write_overdue(may_sleep);
        }
        write_failed(engine.help_left(may_sleep));
        // Something is overdue when it is found twice; a fifth of the latency is for sleeps that take
        // longer, and for the write.
        Some(if engine.stats.procs.fetch() == 0 && engine.stats.queued.fetch() == 0 {
            LATENCY_MAX
        } else {
            (engine.settings.latency().saturating_mul(2) / 5).max(1)
        })
    })
    .flatten()
}

/// Writes for those that do not get to it.
fn write_overdue(may_sleep: MaySleep) {
    let look = LOOKS.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
    for Traced { room, trace } in traced(may_sleep) {
        if trace.is_overdue(look) {
            write_failed(may_sleep, trace.help(may_sleep, room));
        }
    }
}

/// A process that is traced, or was.
struct Traced {
    room: usize,
    trace: Arc<Trace>,
}

/// All of them, for [`module::with_engine`]. No process is locked any more, so that one may take one's time to look at them.
fn traced(may_sleep: MaySleep) -> Vec<Traced> {
    gather_traced(may_sleep, |p, give| {
        // A reference that is not kept is not the last one: the process has another.
        if let Some(trace) = p.clone_trace() {
            give(Traced { room: p.proc().queue_room(), trace });
        }
    })
}

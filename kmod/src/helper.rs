//! The helper, which writes for processes that cannot write themselves.
//!
//! Each thread writes its own records, at the latest when it returns to user mode. A thread that
//! stays in the kernel does not get there. If it sleeps, its last records would reach the file only
//! when it wakes up. If it is busy, the queue of its process could become full. The helper writes
//! for such processes. It also writes for threads whose write was interrupted by a signal (NFS with
//! `intr`, FUSE), because it receives no signals itself. It writes for no other processes.
//!
//! It also frees the traces of processes that are no longer traced.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use ktrace_engine::{Counter as _, Errno, LATENCY_MAX, Platform as _};
use ktrace_format::Timespec;

use crate::entry::counted;
use crate::kernel::context::{InKtrace, MaySleep};
use crate::kernel::kproc::{Work, Worker};
use crate::kernel::proc::gather_traced;
use crate::kernel::retire::retire_traces;
use crate::kernel::vnode::{TraceVnode, close_left, is_left_open};
use crate::module;
use crate::platform::{Engine, Kernel, Trace};
use crate::points::write_failed;

/// Number of helpers. Each begins to help when the one before it hangs in a write. While as many
/// file systems hang as there are helpers, all other file systems wait.
const HELPERS: usize = 3;

/// The least time between two attempts to retire traces, in milliseconds. At an attempt, some
/// processes may have a thread inside the tracer.
const RETIRE_PAUSE: u32 = 250;

/// The time of the last attempt to retire traces, in nanoseconds since 1970.
static RETIRED: AtomicU64 = AtomicU64::new(0);

/// The state of a helper.
struct State {
    /// The helper's worker; null if it has none.
    worker: AtomicPtr<Worker>,
    /// The number of beginnings and ends of writes: odd during a write.
    writes: AtomicU32,
    /// The value of `writes` that the next helper has seen.
    seen: AtomicU32,
    /// The file system that the helper writes to; zero if it is not writing.
    mount: AtomicUsize,
}

impl State {
    const fn new() -> Self {
        State {
            worker: AtomicPtr::new(core::ptr::null_mut()),
            writes: AtomicU32::new(0),
            seen: AtomicU32::new(0),
            mount: AtomicUsize::new(0),
        }
    }

    fn worker(&self) -> Option<&Worker> {
        // SAFETY: the worker exists until no thread is inside the module.
        unsafe { self.worker.load(Ordering::Acquire).as_ref() }
    }

    fn is_current(&self) -> bool {
        self.worker().is_some_and(Worker::is_current)
    }

    fn wake(&self) {
        if let Some(worker) = self.worker() {
            worker.wake();
        }
    }

    fn is_writing(&self) -> bool {
        self.writes.load(Ordering::Acquire) % 2 == 1
    }

    /// Returns whether the helper is still in the same write as at the previous call.
    fn hangs(&self) -> bool {
        let writes = self.writes.load(Ordering::Acquire);
        writes % 2 == 1 && self.seen.swap(writes, Ordering::Relaxed) == writes
    }
}

static STATES: [State; HELPERS] = [const { State::new() }; HELPERS];

/// The state of the closer. It closes files whose last reference a helper had, because a close may
/// hang, too.
static CLOSER: State = State::new();

/// The helpers, from load to unload.
///
/// Dropping this waits until their processes are gone. May sleep. No other thread may be inside the
/// module.
pub(crate) struct Helper {
    // In the order in which drop waits for them.
    _workers: Vec<Running>,
}

/// A worker that other threads may wake.
struct Running {
    state: &'static State,
    _worker: Box<Worker>,
}

impl Running {
    fn start(
        may_sleep: MaySleep,
        state: &'static State,
        name: &'static CStr,
        work: Work,
    ) -> Result<Self, Errno> {
        let worker = Box::new(Worker::start(may_sleep, name, work)?);
        state.worker.store((&raw const *worker).cast_mut(), Ordering::Release);
        Ok(Running { state, _worker: worker })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.worker.store(core::ptr::null_mut(), Ordering::Release);
    }
}

impl Helper {
    /// Starts the helpers, which have nothing to do until [`module::with_engine_to_the_end`] finds
    /// an engine. Returns the errno if kproc_create(9) fails. May sleep.
    pub(crate) fn start(may_sleep: MaySleep) -> Result<Helper, Errno> {
        let [first, second, third] = &STATES;
        let workers: [(&State, &CStr, Work); HELPERS + 1] = [
            (first, c"ktrace_rs", work::<0>),
            (second, c"ktrace_rs standby", work::<1>),
            (third, c"ktrace_rs standby", work::<2>),
            (&CLOSER, c"ktrace_rs closer", close),
        ];
        let start = |(state, name, work)| Running::start(may_sleep, state, name, work);
        Ok(Helper { _workers: workers.into_iter().map(start).collect::<Result<_, _>>()? })
    }
}

/// Wakes a helper: a process begins to be traced, or is no longer traced, or a queue fills up faster
/// than its process empties it. Default mutexes may be held.
pub(crate) fn wake() {
    // A helper may be traced itself, and its context switch may call this with its own mutex held.
    if STATES.iter().chain([&CLOSER]).any(State::is_current) {
        return;
    }
    for state in &STATES {
        state.wake();
        if !state.is_writing() {
            return;
        }
    }
}

/// Returns the age of the oldest unwritten record in milliseconds; zero if all are written. May
/// sleep.
pub(crate) fn oldest(may_sleep: MaySleep) -> u64 {
    let oldest = module::with_engine(|_| {
        // If a reference is dropped here, it is not the last one: the process holds another.
        let traces = gather_traced(may_sleep, |p, give| p.clone_trace().into_iter().for_each(give));
        traces.iter().filter_map(|trace: &Arc<Trace>| trace.since()).min()
    });
    oldest.flatten().map_or(0, |oldest| Kernel::now().since(oldest) / 1_000_000)
}

/// A write of a helper, which may hang. Until it ends, the next helper is awake, and no other
/// helper writes to the same file system.
struct Writing(&'static State);

impl Writing {
    /// Begins a write of helper `n` to a file system. Returns `None` if another helper is in such a
    /// write.
    fn begin(n: usize, mount: usize) -> Option<Self> {
        let state = STATES.get(n)?;
        let is_taken = |other: &State| {
            !core::ptr::eq(state, other) && mount != 0 && other.mount.load(Ordering::Acquire) == mount
        };
        if STATES.iter().any(is_taken) {
            return None;
        }
        wake_closer();
        state.mount.store(mount, Ordering::Release);
        state.writes.fetch_add(1, Ordering::AcqRel);
        if let Some(next) = STATES.get(n.saturating_add(1)) {
            next.wake();
        }
        Some(Writing(state))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writes.fetch_add(1, Ordering::AcqRel);
        self.0.mount.store(0, Ordering::Release);
    }
}

fn wake_closer() {
    if is_left_open() {
        CLOSER.wake();
    }
}

/// Closes the files that helpers have left open.
fn close(may_sleep: MaySleep) -> Option<u32> {
    counted(|| close_left(may_sleep));
    None
}

/// Returns how many traces there are of processes that are not traced.
fn unneeded(engine: &Engine) -> usize {
    let (traces, procs) = (engine.stats.traces.fetch(), engine.stats.procs.fetch());
    usize::try_from(traces.wrapping_sub(procs).cast_signed()).unwrap_or(0)
}

/// Retires and frees the traces of processes that are no longer traced, if the last attempt is long
/// enough ago. An unload takes the traces off all processes itself. May sleep.
fn retire(may_sleep: MaySleep, engine: &Engine) {
    let most = unneeded(engine);
    if most == 0 || module::is_leaving() {
        return;
    }
    let now = Kernel::now().since(Timespec::default());
    // The clock may have been set back.
    let elapsed = now.wrapping_sub(RETIRED.load(Ordering::Relaxed)) / 1_000_000;
    if elapsed >= u64::from(RETIRE_PAUSE) {
        RETIRED.store(now, Ordering::Relaxed);
        drop(retire_traces(may_sleep, most));
    }
}

/// Writes overdue records as helper `N`, and frees traces that are no longer needed. A standby does
/// so only if the helper before it hangs. Returns the time until the next check. While no process
/// has a trace and no record waits, checks are rare: a thread that begins to trace wakes the helper.
fn work<const N: usize>(may_sleep: MaySleep) -> Option<u32> {
    module::with_engine_to_the_end(|engine| {
        if let Some(before) = N.checked_sub(1).and_then(|before| STATES.get(before))
            && !before.hangs()
        {
            return before.is_writing().then(|| engine.settings.latency());
        }
        // The helper may have been traced itself, and has its own trace retired: it is not inside.
        retire(may_sleep, engine);
        let _inside = InKtrace::enter()?;
        if engine.stats.queued.fetch() != 0 {
            engine.help_overdue(
                may_sleep,
                |file| Writing::begin(N, file.map_or(0, TraceVnode::mount)),
                |failures| write_failed(may_sleep, failures),
            );
        }
        write_failed(may_sleep, engine.help_left(may_sleep, |file| Writing::begin(N, file.mount())));
        engine.free_idle(may_sleep);
        wake_closer();
        // A record is overdue when two checks have found it. The remaining fifth of the latency is
        // for sleeps that take longer, and for the write.
        let pause = if engine.stats.procs.fetch() == 0 && engine.stats.queued.fetch() == 0 {
            LATENCY_MAX
        } else {
            (engine.settings.latency().saturating_mul(2) / 5).max(1)
        };
        Some(if unneeded(engine) == 0 { pause } else { pause.min(RETIRE_PAUSE) })
    })
    .flatten()
}

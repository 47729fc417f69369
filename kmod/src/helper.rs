//! The helper: writes for processes that cannot do it themselves.
//!
//! Whoever makes a record writes it, at the latest when it returns to user mode. A process that
//! stays in the kernel does not get there: asleep, its last records would reach the file when it
//! wakes up; busy, its queue could become full. The helper writes for these; and for those whose write a signal has
//! interrupted (NFS with `intr`, FUSE), as it gets none itself. It writes for nobody else.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use ktrace_engine::{Counter as _, Errno, LATENCY_MAX, Platform as _};

use crate::entry::counted;
use crate::kernel::context::{InKtrace, MaySleep};
use crate::kernel::kproc::{Work, Worker};
use crate::kernel::proc::gather_traced;
use crate::kernel::vnode::{close_left, is_left_open};
use crate::module;
use crate::platform::{Kernel, Trace};
use crate::points::write_failed;

/// Helpers. Each begins to help when the one before it hangs in a write: while as many file systems hang as there are
/// helpers, the others wait.
const HELPERS: usize = 3;

/// What a helper does.
struct State {
    /// Its worker; null where there is none.
    worker: AtomicPtr<Worker>,
    /// Beginnings and ends of writes: while it is in one, this is odd.
    writes: AtomicU32,
    /// What the next helper has seen of that.
    seen: AtomicU32,
    /// The file system that it writes to; zero while it does not.
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
        // SAFETY: the worker stays until no thread is inside the module.
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

    /// Whether it is in the same write as when this was asked last.
    fn hangs(&self) -> bool {
        let writes = self.writes.load(Ordering::Acquire);
        writes % 2 == 1 && self.seen.swap(writes, Ordering::Relaxed) == writes
    }
}

static STATES: [State; HELPERS] = [const { State::new() }; HELPERS];

/// The state of who closes the files of which a helper had the last reference: that may hang, too.
static CLOSER: State = State::new();

/// The helpers, from load to unload.
///
/// Dropping it waits until they are gone. May sleep. No other thread may be inside the module.
pub(crate) struct Helper {
    // In the order in which they are waited for.
    _workers: Vec<Running>,
}

/// A worker that others may wake.
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
    /// Starts the helpers, which have nothing to do until [`module::engine`] returns something. An
    /// errno of kproc_create(9) if that fails. May sleep.
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

/// Has a helper look for something to do: a process begins to be traced, or a queue fills up
/// faster than its process empties it. Default mutexes may be held.
pub(crate) fn wake() {
    // One of them may be traced, and goes to sleep with its mutex held.
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

/// A helper is in a write, which may hang: the next one is awake until it is over, and no other writes to that file
/// system meanwhile.
struct Writing(&'static State);

impl Writing {
    /// Begins a write of helper `n` to a file system; `None` if another one is in such a write.
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

/// Closes the files that helpers have left.
fn close(may_sleep: MaySleep) -> Option<u32> {
    counted(|| close_left(may_sleep));
    None
}

/// Has helper `N` write whatever is overdue, unless the one before it does; returns when to look again. While nobody is
/// traced, and nothing waits, that is seldom: whoever begins to trace wakes it.
fn work<const N: usize>(may_sleep: MaySleep) -> Option<u32> {
    module::with_engine_to_the_end(|engine| {
        let _inside = InKtrace::enter()?;
        if let Some(before) = N.checked_sub(1).and_then(|before| STATES.get(before))
            && !before.hangs()
        {
            return before.is_writing().then(|| engine.settings.latency());
        }
        if engine.stats.queued.fetch() != 0 {
            write_overdue(may_sleep, N);
        }
        write_failed(may_sleep, engine.help_left(may_sleep, |file| Writing::begin(N, file.mount())));
        wake_closer();
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
fn write_overdue(may_sleep: MaySleep, n: usize) {
    let look = LOOKS.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
    for Traced { room, trace } in traced(may_sleep) {
        if !trace.is_overdue(look) {
            continue;
        }
        let mount = trace.with_file(|file| file.map_or(0, |file| file.storage().mount()));
        if let Some(writing) = Writing::begin(n, mount) {
            let failures = trace.help(may_sleep, room);
            drop(writing);
            write_failed(may_sleep, failures);
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

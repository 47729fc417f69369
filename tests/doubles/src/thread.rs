//! The context of the current thread, checked as a debug kernel checks it.
//!
//! | context | not allowed |
//! | --- | --- |
//! | a stream mutex | any lock, sleeping, allocating, freeing |
//! | a queue mutex | any lock but a stream mutex, sleeping, allocating, freeing |
//! | [`sleepless`] (trace points that cannot sleep) | sleeping, commit locks, allocating, freeing |
//! | a commit lock | another commit lock, waiting in vn_start_write(9) |
//!
//! Mutexes are distinguished by their names, as in witness(4).

use std::cell::Cell;
use std::ffi::CStr;
use std::thread::panicking;

/// The name of queue mutexes. Under them the mutexes of the other names may be taken.
pub const QUEUE: &CStr = c"ktrace_rs queue";
const INNER: [&CStr; 3] = [c"ktrace_rs stream", c"ktrace_rs pool", c"ktrace_rs waiting"];

/// The context of a thread.
#[derive(Clone, Copy)]
struct Context {
    /// The mutex that was taken last.
    mutex: Option<&'static CStr>,
    commit_lock: bool,
    sleepless: bool,
}

const FREE: Context = Context { mutex: None, commit_lock: false, sleepless: false };

thread_local! {
    static CONTEXT: Cell<Context> = const { Cell::new(FREE) };
    /// The number of forbidden uses of memory. The allocator counts them, because it cannot panic.
    static MEMORY_USES: Cell<u32> = const { Cell::new(0) };
}

/// The previous context, restored on drop.
#[must_use = "the context is left when this is dropped"]
pub(crate) struct Entered(Context);

impl Entered {
    fn new(now: Context) -> Self {
        Entered(CONTEXT.replace(now))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CONTEXT.set(self.0);
        let uses = MEMORY_USES.take();
        if uses != 0 && !panicking() {
            panic!("memory was allocated or freed {uses} times where sleeping is not allowed");
        }
    }
}

/// Runs `work` in the context of another thread that runs in this one's place, and holds none of
/// its locks.
pub fn as_another<R>(work: impl FnOnce() -> R) -> R {
    let _entered = Entered::new(FREE);
    work()
}

/// Runs a trace point that may not sleep, because a mutex of the kernel is held.
pub fn sleepless<R>(work: impl FnOnce() -> R) -> R {
    let _entered = Entered::new(Context { sleepless: true, ..CONTEXT.get() });
    work()
}

/// Returns the name of the mutex that the current thread has taken last.
pub fn mutex() -> Option<&'static CStr> {
    CONTEXT.get().mutex
}

/// Panics if the current thread may not sleep.
pub(crate) fn assert_may_sleep(what: &str) {
    let context = CONTEXT.get();
    if panicking() {
        return;
    }
    assert!(context.mutex.is_none(), "{what} under a mutex, whose holder may not sleep");
    assert!(!context.sleepless, "{what} where sleeping is not allowed");
}

/// Panics if the current thread may not take the mutex of this name.
pub(crate) fn assert_may_take(name: &CStr) {
    if let Some(held) = mutex().filter(|_| !panicking()) {
        assert!(held == QUEUE && INNER.contains(&name), "{name:?} was taken under a mutex, {held:?}");
    }
}

/// Panics if the current thread may not take a commit lock.
pub(crate) fn assert_may_take_commit_lock() {
    assert_may_sleep("a commit lock was taken");
    assert!(!CONTEXT.get().commit_lock || panicking(), "a commit lock was taken under another one");
}

/// Panics if the current thread may not wait in vn_start_write(9).
pub(crate) fn assert_may_wait_for_leave() {
    assert_may_sleep("leave to write was waited for");
    assert!(!CONTEXT.get().commit_lock, "leave to write was waited for under a commit lock");
}

/// Enters the context of a mutex, which was just taken.
pub(crate) fn enter_mutex(name: &'static CStr) -> Entered {
    Entered::new(Context { mutex: Some(name), ..CONTEXT.get() })
}

/// Enters the context of a commit lock, which was just taken.
pub(crate) fn enter_commit_lock() -> Entered {
    Entered::new(Context { commit_lock: true, ..CONTEXT.get() })
}

/// Notes that the current thread allocates or frees memory. Never panics, and uses no memory.
pub(crate) fn note_memory_use() {
    let Ok(context) = CONTEXT.try_with(Cell::get) else { return };
    if (context.mutex.is_some() || context.sleepless) && !panicking() {
        // This fails only in a thread that is ending.
        let _ = MEMORY_USES.try_with(|uses| uses.set(uses.get().saturating_add(1)));
    }
}

//! What the current thread may do, checked as a debug kernel checks it.
//!
//! | in | not allowed |
//! | --- | --- |
//! | a stream mutex | any lock, sleeping, allocating, freeing |
//! | a queue mutex | any lock but a stream mutex, sleeping, allocating, freeing |
//! | [`sleepless`] (a trace point that may not sleep) | sleeping, commit locks, allocating, freeing |
//! | a commit lock | another commit lock, waiting for leave to write |
//!
//! Mutexes are told apart by their names, as witness(4) does it.

use std::cell::Cell;
use std::ffi::CStr;
use std::thread::panicking;

/// The mutex that another one may be taken under, and that one.
const ORDER: (&CStr, &CStr) = (c"ktrace_rs queue", c"ktrace_rs stream");

/// What the current thread is in.
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
    /// Uses of memory where that is not allowed, found by the allocator, which cannot panic.
    static MEMORY_USES: Cell<u32> = const { Cell::new(0) };
}

/// The context as it was, restored on drop.
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

/// Panics if the current thread may not sleep.
pub(crate) fn assert_may_sleep(what: &str) {
    let context = CONTEXT.get();
    if panicking() {
        return;
    }
    assert!(context.mutex.is_none(), "{what} under a mutex, whose holder may not sleep");
    assert!(!context.sleepless, "{what} where sleeping is not allowed");
}

/// Runs a trace point at which sleeping is not allowed: a mutex of the kernel is held.
pub fn sleepless<R>(work: impl FnOnce() -> R) -> R {
    let _entered = Entered::new(Context { sleepless: true, ..CONTEXT.get() });
    work()
}

/// The current thread is about to take a mutex.
pub(crate) fn enter_mutex(name: &'static CStr) -> Entered {
    let context = CONTEXT.get();
    if let Some(held) = context.mutex {
        assert!((held, name) == ORDER, "{name:?} was taken under a mutex, {held:?}");
    }
    Entered::new(Context { mutex: Some(name), ..context })
}

/// The current thread is about to wait for leave to write.
pub(crate) fn assert_may_wait_for_leave() {
    assert_may_sleep("leave to write was waited for");
    assert!(!CONTEXT.get().commit_lock, "leave to write was waited for under a commit lock");
}

/// The current thread is about to take a commit lock.
pub(crate) fn enter_commit_lock() -> Entered {
    assert_may_sleep("a commit lock was taken");
    let context = CONTEXT.get();
    assert!(!context.commit_lock, "a commit lock was taken under another one");
    Entered::new(Context { commit_lock: true, ..context })
}

/// Another thread runs on this one's behalf: it holds none of its locks.
pub(crate) fn enter_other_thread() -> Entered {
    Entered::new(FREE)
}

/// Whether the current thread holds a mutex.
pub(crate) fn in_mutex() -> bool {
    CONTEXT.get().mutex.is_some()
}

/// Memory is allocated or freed by the current thread; never panics and uses no memory.
pub(crate) fn note_memory_use() {
    let Ok(context) = CONTEXT.try_with(Cell::get) else { return };
    if (context.mutex.is_some() || context.sleepless) && !panicking() {
        // Without an effect only on a thread that is gone.
        let _ = MEMORY_USES.try_with(|uses| uses.set(uses.get().saturating_add(1)));
    }
}

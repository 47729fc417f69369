//! Lets another thread run between two steps of the engine, deterministically.
//!
//! Every operation of the engine that other threads can see is bracketed by points. A hook,
//! installed for the current thread, runs at each point as if it were another thread on another
//! CPU. It holds none of the interrupted thread's locks, and must not need a lock that the
//! interrupted thread holds: that is a deadlock. The engine's locks report it, but a process lock
//! does not.

use std::cell::RefCell;

use crate::context;

/// The position of the engine when the hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before or after a mutex is held.
    Mutex,
    /// Before or after a commit lock is held.
    CommitLock,
    /// Before a write to a file takes effect.
    Append,
    /// After a write to a file.
    Appended,
    /// Before or after a counter changes.
    Counter,
}

/// The function called at each point.
type Hook = Box<dyn FnMut(Point)>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Runs `work`, and calls `hook` at each point that the current thread reaches. The hook itself is
/// not interrupted.
pub fn with<R>(hook: impl FnMut(Point) + 'static, work: impl FnOnce() -> R) -> R {
    struct Uninstall;
    impl Drop for Uninstall {
        fn drop(&mut self) {
            HOOK.take();
        }
    }
    HOOK.replace(Some(Box::new(hook)));
    let _uninstall = Uninstall;
    work()
}

/// Runs the current thread's hook, unless the thread holds a mutex.
pub(crate) fn point(point: Point) {
    if context::in_mutex() || HOOK.with_borrow(Option::is_none) {
        return;
    }
    let _other = context::enter_other_thread();
    if let Some(mut hook) = HOOK.take() {
        hook(point);
        HOOK.replace(Some(hook));
    }
}

//! Lets another thread in between two steps of the engine, deterministically.
//!
//! Whatever the engine does that other threads can see is bracketed by points. A hook,
//! installed for the current thread, runs at each of them as if it were another thread on
//! another CPU: it holds none of the interrupted thread's locks, and must not need those
//! that the interrupted thread holds: that is a deadlock, which the engine's locks report, but a
//! process lock does not.

use std::cell::RefCell;

use crate::context;

/// Where the engine is when the hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before or after a mutex is held.
    Mutex,
    /// Before or after a commit lock is held.
    CommitLock,
    /// A write to a file begins: it has not begun to take effect.
    Append,
    /// A write to a file was done.
    Appended,
    /// Before or after a counter changes.
    Counter,
}

/// What runs at each point.
type Hook = Box<dyn FnMut(Point)>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Runs `work` with `hook` called at each point that the current thread comes to. The hook
/// itself is not interrupted.
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

/// The current thread is at a point.
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

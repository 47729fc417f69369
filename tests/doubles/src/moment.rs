//! Runs something at a known moment of the engine's work, as another thread would that happens to
//! run then.

use std::cell::RefCell;

use crate::thread;

/// A moment in the engine's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A new record has found no room behind those before it.
    Full,
    /// A write to a file has begun, and has had no effect yet.
    Write,
}

/// The moment, and the function called then.
type Hook = (Moment, Box<dyn FnMut()>);

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Runs `work`, and calls `other` whenever the current thread reaches the moment. `other` must not
/// need a lock that the thread holds. What `other` itself does is not interrupted.
pub fn at<R>(moment: Moment, other: impl FnMut() + 'static, work: impl FnOnce() -> R) -> R {
    struct Uninstall;
    impl Drop for Uninstall {
        fn drop(&mut self) {
            HOOK.take();
        }
    }
    HOOK.replace(Some((moment, Box::new(other))));
    let _uninstall = Uninstall;
    work()
}

/// Notes that the current thread has reached a moment.
pub(crate) fn reached(moment: Moment) {
    if HOOK.with_borrow(|hook| hook.as_ref().is_some_and(|(wanted, _)| *wanted == moment)) {
        let mut hook = HOOK.take();
        thread::as_another(|| hook.iter_mut().for_each(|(_, other)| other()));
        HOOK.replace(hook);
    }
}

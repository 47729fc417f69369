//! Handlers that the kernel calls when a process exits (eventhandler(9)).

use core::ffi::{CStr, c_void};

use kernel_sys as sys;

use super::context::MaySleep;
use super::lock::mtx_unlock;

const PROCESS_EXIT: &CStr = c"process_exit";

/// `exitlist_fn`: a handler, called by the last thread of an exiting process. It may sleep.
pub(crate) type OnExit = unsafe extern "C" fn(*mut c_void, *mut sys::proc_);

/// A registered handler for `process_exit`.
///
/// Dropping it deregisters the handler. It does not wait for threads that run the handler or are
/// about to call it. EVENTHANDLER_DEREGISTER() waits, possibly for ever while processes keep
/// exiting.
pub(crate) struct ExitHandler(sys::eventhandler_tag);

impl ExitHandler {
    /// Registers a handler. May sleep.
    ///
    /// # Safety
    ///
    /// The handler's code stays in memory, also after the value is dropped, until [`may_be_called`]
    /// has returned false and no thread runs the handler any more.
    pub(crate) unsafe fn register(_: MaySleep, handler: OnExit) -> Self {
        let priority = sys::EVENTHANDLER_PRI_ANY.cast_signed();
        let (list, function, argument) =
            (core::ptr::null_mut(), handler as *mut c_void, core::ptr::null_mut());
        // SAFETY: the handler has the type that the event requires. Its code stays, as the caller
        // guarantees.
        ExitHandler(unsafe {
            sys::eventhandler_register(list, PROCESS_EXIT.as_ptr(), function, argument, priority)
        })
    }
}

impl Drop for ExitHandler {
    /// Deregisters the handler. Takes default mutexes.
    fn drop(&mut self) {
        // SAFETY: eventhandler_find_list() returns the list locked, or null. The tag is on the
        // list, and eventhandler_deregister_nowait() unlocks the list.
        unsafe {
            let list = sys::eventhandler_find_list(PROCESS_EXIT.as_ptr());
            if !list.is_null() {
                sys::eventhandler_deregister_nowait(list, self.0);
            }
        }
    }
}

/// Returns whether a thread may be about to call a handler. Takes default mutexes.
///
/// A handler may be called while it is registered. After that it may still be called if an exit had
/// begun to call the handlers before, and other exits have followed since without a pause.
pub(crate) fn may_be_called(handler: OnExit) -> bool {
    // SAFETY: eventhandler_find_list() returns the list locked, or null. Its entries stay while it
    // is locked, and have the type of the event.
    unsafe {
        let list = sys::eventhandler_find_list(PROCESS_EXIT.as_ptr());
        if list.is_null() {
            return false;
        }
        let entries = core::iter::successors(Some((*list).el_entries.tqh_first), |entry| {
            (!entry.is_null()).then(|| (**entry).ee_link.tqe_next)
        });
        let found = entries.take_while(|entry| !entry.is_null()).any(|entry| {
            let function = (*entry.cast::<sys::eventhandler_entry_process_exit>()).eh_func;
            function.is_some_and(|function| function as usize == handler as usize)
        });
        mtx_unlock(&raw mut (*list).el_lock);
        found
    }
}

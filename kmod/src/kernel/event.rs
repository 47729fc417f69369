//! Functions that the kernel calls when a process exits (eventhandler(9)).

use core::ffi::{CStr, c_void};

use kernel_sys as sys;

use super::context::MaySleep;
use super::lock::mtx_unlock;

const PROCESS_EXIT: &CStr = c"process_exit";

/// `exitlist_fn`: is called by the last thread of a process that exits, which may sleep.
pub(crate) type OnExit = unsafe extern "C" fn(*mut c_void, *mut sys::proc_);

/// A handler for `process_exit`, while it is registered.
///
/// Dropping it does not wait, neither for threads that run the handler nor for those on their way to it:
/// EVENTHANDLER_DEREGISTER() does, and for ever where processes go on exiting.
pub(crate) struct ExitHandler(sys::eventhandler_tag);

impl ExitHandler {
    /// Registers a handler. May sleep.
    ///
    /// # Safety
    ///
    /// The handler stays until [`may_be_called`] says no after this was dropped, and no thread runs it any more.
    pub(crate) unsafe fn register(_: MaySleep, handler: OnExit) -> Self {
        let priority = sys::EVENTHANDLER_PRI_ANY.cast_signed();
        let (list, function, argument) =
            (core::ptr::null_mut(), handler as *mut c_void, core::ptr::null_mut());
        // SAFETY: the handler has the type that the event asks for, and stays.
        ExitHandler(unsafe {
            sys::eventhandler_register(list, PROCESS_EXIT.as_ptr(), function, argument, priority)
        })
    }
}

impl Drop for ExitHandler {
    /// Takes default mutexes.
    fn drop(&mut self) {
        // SAFETY: the list is returned locked, if there is one, and unlocked by the second function; the tag is in it.
        unsafe {
            let list = sys::eventhandler_find_list(PROCESS_EXIT.as_ptr());
            if !list.is_null() {
                sys::eventhandler_deregister_nowait(list, self.0);
            }
        }
    }
}

/// Returns whether a thread may be about to call a handler: it is registered, or was so when an exit began to call the
/// handlers, and others have followed without a pause since. Takes default mutexes.
pub(crate) fn may_be_called(handler: OnExit) -> bool {
    // SAFETY: the list is returned locked, if there is one. The entries in it stay while it is locked, and are of the
    // type of the event.
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

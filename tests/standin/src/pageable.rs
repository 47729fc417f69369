//! Memory that may be paged out, as the arguments of an exec are: nobody touches it with a mutex held, as nobody can
//! wait for the disk then.

use std::cell::Cell;
use std::ffi::c_void;

use crate::flaw::{self, Other};
use crate::low::Region;

thread_local! {
    /// What this thread has lent to the module.
    static LENT: Cell<Option<Region>> = const { Cell::new(None) };
}

/// Has `body` use a copy of `bytes` that is paged out while the thread holds a mutex.
pub(crate) fn lend<R>(bytes: &[u8], body: impl FnOnce(*const c_void) -> R) -> R {
    let region = Region::anywhere(bytes.len().max(1));
    // SAFETY: new memory with room for them.
    unsafe { (region.base as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    LENT.set(Some(region));
    let result = body(region.base as *const c_void);
    LENT.set(None);
    region.unmap();
    result
}

/// The thread has a mutex from now on.
pub(crate) fn page_out() {
    if let Some(region) = LENT.get() {
        region.protect(0, region.len, libc::PROT_NONE);
        if flaw::shows(Other::PageableUnderLock, 1) {
            // SAFETY: none; this is the fault that is to be found.
            unsafe { (region.base as *const u8).read_volatile() };
        }
    }
}

/// The thread has no mutex any more.
pub(crate) fn page_in() {
    if let Some(region) = LENT.get() {
        region.protect(0, region.len, libc::PROT_READ);
    }
}

/// Whether an address is in memory that this thread has lent.
pub(crate) fn contains(address: usize) -> bool {
    LENT.get().is_some_and(|region| region.contains(address))
}

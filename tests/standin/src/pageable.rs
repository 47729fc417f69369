//! Memory that may be paged out, as the arguments of an exec. No thread may access it with a mutex
//! held, because it cannot wait for the disk then.

use std::cell::Cell;
use std::ffi::c_void;

use crate::flaw::{self, Other};
use crate::low::Region;

thread_local! {
    /// The memory that this thread has lent to the module.
    static LENT: Cell<Option<Region>> = const { Cell::new(None) };
}

/// Calls `body` with a copy of `bytes`. The copy is paged out while the thread holds a mutex.
pub(crate) fn lend<R>(bytes: &[u8], body: impl FnOnce(*const c_void) -> R) -> R {
    let region = Region::anywhere(bytes.len().max(1));
    // SAFETY: the memory is new, and has room for the bytes.
    unsafe { (region.base as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    LENT.set(Some(region));
    let result = body(region.base as *const c_void);
    LENT.set(None);
    region.unmap();
    result
}

/// Pages the memory out. Called when the thread has taken a mutex.
pub(crate) fn page_out() {
    if let Some(region) = LENT.get() {
        region.protect(0, region.len, libc::PROT_NONE);
        if flaw::shows(Other::PageableUnderLock, 1) {
            // SAFETY: none; this is the fault that a check must find.
            unsafe { (region.base as *const u8).read_volatile() };
        }
    }
}

/// Pages the memory in. Called when the thread holds no mutex any more.
pub(crate) fn page_in() {
    if let Some(region) = LENT.get() {
        region.protect(0, region.len, libc::PROT_READ);
    }
}

/// Returns whether an address is in memory that this thread has lent.
pub(crate) fn contains(address: usize) -> bool {
    LENT.get().is_some_and(|region| region.contains(address))
}

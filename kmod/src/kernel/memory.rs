//! malloc(9) as the global allocator.

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_int;

use kernel_sys as sys;
use ktrace_engine::Errno;

use super::context::MaySleep;

/// Alignment that malloc(9) gives for any size.
const MALLOC_ALIGN: usize = 16;

/// Registers the module's type of memory, before anything is allocated. May sleep.
pub(crate) fn register(_: MaySleep) {
    // SAFETY: it is not registered.
    unsafe { sys::ktrace_rs_malloc_init() };
}

/// Takes it back, when everything is freed; the kernel prints what is not. May sleep.
pub(crate) fn deregister(_: MaySleep) {
    // SAFETY: register() was called, and nobody allocates any more.
    unsafe { sys::ktrace_rs_malloc_uninit() };
}

/// Allocates with `M_WAITOK`: never fails, and may sleep. Nothing is allocated or freed
/// where sleeping is not allowed.
struct Malloc;

#[global_allocator]
static MALLOC: Malloc = Malloc;

// SAFETY: malloc(9) and free(9) are an allocator; a layout that it cannot serve is refused.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocate(layout, sys::M_WAITOK)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocate(layout, sys::M_WAITOK | sys::M_ZERO)
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: the memory is from allocate(), and nobody uses it any more.
        unsafe { sys::ktrace_rs_free(memory.cast()) };
    }
}

/// Adds `len` bytes to `bytes`, which `fill` writes to where it is told; nothing, and the errno, if it
/// returns one. May sleep.
///
/// Nothing is zeroed before: the data of a read or a write may be large.
///
/// # Safety
///
/// Where it returns zero, `fill` has written all of the `len` bytes.
pub(crate) unsafe fn append(
    _: MaySleep,
    bytes: &mut Vec<u8>,
    len: usize,
    fill: impl FnOnce(*mut u8) -> c_int,
) -> Result<(), Errno> {
    bytes.reserve(len);
    match fill(bytes.spare_capacity_mut().as_mut_ptr().cast()) {
        0 => {
            // SAFETY: there is room for them, and the caller says that they are written.
            unsafe { bytes.set_len(bytes.len() + len) };
            Ok(())
        }
        errno => Err(Errno(errno)),
    }
}

fn allocate(layout: Layout, flags: u32) -> *mut u8 {
    if layout.align() > MALLOC_ALIGN {
        return core::ptr::null_mut();
    }
    // SAFETY: the module allocates only where sleeping is allowed.
    unsafe { sys::ktrace_rs_malloc(layout.size(), flags.cast_signed()) }.cast()
}

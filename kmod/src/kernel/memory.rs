//! malloc(9) as the global allocator.

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_int;

use kernel_sys as sys;
use ktrace_engine::Errno;

use super::context::MaySleep;

/// Alignment that malloc(9) gives for any size.
const MALLOC_ALIGN: usize = 16;

/// Registers the module's malloc type. Must be called before the first allocation. May sleep.
pub(crate) fn register(_: MaySleep) {
    // SAFETY: the type is not registered yet.
    unsafe { sys::ktrace_rs_malloc_init() };
}

/// Deregisters the module's malloc type, after all memory has been freed. The kernel prints a
/// message about memory that has not. May sleep.
pub(crate) fn deregister(_: MaySleep) {
    // SAFETY: register() was called, and nobody allocates any more.
    unsafe { sys::ktrace_rs_malloc_uninit() };
}

/// Returns the size of the physical memory in bytes.
pub(crate) fn physical() -> usize {
    const PAGE_SIZE: usize = sys::PAGE_SIZE as usize;
    // SAFETY: the kernel sets the variable when it boots.
    usize::try_from(unsafe { sys::physmem }).unwrap_or(0).saturating_mul(PAGE_SIZE)
}

/// The allocator: malloc(9) with `M_WAITOK`, which never fails and may sleep. The module neither
/// allocates nor frees where sleeping is not allowed.
struct Malloc;

#[global_allocator]
static MALLOC: Malloc = Malloc;

// SAFETY: malloc(9) and free(9) are an allocator. allocate() refuses an alignment that malloc(9)
// does not give.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocate(layout, sys::M_WAITOK)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocate(layout, sys::M_WAITOK | sys::M_ZERO)
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: the memory is from allocate(), and nobody uses it any more, as the caller
        // guarantees.
        unsafe { sys::ktrace_rs_free(memory.cast()) };
    }
}

/// Appends `len` bytes to `bytes`. `fill` writes them to the address that it is given. If `fill`
/// returns an errno, nothing is appended, and the errno is returned. May sleep.
///
/// The memory is not zeroed first, because the data of a read or a write may be large.
///
/// # Safety
///
/// If `fill` returns zero, it has written all of the `len` bytes.
pub(crate) unsafe fn append(
    _: MaySleep,
    bytes: &mut Vec<u8>,
    len: usize,
    fill: impl FnOnce(*mut u8) -> c_int,
) -> Result<(), Errno> {
    bytes.reserve(len);
    match fill(bytes.spare_capacity_mut().as_mut_ptr().cast()) {
        0 => {
            // SAFETY: reserve() made room for the bytes, and `fill` has written them, as the caller
            // guarantees.
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

//! malloc(9) as the global allocator.

use core::alloc::{GlobalAlloc, Layout};

use kernel_sys as sys;

/// Alignment that malloc(9) gives for any size.
const MALLOC_ALIGN: usize = 16;

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

fn allocate(layout: Layout, flags: u32) -> *mut u8 {
    if layout.align() > MALLOC_ALIGN {
        return core::ptr::null_mut();
    }
    // SAFETY: the module allocates only where sleeping is allowed.
    unsafe { sys::ktrace_rs_malloc(layout.size(), flags.cast_signed()) }.cast()
}

//! The allocator of the tests: the system's, observed by the model.

use std::alloc::{GlobalAlloc, Layout, System};

use ktrace_model::context::{note_allocation, note_free};

/// An allocator that reports each block to the model. The model finds uses where sleeping is not
/// allowed.
struct Watched;

#[global_allocator]
static WATCHED: Watched = Watched;

// SAFETY: the system's allocator does all the work. The reports to the model neither allocate nor
// panic.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note_allocation(layout);
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note_allocation(layout);
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note_free(layout);
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        unsafe { System.dealloc(memory, layout) };
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        note_allocation(Layout::from_size_align(len, layout.align()).unwrap_or(layout));
        note_free(layout);
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        unsafe { System.realloc(memory, layout, len) }
    }
}

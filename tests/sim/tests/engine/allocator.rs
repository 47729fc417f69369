//! The allocator of the tests: the system's, observed by the simulation.

use std::alloc::{GlobalAlloc, Layout, System};

use ktrace_sim::memory::{note_allocation, note_free};

/// An allocator that reports each block to the simulation. The simulation finds uses where sleeping
/// is not allowed.
struct Watched;

#[global_allocator]
static WATCHED: Watched = Watched;

// SAFETY: the system's allocator does all the work. The reports to the simulation neither allocate
// nor panic.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note_allocation(layout.size());
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note_allocation(layout.size());
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note_free(layout.size());
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        unsafe { System.dealloc(memory, layout) };
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        note_allocation(len);
        note_free(layout.size());
        // SAFETY: the caller keeps the contract of GlobalAlloc.
        unsafe { System.realloc(memory, layout, len) }
    }
}

//! The allocator of the tests: the system's, observed. It finds uses of memory where sleeping is
//! not allowed, and counts the segments of queues.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ktrace_engine::SEGMENT_LEN;

use crate::thread;

thread_local! {
    static SEGMENTS: Cell<usize> = const { Cell::new(0) };
    static MOST_SEGMENTS: Cell<usize> = const { Cell::new(0) };
}

/// Returns the number of segments that the current thread of the host has allocated now.
pub fn segments() -> usize {
    SEGMENTS.get()
}

/// Returns the largest number of segments at once since the last call.
pub fn take_most_segments() -> usize {
    MOST_SEGMENTS.replace(SEGMENTS.get())
}

struct Watched;

#[global_allocator]
static WATCHED: Watched = Watched;

#[expect(unsafe_code, reason = "an allocator needs it")]
// SAFETY: the system's allocator does all the work. What is noted neither allocates nor panics.
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

fn note_allocation(layout: Layout) {
    thread::note_memory_use();
    if is_segment(layout) {
        // This fails only in a thread that is ending.
        let _ = SEGMENTS.try_with(|segments| {
            segments.set(segments.get().wrapping_add(1));
            MOST_SEGMENTS.try_with(|most| most.set(most.get().max(segments.get())))
        });
    }
}

fn note_free(layout: Layout) {
    thread::note_memory_use();
    if is_segment(layout) {
        let _ = SEGMENTS.try_with(|segments| segments.set(segments.get().wrapping_sub(1)));
    }
}

/// Returns whether a block is a segment of a queue. Records of these tests do not have its length.
fn is_segment(layout: Layout) -> bool {
    layout.size() == SEGMENT_LEN && layout.align() == 1
}

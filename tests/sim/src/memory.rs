//! The interface between a test's global allocator and the simulation.

use std::sync::atomic::{AtomicUsize, Ordering};

use ktrace_engine::SEGMENT_LEN;

use crate::context::note_memory_use;

static LIVE_SEGMENTS: AtomicUsize = AtomicUsize::new(0);

/// Notes that a block of `len` bytes is allocated. Neither allocates nor panics.
pub fn note_allocation(len: usize) {
    note_memory_use();
    if len == SEGMENT_LEN {
        LIVE_SEGMENTS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Notes that a block of `len` bytes is freed. Neither allocates nor panics.
pub fn note_free(len: usize) {
    note_memory_use();
    if len == SEGMENT_LEN {
        LIVE_SEGMENTS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the number of allocated blocks of the size of a segment, in all threads.
pub fn live_segments() -> usize {
    LIVE_SEGMENTS.load(Ordering::Relaxed)
}

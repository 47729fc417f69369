//! What the global allocator of a test tells the simulation.

use std::sync::atomic::{AtomicUsize, Ordering};

use ktrace_engine::SEGMENT_LEN;

use crate::context::note_memory_use;

static LIVE_SEGMENTS: AtomicUsize = AtomicUsize::new(0);

/// A block of `len` bytes is allocated. Neither allocates nor panics.
pub fn note_allocation(len: usize) {
    note_memory_use();
    if len == SEGMENT_LEN {
        LIVE_SEGMENTS.fetch_add(1, Ordering::Relaxed);
    }
}

/// A block of `len` bytes is freed. Neither allocates nor panics.
pub fn note_free(len: usize) {
    note_memory_use();
    if len == SEGMENT_LEN {
        LIVE_SEGMENTS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Blocks of the size of a segment that are allocated now, in all threads.
pub fn live_segments() -> usize {
    LIVE_SEGMENTS.load(Ordering::Relaxed)
}

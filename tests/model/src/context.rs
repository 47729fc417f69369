//! What the running task may do, checked as a debug kernel checks it: under a queue mutex no lock is
//! taken, nothing sleeps, and no memory is allocated or freed.

use std::alloc::Layout;
use std::cell::Cell;
use std::thread::panicking;

use ktrace_engine::SEGMENT_LEN;

thread_local! {
    // Of the task that runs: nobody is switched to while a queue mutex is held.
    static IN_MUTEX: Cell<bool> = const { Cell::new(false) };
    /// Found by the allocator, which cannot panic.
    static MEMORY_USES: Cell<u32> = const { Cell::new(0) };
    static SEGMENTS: Cell<usize> = const { Cell::new(0) };
    static MOST_SEGMENTS: Cell<usize> = const { Cell::new(0) };
}

/// Runs `critical` as what a queue mutex guards.
pub(crate) fn with_mutex<R>(critical: impl FnOnce() -> R) -> R {
    struct Left;
    impl Drop for Left {
        fn drop(&mut self) {
            IN_MUTEX.set(false);
        }
    }
    IN_MUTEX.set(true);
    let left = Left;
    let result = critical();
    drop(left);
    let uses = MEMORY_USES.take();
    assert_eq!(uses, 0, "memory was allocated or freed under a queue mutex");
    result
}

/// Whether a queue mutex is held.
pub(crate) fn in_mutex() -> bool {
    IN_MUTEX.get()
}

/// Panics under a queue mutex.
pub(crate) fn assert_may_lock(what: &str) {
    assert!(!in_mutex() || panicking(), "{what} under a queue mutex");
}

/// The allocator of the tests allocates a block. Neither allocates nor panics.
pub fn note_allocation(layout: Layout) {
    note_memory_use();
    if is_segment(layout) {
        let _ = SEGMENTS.try_with(|segments| {
            segments.set(segments.get().wrapping_add(1));
            MOST_SEGMENTS.try_with(|most| most.set(most.get().max(segments.get())))
        });
    }
}

/// The allocator of the tests frees a block. Neither allocates nor panics.
pub fn note_free(layout: Layout) {
    note_memory_use();
    if is_segment(layout) {
        let _ = SEGMENTS.try_with(|segments| segments.set(segments.get().wrapping_sub(1)));
    }
}

fn note_memory_use() {
    if IN_MUTEX.try_with(Cell::get).unwrap_or(false) && !panicking() {
        let _ = MEMORY_USES.try_with(|uses| uses.set(uses.get().saturating_add(1)));
    }
}

/// Bytes of this length are nothing but the segments of queues: no record of a model fills one.
fn is_segment(layout: Layout) -> bool {
    layout.size() == SEGMENT_LEN && layout.align() == 1
}

/// Segments that the host's thread has allocated now.
pub(crate) fn segments() -> usize {
    SEGMENTS.get()
}

/// Most segments at once since the last call.
pub(crate) fn take_most_segments() -> usize {
    MOST_SEGMENTS.replace(SEGMENTS.get())
}

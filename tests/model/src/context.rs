//! The context of the running task, checked as a debug kernel checks it. Under a mutex, a task does
//! not sleep, allocate or free memory, or take a lock. The exception is a stream mutex under a
//! queue mutex.

use std::alloc::Layout;
use std::cell::Cell;
use std::ffi::CStr;
use std::thread::panicking;

use ktrace_engine::SEGMENT_LEN;

/// The only permitted nestings of mutexes: the outer one, and the inner ones.
const OUTER: &CStr = c"ktrace_rs queue";
const INNER: [&CStr; 3] = [c"ktrace_rs stream", c"ktrace_rs pool", c"ktrace_rs waiting"];

/// The mutexes of the memory that traces share.
const MEMORY: [&CStr; 4] = [c"ktrace_rs open", c"ktrace_rs pools", c"ktrace_rs pool", c"ktrace_rs buffered"];

thread_local! {
    /// The mutex that the running task has taken last.
    static MUTEX: Cell<Option<&'static CStr>> = const { Cell::new(None) };
    /// The number of forbidden uses of memory. The allocator counts them, because it cannot panic.
    static MEMORY_USES: Cell<u32> = const { Cell::new(0) };
    static SEGMENTS: Cell<usize> = const { Cell::new(0) };
    static MOST_SEGMENTS: Cell<usize> = const { Cell::new(0) };
}

/// The mutex that was held before, restored on drop.
struct Held(Option<&'static CStr>);

impl Held {
    fn new(now: Option<&'static CStr>) -> Self {
        Held(MUTEX.replace(now))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        MUTEX.set(self.0);
    }
}

/// Runs `critical` in the context of a mutex.
pub(crate) fn with_mutex<R>(name: &'static CStr, critical: impl FnOnce() -> R) -> R {
    let held = Held::new(Some(name));
    let result = critical();
    drop(held);
    let uses = MEMORY_USES.take();
    assert_eq!(uses, 0, "memory was allocated or freed under a mutex");
    result
}

/// Runs `switch`, which lets other tasks run.
pub(crate) fn without_mutex(switch: impl FnOnce()) {
    let _held = Held::new(None);
    switch();
}

/// Returns whether a mutex is held.
pub(crate) fn in_mutex() -> bool {
    MUTEX.get().is_some()
}

/// Returns whether a mutex is held under which no other is taken, so that no task switch happens.
pub(crate) fn in_last_mutex() -> bool {
    MUTEX.get().is_some_and(|held| held != OUTER)
}

/// Returns whether that is the name of a queue mutex.
pub(crate) fn is_queue(name: &CStr) -> bool {
    name == OUTER
}

/// Returns whether that is the name of a mutex of memory.
pub(crate) fn is_of_memory(name: &CStr) -> bool {
    MEMORY.contains(&name)
}

/// Panics under a mutex.
pub(crate) fn assert_may_lock(what: &str) {
    assert!(!in_mutex() || panicking(), "{what} under a mutex");
}

/// Panics under a mutex, if the mutex of this name must not be taken under it.
pub(crate) fn assert_may_take(name: &CStr) {
    let in_order = MUTEX.get().is_none_or(|held| held == OUTER && INNER.contains(&name));
    assert!(in_order || panicking(), "{name:?} was taken under a mutex");
}

/// Notes that the allocator of the tests allocates a block. Neither allocates nor panics.
pub fn note_allocation(layout: Layout) {
    note_memory_use();
    if is_segment(layout) {
        let _ = SEGMENTS.try_with(|segments| {
            segments.set(segments.get().wrapping_add(1));
            MOST_SEGMENTS.try_with(|most| most.set(most.get().max(segments.get())))
        });
    }
}

/// Notes that the allocator of the tests frees a block. Neither allocates nor panics.
pub fn note_free(layout: Layout) {
    note_memory_use();
    if is_segment(layout) {
        let _ = SEGMENTS.try_with(|segments| segments.set(segments.get().wrapping_sub(1)));
    }
}

fn note_memory_use() {
    if MUTEX.try_with(Cell::get).unwrap_or(None).is_some() && !panicking() {
        let _ = MEMORY_USES.try_with(|uses| uses.set(uses.get().saturating_add(1)));
    }
}

/// Returns whether a block is a segment of a queue. Only segments have this length: no record of a
/// model fills one.
fn is_segment(layout: Layout) -> bool {
    layout.size() == SEGMENT_LEN && layout.align() == 1
}

/// Returns the number of segments that the host thread has allocated now.
pub(crate) fn segments() -> usize {
    SEGMENTS.get()
}

/// Returns the largest number of segments at once since the last call.
pub(crate) fn take_most_segments() -> usize {
    MOST_SEGMENTS.replace(SEGMENTS.get())
}

//! Faults injected on purpose, as if the module had them, to show that the checks find them.

use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::ValueEnum;

use crate::heap;

/// An injected fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A missing call: the module does not make the call of a kernel function with this number.
    Omit(String, u64),
    /// Any other fault.
    Other(Other),
}

/// A fault other than a missing call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Other {
    /// A byte of a function that is not restored at unload.
    ByteLeft,
    /// A block of the module's memory that is freed while it is in use.
    FreedEarly,
    /// A write to a byte behind a block of the module's memory.
    WrittenBehind,
    /// A record that is in the file twice.
    RecordTwice,
    /// A flipped bit of a record.
    BitFlipped,
    /// A record that contains uninitialised kernel memory.
    Uninitialised,
    /// A clock that goes back once.
    ClockBack,
    /// A lock taken by its holder.
    Recursed,
    /// Two locks taken in both orders.
    OrderReversed,
    /// A trace point that sleeps and must not.
    SleepInFault,
    /// An allocation with a mutex held.
    SleepUnderLock,
    /// A read of pageable memory with a mutex held.
    PageableUnderLock,
    /// A missing wakeup when the helper exits.
    NotWoken,
    /// A call of the module's handler of ast(9) after the unload.
    CalledLate,
}

static FLAW: OnceLock<Flaw> = OnceLock::new();
static CALLS: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicBool = AtomicBool::new(false);

/// Injects a fault.
pub fn set(flaw: Flaw) {
    FLAW.set(flaw).expect("one flaw at a time");
}

/// Returns the function of which a call is left out.
pub(crate) fn omitted() -> Option<&'static str> {
    match FLAW.get() {
        Some(Flaw::Omit(name, _)) => Some(name),
        _ => None,
    }
}

/// Returns whether this call of that function is left out.
pub(crate) extern "C" fn omit_this() -> bool {
    let Some(Flaw::Omit(_, number)) = FLAW.get() else { return false };
    CALLS.fetch_add(1, Ordering::Relaxed) + 1 == *number
}

/// Returns whether to show a fault of that kind now. That is true once, from the `after`th call on.
pub(crate) fn shows(other: Other, after: u64) -> bool {
    FLAW.get() == Some(&Flaw::Other(other))
        && CALLS.fetch_add(1, Ordering::Relaxed) + 1 >= after
        && !DONE.swap(true, Ordering::Relaxed)
}

/// Shows the memory faults. Called when the module has allocated memory.
pub(crate) fn allocated(memory: *mut c_void, size: usize) {
    if shows(Other::FreedEarly, 40) {
        heap::release(memory, "ktrace_rs");
    }
    if heap::has_fence(size) && shows(Other::WrittenBehind, 10) {
        // SAFETY: the byte is the stand-in's own fence.
        unsafe { memory.cast::<u8>().add(size).write(0) };
    }
}

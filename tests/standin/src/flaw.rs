//! Faults put in on purpose, to show that the checks find them: as if the module had one.

use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::ValueEnum;

use crate::heap;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The module does not make a call of a function of the kernel, the one with this number.
    Omit(String, u64),
    /// Something else.
    Other(Other),
}

/// What is wrong that is no missing call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Other {
    /// A byte of a function is not restored at unload.
    ByteLeft,
    /// A block of the module's memory is freed that it still uses.
    FreedEarly,
    /// A byte behind a block of the module's memory is written to.
    WrittenBehind,
    /// A record is in the file twice.
    RecordTwice,
    /// A bit of a record is another one.
    BitFlipped,
    /// A record has memory of the kernel in it that nobody has written to.
    Uninitialised,
    /// The clock goes back once.
    ClockBack,
    /// A thread takes a lock that it has.
    Recursed,
    /// Two locks are taken in both orders.
    OrderReversed,
    /// A trace point that may not sleep does.
    SleepInFault,
    /// Memory is allocated with a mutex held.
    SleepUnderLock,
    /// Memory that may be paged out is read with a mutex held.
    PageableUnderLock,
    /// Nobody is told that the helper has exited.
    NotWoken,
    /// The module's handler of ast(9) is called when the module has gone.
    CalledLate,
}

static FLAW: OnceLock<Flaw> = OnceLock::new();
static CALLS: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicBool = AtomicBool::new(false);

/// Puts a fault in.
pub fn set(flaw: Flaw) {
    FLAW.set(flaw).expect("one flaw at a time");
}

/// The function of which a call is left out.
pub(crate) fn omitted() -> Option<&'static str> {
    match FLAW.get() {
        Some(Flaw::Omit(name, _)) => Some(name),
        _ => None,
    }
}

/// Whether this call of that function is left out.
pub(crate) extern "C" fn omit_this() -> bool {
    let Some(Flaw::Omit(_, number)) = FLAW.get() else { return false };
    CALLS.fetch_add(1, Ordering::Relaxed) + 1 == *number
}

/// Whether a fault of that sort is to be shown, which is so once, the `after`th time.
pub(crate) fn shows(other: Other, after: u64) -> bool {
    FLAW.get() == Some(&Flaw::Other(other))
        && CALLS.fetch_add(1, Ordering::Relaxed) + 1 >= after
        && !DONE.swap(true, Ordering::Relaxed)
}

/// The module has allocated memory.
pub(crate) fn allocated(memory: *mut c_void, size: usize) {
    if shows(Other::FreedEarly, 40) {
        heap::release(memory, "ktrace_rs");
    }
    if heap::has_fence(size) && shows(Other::WrittenBehind, 10) {
        // SAFETY: a byte of the stand-in's own is there.
        unsafe { memory.cast::<u8>().add(size).write(0) };
    }
}

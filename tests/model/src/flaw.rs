//! What can be wrong on purpose, to see that the model finds it.

use std::cell::Cell;

/// Something wrong with the platform, or with how the engine is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A write that has no room leaves what there was room for.
    HalfBatch,
    /// Two writes to one file get into each other.
    TornWrites,
    /// A write that waits for another one is done after those that came later.
    WritesOvertake,
    /// The second write is said to be done, and is not.
    ForgottenWrite,
    /// Two that add to a counter at once count as one.
    LostUpdates,
    /// A process exits without writing what is pending.
    NoFlushAtExit,
    /// Whoever sets another file does not flush the one before.
    NoFlushAtSet,
    /// A process goes on whose records could not be written.
    NotAbandoned,
    /// The last reference to a file is dropped under a queue mutex.
    ClosedUnderMutex,
    /// The limit is raised by one who does not say so.
    HigherLimit,
    /// The queue mutex is taken by one who has it.
    MutexTwice,
}

thread_local! {
    static FLAW: Cell<Option<Flaw>> = const { Cell::new(None) };
}

/// Has the tests of the current host thread run with a flaw, or with none.
pub(crate) fn set(flaw: Option<Flaw>) {
    FLAW.set(flaw);
}

/// Whether this is wrong.
pub(crate) fn is(flaw: Flaw) -> bool {
    FLAW.get() == Some(flaw)
}

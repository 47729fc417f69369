//! Deliberate flaws, to show that the model finds them.

use std::cell::Cell;

/// A flaw of the platform, or of the use of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A write that does not fit, and leaves a part that does.
    HalfBatch,
    /// Two writes to one file that interleave.
    TornWrites,
    /// A waiting write that is done after later ones.
    WritesOvertake,
    /// A second write that is reported as done, and is not.
    ForgottenWrite,
    /// Two concurrent changes of a counter that count as one.
    LostUpdates,
    /// An exit that does not write the pending records.
    NoFlushAtExit,
    /// A change of file that does not flush the old one.
    NoFlushAtSet,
    /// A process that stays traced although its records could not be written.
    NotAbandoned,
    /// A last reference to a file that is dropped under a queue mutex.
    ClosedUnderMutex,
    /// A limit that is raised without the checks knowing.
    HigherLimit,
    /// A queue mutex that is taken by its holder.
    MutexTwice,
}

thread_local! {
    static FLAW: Cell<Option<Flaw>> = const { Cell::new(None) };
}

/// Sets the flaw for the tests of the current host thread, or none.
pub(crate) fn set(flaw: Option<Flaw>) {
    FLAW.set(flaw);
}

/// Returns whether this flaw is set.
pub(crate) fn is(flaw: Flaw) -> bool {
    FLAW.get() == Some(flaw)
}

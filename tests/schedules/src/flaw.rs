//! Deliberate flaws, to show that they are found.

use std::cell::Cell;

/// A flaw of the use of the engine. Flaws of files are [lies](ktrace_doubles::Lie).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing but what the scenario itself has.
    None,
    /// An exit that does not write the pending records.
    NoFlushAtExit,
    /// A change of file that does not flush the old one.
    NoFlushAtSet,
    /// A process that stays traced although its records could not be written.
    NotAbandoned,
    /// A limit that is raised without the checks knowing.
    HigherLimit,
}

thread_local! {
    static FLAW: Cell<Flaw> = const { Cell::new(Flaw::None) };
}

/// Sets the flaw for the tests of the current host thread.
pub(crate) fn set(flaw: Flaw) {
    FLAW.set(flaw);
}

/// Returns whether this flaw is set.
pub(crate) fn is(flaw: Flaw) -> bool {
    FLAW.get() == flaw
}

//! The memory that traces may use: a limit for each user, and one for the system.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::{Engine, Platform};

/// A user, to whom the memory of traces is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Real user ID.
    pub uid: u32,
    /// Number of the jail; zero for none.
    pub jail: i32,
}

impl User {
    fn is_root(self) -> bool {
        self == User { uid: 0, jail: 0 }
    }
}

/// The memory of one user's traces. A trace that is refused memory goes on. It becomes slower, and
/// drops records made where sleeping is not allowed.
pub(crate) struct Budget<P: Platform> {
    engine: Arc<Engine<P>>,
    user: User,
    used: AtomicUsize,
}

/// Memory that is charged until this is dropped.
pub(crate) struct Charge<P: Platform> {
    budget: Arc<Budget<P>>,
    bytes: usize,
}

impl<P: Platform> Budget<P> {
    pub(crate) fn new(engine: Arc<Engine<P>>, user: User) -> Arc<Self> {
        Arc::new(Budget { engine, user, used: AtomicUsize::new(0) })
    }

    pub(crate) fn engine(&self) -> &Engine<P> {
        &self.engine
    }

    /// Charges memory that is about to be allocated. Returns `None` if a limit does not allow it.
    ///
    /// As in a file system, root alone may use the last eighth.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge<P>> {
        let settings = &self.engine.settings;
        let system = settings.memory_limit();
        let system = if self.user.is_root() { system } else { system.saturating_sub(system / 8) };
        let charge = self.charge_anyway(bytes);
        let is_allowed = self.used.load(Relaxed) <= settings.user_memory_limit()
            && self.engine.memory_used.load(Relaxed) <= system;
        is_allowed.then_some(charge)
    }

    /// Charges memory that cannot be refused: it holds records that wait already.
    pub(crate) fn charge_anyway(self: &Arc<Self>, bytes: usize) -> Charge<P> {
        self.used.fetch_add(bytes, Relaxed);
        self.engine.memory_used.fetch_add(bytes, Relaxed);
        Charge { budget: Arc::clone(self), bytes }
    }
}

impl<P: Platform> Charge<P> {
    /// Returns whether the memory is charged to `budget`.
    pub(crate) fn is_to(&self, budget: &Arc<Budget<P>>) -> bool {
        Arc::ptr_eq(&self.budget, budget)
    }
}

impl<P: Platform> Drop for Charge<P> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
        self.budget.engine.memory_used.fetch_sub(self.bytes, Relaxed);
    }
}

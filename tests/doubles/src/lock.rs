//! The engine's locks, with checks of their use.

use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, TryLockError};

use crate::thread::{self, Entered};
use crate::{MaySleep, Note, Point, Threads, Waiters};

/// A value, owned by one thread at a time.
struct Owned<V, T: Threads> {
    value: Mutex<V>,
    waiters: T::Waiters,
}

impl<V, T: Threads> Owned<V, T> {
    fn new(value: V) -> Self {
        Owned { value: Mutex::new(value), waiters: T::Waiters::default() }
    }

    fn lock(&self) -> MutexGuard<'_, V> {
        self.waiters.wait_for(|| self.try_lock())
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, V>> {
        match self.value.try_lock() {
            Ok(value) => Some(value),
            // A panic in another thread is reported there.
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Runs `critical`, and releases the lock and leaves its context after that.
    fn run<R>(
        &self,
        mut value: MutexGuard<'_, V>,
        entered: Entered,
        critical: impl FnOnce(&mut V) -> R,
    ) -> R {
        let result = critical(&mut value);
        drop(entered);
        drop(value);
        self.waiters.wake();
        result
    }
}

/// A mutex that may be taken where sleeping is not allowed. Under it no memory may be allocated or
/// freed, and only the locks may be taken that [`thread`] allows.
pub struct DoubleMutex<V, T: Threads> {
    name: &'static CStr,
    owned: Owned<V, T>,
}

impl<V, T: Threads> DoubleMutex<V, T> {
    fn before(&self) {
        thread::assert_may_take(self.name);
        T::pass(Point::Mutex(self.name));
    }

    fn run<R>(&self, value: MutexGuard<'_, V>, critical: impl FnOnce(&mut V) -> R) -> R {
        let entered = thread::enter_mutex(self.name);
        self.owned.run(value, entered, |value| {
            T::note(Note::Locked);
            let result = critical(value);
            T::note(Note::Unlocking(self.name));
            result
        })
    }
}

impl<V: Send, T: Threads> ktrace_engine::Mutex<V> for DoubleMutex<V, T> {
    fn new(name: &'static CStr, value: V) -> Self {
        thread::assert_may_sleep("a mutex was made");
        DoubleMutex { name, owned: Owned::new(value) }
    }

    fn with<R>(&self, critical: impl FnOnce(&mut V) -> R) -> R {
        self.before();
        self.run(self.owned.lock(), critical)
    }

    fn try_with<R>(&self, critical: impl FnOnce(&mut V) -> R) -> Option<R> {
        self.before();
        Some(self.run(self.owned.try_lock()?, critical))
    }
}

/// A lock whose holder may sleep.
pub struct CommitLock<V, T: Threads>(Owned<V, T>);

impl<V, T: Threads> CommitLock<V, T> {
    fn before() {
        thread::assert_may_take_commit_lock();
        T::pass(Point::CommitLock);
    }
}

impl<V: Send, T: Threads> ktrace_engine::SleepLock<V, MaySleep> for CommitLock<V, T> {
    fn new(value: V) -> Self {
        thread::assert_may_sleep("a sleep lock was made");
        CommitLock(Owned::new(value))
    }

    fn with<R>(&self, _: MaySleep, critical: impl FnOnce(&mut V) -> R) -> R {
        Self::before();
        let value = self.0.lock();
        self.0.run(value, thread::enter_commit_lock(), critical)
    }

    fn try_with<R>(&self, _: MaySleep, critical: impl FnOnce(&mut V) -> R) -> Option<R> {
        Self::before();
        let value = self.0.try_lock()?;
        Some(self.0.run(value, thread::enter_commit_lock(), critical))
    }
}
